"""DICOM files opened: is it a picture, how many frames has it, and if it is none, what is it, in one line.

A DICOM file names its patient many times over. Nothing of it but the names of its kinds and syntaxes, which are in the
standard, may appear in a message, and the library that reads it is kept from printing what it found.
"""

from __future__ import annotations

import io
import logging
import warnings
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

from medfed.errors import InvalidInput, Unavailable
from medfed.imaging.picture_file import MOST_PIXELS

__all__ = [
    "MOST_FRAMES",
    "DicomFile",
    "is_dicom",
    "open_dicom",
    "pixels_module",
    "pydicom_module",
    "quiet",
    "text_value",
]

MOST_FRAMES: Final = 10_000
"""Of one file."""
_PREFIX_AT: Final = 128
_MOST_BYTES: Final = 1 << 30
_DEFLATED: Final = "1.2.840.10008.1.2.1.99"
_GROUPS: Final = (b"\x02\x00", b"\x08\x00", b"\x00\x08", b"\x00\x02")
"""How a data set begins that was written without its preamble: group 2 or 8, in either order of bytes."""
_KINDS: Final = (
    # By the beginning of the class's identifier (PS3.6, annex A). The longest that fits decides.
    ("1.2.840.10008.5.1.4.1.1.66.4", "a segmentation: outlines made from a picture"),
    ("1.2.840.10008.5.1.4.1.1.66.7", "a segmentation: outlines made from a picture"),
    ("1.2.840.10008.5.1.4.1.1.66", "a registration, surface or raw measurement"),
    ("1.2.840.10008.5.1.4.1.1.67", "a mapping of values"),
    ("1.2.840.10008.5.1.4.1.1.68", "a surface"),
    ("1.2.840.10008.5.1.4.1.1.30", "a map of computed values"),
    ("1.2.840.10008.5.1.4.1.1.88", "a structured report"),
    ("1.2.840.10008.5.1.4.1.1.91.1", "annotations of a slide"),
    ("1.2.840.10008.5.1.4.1.1.104", "an enclosed document"),
    ("1.2.840.10008.5.1.4.1.1.11", "a way of showing pictures (presentation state)"),
    ("1.2.840.10008.5.1.4.1.1.9", "a waveform"),
    ("1.2.840.10008.5.1.4.1.1.481.1", ""),  # an RT image is a picture
    ("1.2.840.10008.5.1.4.1.1.481", "a radiotherapy object: plan, dose, structures or record"),
    ("1.2.840.10008.5.1.4.34", "a radiotherapy object: plan, dose, structures or record"),
    ("1.2.840.10008.1.3.10", "a list of other files (DICOMDIR)"),
)


class DicomFile:
    """One data set that holds pictures. What pydicom read is in `dataset`; it stays inside `imaging`."""

    def __init__(self, dataset: Any, frames: int) -> None:
        self.dataset: Final = dataset
        self.frames: Final = frames


def is_dicom(data: bytes) -> bool:
    """Whether the bytes are DICOM, or may be DICOM that was written without a preamble."""
    return data[_PREFIX_AT : _PREFIX_AT + 4] == b"DICM" or (data[:2] in _GROUPS and len(data) >= 8)


def open_dicom(data: bytes) -> DicomFile:
    """The data set of a file that holds pictures; no pixel is decoded yet.

    Raises:
        InvalidInput: damaged, too large, or no picture; the message says what it is instead. Unavailable: pydicom is
            not installed.
    """
    pydicom = pydicom_module()
    _check_deflated(data)
    with quiet():
        try:
            dataset = pydicom.dcmread(io.BytesIO(data), force=True)
            kind = _kind(dataset)
            frames = _check_pixels(dataset, kind)
        except InvalidInput:
            raise
        except Exception as error:  # noqa: BLE001 - the library raises whatever a damaged file makes it
            raise InvalidInput(f"the DICOM file cannot be read ({type(error).__name__})") from None
    return DicomFile(dataset, frames)


def text_value(dataset: Any, keyword: str) -> str:
    """An element as text without blanks around it; empty where it is absent or holds several values."""
    value = dataset.get(keyword)
    return value.strip() if isinstance(value, str) else ""


@contextmanager
def quiet() -> Generator[None]:
    """Keep pydicom and highdicom from printing: their warnings quote values, and a value may be a name."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    before = [logger.disabled for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.disabled = True
        try:
            yield
        finally:
            for logger, disabled in zip(loggers, before, strict=True):
                logger.disabled = disabled


def pydicom_module() -> Any:
    """The library.

    Raises:
        Unavailable: it is not installed.
    """
    try:
        import pydicom
    except ImportError:
        raise Unavailable("DICOM files need pydicom: install medfed[imaging]") from None
    return pydicom


def pixels_module() -> Any:
    """The part of the library that decodes pixels.

    Raises:
        Unavailable: it is not installed.
    """
    pydicom_module()
    from pydicom import pixels

    return pixels


def _kind(dataset: Any) -> str:
    """What the class of the object is called in the standard."""
    uid = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID") or ""
    fitting = [(start, words) for start, words in _KINDS if str(uid) == start or str(uid).startswith(f"{start}.")]
    if fitting:
        words = max(fitting, key=lambda entry: len(entry[0]))[1]
        if words:
            raise InvalidInput(f"not a picture but {words}")
    if not uid:
        if not any(tag.group >= 8 for tag in list(dataset.keys())):
            raise InvalidInput("not a picture, nor a DICOM object of any kind that is known")
        return "an object that does not say its kind"
    name = str(getattr(uid, "name", ""))
    return "an object of a kind that is not in the standard" if name == str(uid) or not name else name


def _check_pixels(dataset: Any, kind: str) -> int:
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise InvalidInput("its pixels are fractions, which no picture here can hold")
    if "PixelData" not in dataset:
        raise InvalidInput(f"there are no pixels in it ({kind})")
    if not dataset.file_meta.get("TransferSyntaxUID"):
        _assume_syntax(dataset)
    numbers: dict[str, int] = {}
    for name in ("Rows", "Columns", "BitsAllocated"):
        numbers[name] = _number(dataset, name, None)
    frames = _number(dataset, "NumberOfFrames", 1) or 1
    if numbers["Rows"] * numbers["Columns"] > MOST_PIXELS or max(numbers["Rows"], numbers["Columns"]) > 1 << 16:
        raise InvalidInput(f"a frame has {numbers['Columns']} by {numbers['Rows']} pixels; at most {MOST_PIXELS}")
    if frames > MOST_FRAMES:
        raise InvalidInput(f"the file has {frames} frames; at most {MOST_FRAMES} are read")
    if not text_value(dataset, "PhotometricInterpretation"):
        raise InvalidInput("the file does not say what its pixel values mean (photometric interpretation)")
    return frames


def _assume_syntax(dataset: Any) -> None:
    """A file without meta information is uncompressed; how it was written was found out by reading it."""
    implicit, little = dataset.original_encoding
    if implicit is None or little is None:
        raise InvalidInput("the file does not say how its bytes are written (transfer syntax)")
    plain = "1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2.1"
    dataset.file_meta.TransferSyntaxUID = plain if little else "1.2.840.10008.1.2.2"


def _number(dataset: Any, name: str, absent: int | None) -> int:
    value = dataset.get(name)
    if value is None or value == "":
        if absent is None:
            raise InvalidInput(f"the file lacks {name}, without which there is no picture")
        return absent
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise InvalidInput(f"the file's {name} is not a whole number") from None
    if number < 0 or (number == 0 and absent is None):
        raise InvalidInput(f"the file's {name} is {number}")
    return number


def _check_deflated(data: bytes) -> None:
    """A small file may inflate to any size, and the library would inflate it whole."""
    meta = data[_PREFIX_AT + 4 : _PREFIX_AT + 4 + (1 << 16)]
    if data[_PREFIX_AT : _PREFIX_AT + 4] != b"DICM" or _DEFLATED.encode() not in meta[:2048]:
        return
    length = int.from_bytes(meta[8:12], "little")
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    rest, size = data[_PREFIX_AT + 4 + 12 + length :], 0
    try:
        while rest and not inflater.eof:
            size += len(inflater.decompress(rest, 1 << 20))
            rest = inflater.unconsumed_tail
            if size > _MOST_BYTES:
                raise InvalidInput(f"the file inflates to more than {_MOST_BYTES} bytes")
    except zlib.error:
        raise InvalidInput("the DICOM file cannot be read (what it deflates is damaged)") from None
