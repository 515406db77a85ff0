"""PNG and JPEG files as arrays of pixels, upright and without anything that is written beside the pixels.

Names, places, dates and thumbnails of the unedited picture live in EXIF, XMP and comments: none of it is ever kept.
Pixel values are never changed but where the mode leaves no choice, and then it is said.
"""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["MOST_PIXELS", "Pixels", "decode_picture", "encode_png", "square_of", "thumbnail"]

MOST_PIXELS: Final = 64 << 20
"""Of one picture; the largest mammograms have 30 million."""
_ORIENTATION: Final = 0x0112
_THUMBNAIL: Final = 160


class Pixels(NamedTuple):
    """A decoded picture. `values` is uint8 or uint16 [height, width], or uint8 [height, width, 3] in RGB."""

    values: NDArray[np.uint8] | NDArray[np.uint16]
    notes: tuple[str, ...]
    """What had to be done to it."""
    turned: bool
    """Width and height were exchanged to make it upright."""


def decode_picture(data: bytes) -> Pixels:
    """The pixels of a PNG or JPEG file.

    Raises:
        InvalidInput: another format, damaged, cut short, moving, too large, or of a mode that has no pixels as we know
            them. The message names no file. Unavailable: Pillow is not installed.
    """
    module = _pillow()
    notes: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the size is checked here, and odd metadata is not kept
            with module.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
                _check_size(image)
                orientation = int(image.getexif().get(_ORIENTATION, 1))
                image.load()
                values = _values(image, notes)
    except InvalidInput:
        raise
    except Exception as error:  # noqa: BLE001 - a decoder raises whatever a damaged file makes it
        raise InvalidInput(f"the picture is not a PNG or JPEG that can be decoded ({type(error).__name__})") from None
    turned = 5 <= orientation <= 8
    if 2 <= orientation <= 8:
        notes.append("the picture lay on its side or mirrored, by its orientation tag, and was set upright")
        values = _upright(values, orientation)
    return Pixels(np.ascontiguousarray(values), tuple(notes), turned)


def encode_png(values: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """The pixels as a PNG file with nothing but pixels; the same pixels give the same bytes with one Pillow.

    Raises:
        InvalidInput: an array of another shape or type than `Pixels.values`. Unavailable: Pillow is not installed.
    """
    is_colour = values.ndim == 3 and values.shape[2] == 3 and values.dtype == np.uint8
    is_grey = values.ndim == 2 and values.dtype.name in ("uint8", "uint16")
    if not is_colour and not is_grey:
        raise InvalidInput(f"pixels of shape {values.shape} and type {values.dtype}: grey or RGB was expected")
    out = io.BytesIO()
    _pillow().fromarray(values).save(out, format="PNG", compress_level=6)
    return out.getvalue()


def thumbnail(values: NDArray[np.uint8] | NDArray[np.uint16], longest: int = _THUMBNAIL) -> NDArray[np.uint8]:
    """A small uint8 picture, its longer side at most `longest` pixels. 16 bits are spread over their own range.

    Raises:
        InvalidInput: `longest` below 1. Unavailable: Pillow is not installed.
    """
    if longest < 1:
        raise InvalidInput(f"thumbnail: expected a side of at least 1 pixel, found {longest}")
    if values.dtype == np.uint16:
        low, high = int(values.min()), int(values.max())
        values = ((values.astype(np.float32) - low) * (255 / max(high - low, 1))).astype(np.uint8)
    image = _pillow().fromarray(values)
    image.thumbnail((longest, longest))
    return np.asarray(image, dtype=np.uint8)


def square_of(values: NDArray[np.uint8] | NDArray[np.uint16], side: int, channels: int) -> NDArray[np.float32]:
    """The whole picture squeezed or stretched into a square, float32 [channels, side, side] from 0 to 1.

    Bilinear. Colour becomes grey by luminance (ITU-R 601); grey becomes colour three times over.

    Raises:
        Unavailable: Pillow is not installed.
    """
    pillow = _pillow()
    most = float(np.iinfo(values.dtype).max)
    if values.ndim == 3 and channels == 1:
        values = np.asarray(pillow.fromarray(values).convert("L"))
    planes = values[:, :, None] if values.ndim == 2 else values
    made = np.empty((channels, side, side), dtype=np.float32)
    for channel in range(channels):
        plane = np.ascontiguousarray(planes[:, :, min(channel, planes.shape[2] - 1)], dtype=np.float32)
        made[channel] = np.asarray(pillow.fromarray(plane).resize((side, side), pillow.Resampling.BILINEAR)) / most
    return made


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise Unavailable("pictures need Pillow: install medfed[imaging]") from None
    return Image


def _check_size(image: Image) -> None:
    if image.width * image.height > MOST_PIXELS or max(image.size) > 1 << 16:
        raise InvalidInput(f"the picture has {image.width} by {image.height} pixels; at most {MOST_PIXELS} are read")
    if getattr(image, "n_frames", 1) != 1:
        raise InvalidInput("the picture moves: it has more than one frame")


def _values(image: Image, notes: list[str]) -> NDArray[Any]:
    if image.mode in ("L", "RGB"):
        return np.asarray(image)
    if image.mode == "1":
        return np.asarray(image.convert("L"))
    if image.mode.startswith("I;16") or (image.mode == "I" and _fits_16_bits(image)):
        return np.asarray(image).astype(np.uint16)
    if image.mode == "P":
        notes.append("the palette was resolved")
        has_alpha = "transparency" in image.info
        return _without_alpha(image.convert("RGBA" if has_alpha else "RGB"), notes)
    if image.mode in ("LA", "RGBA"):
        return _without_alpha(image, notes)
    if image.mode in ("CMYK", "YCbCr"):
        notes.append(f"{image.mode} was converted to RGB")
        return np.asarray(image.convert("RGB"))
    raise InvalidInput(f"the picture's mode {image.mode} is not one that is read")


def _fits_16_bits(image: Image) -> bool:
    low, high = cast("tuple[int, int]", image.getextrema())
    return low >= 0 and high < 1 << 16


def _without_alpha(image: Image, notes: list[str]) -> NDArray[Any]:
    values = np.asarray(image)
    if image.mode == "RGB":
        return values
    if int(values[..., -1].min()) < 255:
        notes.append("the picture is transparent in places; what is stored beneath is shown")
    return values[..., 0] if values.shape[2] == 2 else values[..., :3]


def _upright(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """By the EXIF tag (CIPA DC-008, 4.6.5): 2 to 4 mirror and turn by 180°, 5 to 8 exchange the axes as well."""
    if orientation >= 5:
        values = np.swapaxes(values, 0, 1)
    flip_rows = orientation in (3, 4, 7, 8)
    flip_columns = orientation in (2, 3, 6, 7)
    return values[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
