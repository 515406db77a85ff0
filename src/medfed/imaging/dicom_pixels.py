"""The pixels of a DICOM frame as a picture for people and detectors: brighter is more, black is where nothing was.

The steps are those of PS3.4, N.2: stored value, modality transformation, window, presentation. Each is taken from the
frame's own functional groups where it has them. Pixels are never turned: DICOM stores a picture as it is looked at, and
boxes are drawn on the stored rows. Overlays are not drawn, because they may hold a name.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput
from medfed.imaging.dicom_file import DicomFile, pixels_module, quiet, text_value
from medfed.imaging.picture_file import Pixels

__all__ = ["Window", "decode_frame", "stored_frame", "windowed"]

_COLOURS: Final = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_PARTIAL_422", "YBR_ICT", "YBR_RCT")
_GREYS: Final = ("MONOCHROME1", "MONOCHROME2")


class Window(NamedTuple):
    """Which values are shown between black and white, in the units of the modality (Hounsfield units for CT)."""

    centre: float
    width: float
    function: str = "LINEAR"
    """LINEAR, LINEAR_EXACT or SIGMOID (PS3.3, C.11.2.1)."""


def decode_frame(file: DicomFile, index: int, window: Window | None = None) -> Pixels:
    """Frame `index`, from 0: uint8 RGB, or grey as uint8 where at most 8 bits were stored and else uint16.

    Args:
        file: as opened.
        index: which frame.
        window: to use instead of the file's own; grey pictures only.

    Raises:
        InvalidInput: no such frame, pixels that are damaged, cut short, or in a syntax that nothing installed decodes.
    """
    dataset, notes = file.dataset, list[str]()
    meaning = text_value(dataset, "PhotometricInterpretation")
    stored = stored_frame(file, index)
    with quiet():
        try:
            if meaning in _GREYS and stored.ndim == 2:
                values = _grey(dataset, stored, index, window, notes)
            elif meaning == "PALETTE COLOR" and stored.ndim == 2:
                values = _palette(dataset, stored, notes)
            elif meaning in _COLOURS and stored.ndim == 3 and stored.shape[2] == 3:
                values = _colour(dataset, stored, notes)
            else:
                raise InvalidInput("its pixel values mean something that is not read (photometric interpretation)")
            _note_geometry(dataset, notes)
        except InvalidInput:
            raise
        except Exception as error:  # noqa: BLE001 - values of any type may stand where numbers should
            raise InvalidInput(f"the pixels cannot be turned into a picture ({type(error).__name__})") from None
    return Pixels(np.ascontiguousarray(values), tuple(notes), turned=False)


def windowed(values: NDArray[np.float32], window: Window) -> NDArray[np.float32]:
    """Values as shares of white, 0 to 1, by the formulas of PS3.3, C.11.2.1.2 and C.11.2.1.3.

    Raises:
        InvalidInput: a width that the function does not allow, or a function that is none of the three.
    """
    centre, width = window.centre, window.width
    least = 1 if window.function == "LINEAR" else 0
    if not np.isfinite(centre) or not np.isfinite(width) or width < least or (least == 0 and width <= 0):
        raise InvalidInput("the window's centre or width is not a number that a window can have")
    if window.function == "SIGMOID":
        return (1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -80, 80)))).astype(np.float32)
    if window.function == "LINEAR_EXACT":
        share = (values - centre) / width + 0.5
    elif window.function == "LINEAR":
        share = (values - (centre - 0.5)) / max(width - 1, 1e-6) + 0.5
    else:
        raise InvalidInput("the window's function is not one that the standard knows")
    return np.clip(share, 0, 1).astype(np.float32)


def stored_frame(file: DicomFile, index: int) -> NDArray[Any]:
    """The stored values of frame `index`, from 0: [height, width], or [height, width, 3] in RGB whatever was stored.

    Raises:
        InvalidInput: as `decode_frame`.
    """
    if not 0 <= index < file.frames:
        raise InvalidInput(f"the file has {file.frames} frames; there is no frame {index + 1}")
    dataset = file.dataset
    syntax: Any = dataset.file_meta.TransferSyntaxUID
    name = str(getattr(syntax, "name", syntax))
    name = name if name != str(syntax) else "one that is not in the standard"
    library = pixels_module()
    with quiet():
        try:
            available = library.get_decoder(syntax).is_available
        except RuntimeError:  # the library says so for syntaxes that it does not know
            raise InvalidInput(f"its pixels are compressed in a way that is not read ({name})") from None
        if not available:
            raise InvalidInput(f"no decoder is installed for its pixels ({name}); uncompress the file first")
        try:
            return np.asarray(library.pixel_array(dataset, index=index))
        except Exception as error:  # noqa: BLE001 - a decoder raises whatever a damaged file makes it
            if "12-bit" in str(error):
                raise InvalidInput(f"no decoder is installed for 12 bits ({name}); uncompress the file first") from None
            short = "less than expected" in str(error)
            reason = "they are cut short" if short else f"{name}, {type(error).__name__}"
            raise InvalidInput(f"its pixels cannot be decoded ({reason})") from None


def _grey(dataset: Any, stored: NDArray[Any], index: int, window: Window | None, notes: list[str]) -> NDArray[Any]:
    bits = int(dataset.get("BitsStored") or dataset.BitsAllocated)
    padding = _padding(dataset, stored)
    values = _in_units(dataset, stored, index)
    shown = _frame_window(dataset, index, notes) if window is None else window
    inverted = text_value(dataset, "PhotometricInterpretation") == "MONOCHROME1"
    inverted = inverted or text_value(dataset, "PresentationLUTShape") == "INVERSE"
    if shown is None and window is None and _has_table(dataset, "VOILUTSequence"):
        share = _table(dataset, values)
    elif shown is not None:
        share = windowed(values, shown)
    elif bits <= 8 and not _is_signed(dataset) and values.dtype == stored.dtype:
        share = values.astype(np.float32) / ((1 << bits) - 1)
    else:
        notes.append("the file states no window: its own range of values was spread from black to white")
        share = _spread(values, padding)
    if inverted:
        notes.append("white and black were exchanged, as the file says (MONOCHROME1)")
        share = 1 - share
    if padding is not None:
        share[padding] = 0
        notes.append("what the file marks as padding is black")
    white, kind = (255, np.uint8) if bits <= 8 else (65535, np.uint16)
    return np.rint(share * np.float32(white)).astype(kind)


def _padding(dataset: Any, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
    limits: list[int] = []
    for name in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        if (value := dataset.get(name)) is not None:
            number, size = int(value), 1 << int(dataset.BitsAllocated)
            # The element may have been read as unsigned although the pixels are signed.
            limits.append(number - size if _is_signed(dataset) and number >= size // 2 else number)
    if "PixelPaddingValue" not in dataset or not limits:
        return None
    found = (stored >= min(limits)) & (stored <= max(limits))
    return found if found.any() else None


def _in_units(dataset: Any, stored: NDArray[Any], index: int) -> NDArray[Any]:
    """The modality transformation; without one the stored values as they are."""
    if _has_table(dataset, "ModalityLUTSequence"):
        return np.asarray(pixels_module().apply_modality_lut(stored, dataset))
    group = _group(dataset, index, "PixelValueTransformationSequence") or dataset
    slope, intercept = group.get("RescaleSlope"), group.get("RescaleIntercept")
    slope = 1.0 if slope in (None, "") else float(slope)
    intercept = 0.0 if intercept in (None, "") else float(intercept)
    if not np.isfinite(slope) or not np.isfinite(intercept) or slope == 0:
        raise InvalidInput("the file's rescaling is not one that values survive")
    if slope == 1.0 and intercept == 0.0:
        return stored
    return stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)


def _frame_window(dataset: Any, index: int, notes: list[str]) -> Window | None:
    group = _group(dataset, index, "FrameVOILUTSequence") or dataset
    centres, widths = _numbers(group.get("WindowCenter")), _numbers(group.get("WindowWidth"))
    if not centres or not widths:
        return None
    if len(centres) > 1:
        notes.append("the file states several windows; the first is used")
    return Window(centres[0], widths[0], text_value(group, "VOILUTFunction") or "LINEAR")


def _table(dataset: Any, values: NDArray[Any]) -> NDArray[np.float32]:
    bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
    whole = np.rint(values).astype(np.int64)
    shown = np.asarray(pixels_module().apply_voi(whole, dataset)).astype(np.float32)
    return np.clip(shown / np.float32((1 << bits) - 1), 0, 1)


def _spread(values: NDArray[Any], padding: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    seen = values if padding is None or padding.all() else values[~padding]
    low, high = float(seen.min()), float(seen.max())
    wide = (values.astype(np.float32) - np.float32(low)) / np.float32(max(high - low, 1e-6))
    return np.clip(wide, 0, 1).astype(np.float32)


def _palette(dataset: Any, stored: NDArray[Any], notes: list[str]) -> NDArray[np.uint8]:
    colours = np.asarray(pixels_module().apply_color_lut(stored, dataset))[..., :3]
    notes.append("the palette was resolved")
    # Tables of 16 bits that hold 8 are as common as those that hold 16.
    return (colours >> 8 if colours.dtype.itemsize > 1 and int(colours.max()) > 255 else colours).astype(np.uint8)


def _colour(dataset: Any, stored: NDArray[Any], notes: list[str]) -> NDArray[np.uint8]:
    bits = int(dataset.get("BitsStored") or dataset.BitsAllocated)
    if bits > 8:
        notes.append(f"{bits} bits a colour were reduced to 8")
        stored = stored >> (bits - 8)
    return stored.astype(np.uint8)


def _note_geometry(dataset: Any, notes: list[str]) -> None:
    if any(tag.group & 0xFF01 == 0x6000 for tag in list(dataset.keys())):
        notes.append("overlays were left out")
    spacing = _numbers(dataset.get("PixelAspectRatio")) or _numbers(dataset.get("PixelSpacing"))
    if len(spacing) == 2 and abs(spacing[0] - spacing[1]) > 1e-3 * max(spacing):
        notes.append("its pixels are not square; they were kept as they are")
    facing = [str(value) for value in dataset.get("PatientOrientation") or ()]
    if len(facing) == 2 and (facing[0].startswith("R") or facing[1].startswith("H")):
        notes.append("by its orientation it is mirrored or upside down; it was kept as it is")


def _group(dataset: Any, index: int, name: str) -> Any:
    """The macro of a frame: its own, else that of all frames, else none (PS3.3, C.7.6.16)."""
    own, shared = dataset.get("PerFrameFunctionalGroupsSequence"), dataset.get("SharedFunctionalGroupsSequence")
    for groups, at in ((own, index), (shared, 0)):
        macro = groups[at].get(name) if groups and at < len(groups) else None
        if macro:
            return macro[0]
    return None


def _has_table(dataset: Any, name: str) -> bool:
    return bool(dataset.get(name))


def _is_signed(dataset: Any) -> bool:
    return dataset.get("PixelRepresentation") == 1


def _numbers(value: Any) -> list[float]:
    if value is None or value == "":
        return []
    return (
        [float(one) for one in value] if hasattr(value, "__iter__") and not isinstance(value, str) else [float(value)]
    )
