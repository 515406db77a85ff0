"""DICOM pictures without what identifies: a new file is built from what may stay; nothing is deleted from the old one.

The basic confidentiality profile of PS3.15 (annex E), stricter where it leaves a choice: pixels are decoded and written
uncompressed, so nothing that a compressed stream carries beside them survives; overlays, private elements and texts are
gone. What was burnt into the pixels stays, hence a picture that may have text is refused until a person has cleared it.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from datetime import date, timedelta
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medfed.crypto import hmac_sha256
from medfed.errors import InvalidInput, Refused
from medfed.identifiers import sha256
from medfed.imaging.burnt_in import possible_text
from medfed.imaging.dicom_file import DicomFile, open_dicom, pixels_module, pydicom_module, quiet, text_value
from medfed.imaging.dicom_pixels import stored_frame
from medfed.imaging.kept_elements import DATES, EMPTY, MAPPED_UIDS, NUMBERS, SEQUENCES, TERMS

__all__ = ["Deidentified", "Examined", "Pseudonyms", "deidentify", "examine", "picture_mark"]

Dates = Literal["empty", "shift"]
_MOST_BYTES: Final = 1 << 30
_LONGEST_SHIFT: Final = 3650
_LARGEST_COUNTER: Final = 999_999
_COUNTERS: Final = frozenset({"AcquisitionNumber", "InStackPositionNumber", "InstanceNumber", "SeriesNumber"})
_EXPLICIT: Final = "1.2.840.10008.1.2.1"
_DEEPEST: Final = 8


class Pseudonyms:
    """What stands for patients and objects: the same for the same under one key, and not to be turned back without."""

    def __init__(self, key: bytes) -> None:
        """`key`: 32 bytes of the site's, for this purpose only."""
        if len(key) != 32:
            raise InvalidInput("de-identification: the key has to have 32 bytes")
        self._key = key

    def uid(self, uid: str) -> str:
        """In place of a unique identifier (PS3.5, B.2: an integer of 128 bits under 2.25)."""
        return f"2.25.{int.from_bytes(self._of('uid', uid.strip())[:16], 'big')}"

    def patient(self, identity: str) -> str:
        """16 hexadecimal digits in place of a patient's number and name."""
        return self._of("patient", identity)[:8].hex()

    def days(self, identity: str) -> int:
        """By how many days a patient's dates are moved, all alike: 1 to 3,650 into the past."""
        return 1 + int.from_bytes(self._of("days", identity)[:8], "big") % _LONGEST_SHIFT

    def _of(self, use: str, text: str) -> bytes:
        return hmac_sha256(self._key, f"medfed/deidentify/{use}\0{text}".encode("utf-8", "surrogatepass"))


class Examined(NamedTuple):
    """A DICOM picture whose pixels have been decoded and looked through for text."""

    file: DicomFile
    stored: NDArray[Any]
    """[height, width] or [height, width, 3], with frames in front where there are several."""
    mark: str
    """See `picture_mark`."""
    text: str
    """Why text is possible; empty where nothing points to it."""


class Deidentified(NamedTuple):
    """A new file and what names it."""

    data: bytes
    uid: str
    cleared: bool
    """Text was possible, and a person has looked."""


def examine(data: bytes) -> Examined:
    """Decode a DICOM file and say whether a person has to look at it.

    Raises:
        InvalidInput: no picture, or one that cannot be decoded.
    """
    file = open_dicom(data)
    stored = _frames(file)
    return Examined(file, stored, picture_mark(stored), possible_text(file))


def deidentify(
    picture: Examined, pseudonyms: Pseudonyms, dates: Dates = "empty", cleared: Collection[str] = ()
) -> Deidentified:
    """A DICOM picture de-identified.

    Args:
        picture: as examined.
        pseudonyms: of this site.
        dates: emptied, or moved by days that are each patient's own.
        cleared: marks of the pictures in which a person has looked for text and found none.

    Raises:
        Refused: `burnt-in-text`: a person has to look first. InvalidInput: the file has values that no file may have.
    """
    is_cleared = picture.mark in cleared
    if picture.text and not is_cleared:
        raise Refused("burnt-in-text", f"picture {picture.mark} may have text burnt in: {picture.text}")
    old = picture.file.dataset
    with quiet():
        try:
            new = _kept(old, pseudonyms, 0)
            _identity(old, new, pseudonyms, dates)
            _pixels(old, new, picture.stored)
            if is_cleared or text_value(old, "BurnedInAnnotation") == "NO":
                new.BurnedInAnnotation = "NO"
            _declare(new, dates)
            written = _written(new)
        except Exception as error:  # noqa: BLE001 - values of any type may stand anywhere in a file
            raise InvalidInput(f"the file cannot be de-identified ({type(error).__name__})") from None
    return Deidentified(written, str(new.SOPInstanceUID), bool(picture.text))


def picture_mark(stored: NDArray[Any]) -> str:
    """16 hexadecimal digits by which a person says which picture was looked at; they depend on the pixels only."""
    shape = ",".join(map(str, stored.shape))
    return sha256(shape.encode() + stored.dtype.str.encode() + stored.tobytes()).hex()[:16]


def _frames(file: DicomFile) -> NDArray[Any]:
    """All stored values: [height, width] or [height, width, 3], with frames in front where there are several."""
    first = stored_frame(file, 0)
    if first.nbytes * file.frames > _MOST_BYTES:
        raise InvalidInput(f"its pixels take more than {_MOST_BYTES} bytes")
    if file.frames == 1:
        return first
    return np.stack([first, *(stored_frame(file, index) for index in range(1, file.frames))])


def _kept(old: Any, pseudonyms: Pseudonyms, depth: int) -> Any:
    new = pydicom_module().Dataset()
    if depth > _DEEPEST:
        return new
    for name in NUMBERS:
        if name in old and (numbers := _numbers(name, old)):
            setattr(new, name, numbers if len(numbers) > 1 else numbers[0])
    for name, allowed in TERMS.items():
        values = _texts(old.get(name))
        if values and all(value in allowed for value in values):
            setattr(new, name, values if len(values) > 1 else values[0])
    for name in SEQUENCES:
        if name in old and old.get(name):
            setattr(new, name, [_kept(item, pseudonyms, depth + 1) for item in old.get(name)])
    if "LUTData" in old and "LUTDescriptor" in new:
        _table(old, new)
    return new


def _numbers(name: str, old: Any) -> list[int | float]:
    """The values of an element that are numbers; none where one is not."""
    found: list[int | float] = []
    try:
        value = old.get(name)
        parts = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)
        values = [float(one) for one in parts]
    except (ValueError, TypeError, ArithmeticError):
        return []
    for number in values:
        if not np.isfinite(number) or (name in _COUNTERS and not 0 <= number <= _LARGEST_COUNTER):
            return []
        found.append(int(number) if number.is_integer() else round(number, 6))
    return found


def _texts(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(one).strip() for one in ([value] if isinstance(value, str) else value)]


def _table(old: Any, new: Any) -> None:
    """A look-up table's entries as numbers of 16 bits, exactly as many as it says."""
    count = int(old.LUTDescriptor[0]) or 1 << 16
    data = old.LUTData
    entries = np.frombuffer(data, "<u2") if isinstance(data, bytes) else np.asarray(data, np.uint16)
    new.add_new(0x00283006, "OW", entries[:count].astype("<u2").tobytes())


def _identity(old: Any, new: Any, pseudonyms: Pseudonyms, dates: Dates) -> None:
    uid = str(old.get("SOPClassUID", ""))
    known = getattr(old.get("SOPClassUID"), "name", uid) != uid
    new.SOPClassUID = uid if known else "1.2.840.10008.5.1.4.1.1.7"  # secondary capture
    for name in MAPPED_UIDS:
        if value := _text(old, name):
            setattr(new, name, pseudonyms.uid(value))
    if "SOPInstanceUID" not in new:
        new.SOPInstanceUID = pseudonyms.uid(sha256(old.PixelData).hex())
    texts = [_text(old, name) for name in ("IssuerOfPatientID", "PatientID")]
    identity = "\0".join(texts) if texts[1] else _text(old, "PatientName") or _text(old, "StudyInstanceUID")
    new.PatientID = new.PatientName = pseudonyms.patient(identity)
    for name in EMPTY:
        setattr(new, name, "")
    for name in DATES:
        if name in old or name == "StudyDate":
            moved = _moved(_text(old, name), pseudonyms.days(identity)) if dates == "shift" else ""
            setattr(new, name, moved)


def _text(old: Any, name: str) -> str:
    """An element as one text; where it cannot be decoded, its bytes in hexadecimal: it only feeds a pseudonym."""
    if name not in old:
        return ""
    try:
        return str(old.get(name) or "").strip()
    except Exception:  # noqa: BLE001 - a character set that nobody knows, or a value of another type
        raw = old.get_item(name).value
        return raw.hex() if isinstance(raw, bytes) else ""


def _moved(text: str, days: int) -> str:
    try:
        found = date(int(text[:4]), int(text[4:6]), int(text[6:8])) if len(text) == 8 else None
        return (found - timedelta(days=days)).strftime("%Y%m%d") if found is not None else ""
    except (ValueError, OverflowError):
        return ""


def _pixels(old: Any, new: Any, stored: NDArray[Any]) -> None:
    """Uncompressed, little-endian, and nothing behind the last of them; a palette is resolved."""
    meaning = text_value(old, "PhotometricInterpretation")
    if meaning == "PALETTE COLOR":
        colours = np.asarray(pixels_module().apply_color_lut(stored, old))[..., :3]
        wide = colours.dtype.itemsize > 1 and int(colours.max()) > 255
        stored = (colours >> 8 if wide else colours).astype(np.uint8)
    is_colour = meaning not in ("MONOCHROME1", "MONOCHROME2")
    bits = stored.dtype.itemsize * 8
    used = bits if meaning == "PALETTE COLOR" else min(int(old.get("BitsStored") or bits), bits)
    new.SamplesPerPixel = 3 if is_colour else 1
    new.PhotometricInterpretation = "RGB" if is_colour else meaning
    if is_colour:
        new.PlanarConfiguration = 0
    new.Rows, new.Columns = stored.shape[-3:-1] if is_colour else stored.shape[-2:]
    new.BitsAllocated, new.BitsStored, new.HighBit = bits, used, used - 1
    new.PixelRepresentation = int(np.issubdtype(stored.dtype, np.signedinteger))
    if new.PixelRepresentation:
        for name in ("PixelPaddingValue", "PixelPaddingRangeLimit"):  # may have been read as unsigned
            if name in new and new.get(name) >= 1 << (bits - 1):
                setattr(new, name, new.get(name) - (1 << bits))
    written = np.ascontiguousarray(stored.astype(stored.dtype.newbyteorder("<"))).tobytes()
    new.add_new(0x7FE00010, "OW" if bits > 8 else "OB", written + b"\0" * (len(written) % 2))


def _declare(new: Any, dates: Dates) -> None:
    """That it was done, and how (PS3.15, E.1; codes of PS3.16, CID 7050)."""
    new.PatientIdentityRemoved = "YES"
    new.DeidentificationMethod = "MedFed: what is not known to be harmless is not kept"
    codes = [("113100", "Basic Application Confidentiality Profile")]
    if dates == "shift":
        codes.append(("113107", "Retain Longitudinal Temporal Information Modified Dates Option"))
    items: list[Any] = []
    for value, meaning in codes:
        item = pydicom_module().Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
        items.append(item)
    new.DeidentificationMethodCodeSequence = items
    new.LongitudinalTemporalInformationModified = "MODIFIED" if dates == "shift" else "REMOVED"


def _written(new: Any) -> bytes:
    from pydicom.dataset import FileMetaDataset

    meta: Any = FileMetaDataset()
    meta.TransferSyntaxUID = _EXPLICIT
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = new.SOPClassUID, new.SOPInstanceUID
    new.file_meta = meta
    out = io.BytesIO()
    new.save_as(out, enforce_file_format=True)
    return out.getvalue()
