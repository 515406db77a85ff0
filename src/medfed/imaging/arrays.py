"""Pictures with classes from one NumPy file, as MedMNIST publishes them, into an image set.

The file has `train_images`, `train_labels` and so on for val and test: pictures uint8 (n, h, w) or (n, h, w, 3), labels
whole numbers (n,) or (n, 1). A picture's class is one finding from edge to edge. This module must never unpickle.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput
from medfed.identifiers import sha256
from medfed.imaging.annotation import Box, Finding, Picture
from medfed.imaging.image_set import ImageSet, picture_name, save_image_set
from medfed.imaging.picture_file import encode_png
from medfed.input_file import read_input

__all__ = ["import_arrays"]

_SPLITS: Final = {"train": "train", "val": "validation", "test": "test"}
_MOST_BYTES: Final = 4 << 30
_MOST_PICTURES: Final = 1_000_000


def import_arrays(file: Path, target: Path, labels: tuple[str, ...]) -> tuple[ImageSet, int]:
    """Make an image set in the new folder `target`, with a `cases.csv` that has each picture's split.

    Args:
        file: the `.npz` file.
        labels: the name of each class, in the order of its number.

    Returns:
        The set, and how many pictures were left out because the same one is there already.

    Raises:
        InvalidInput: not such a file, a class without a name, or a folder that is not empty.
    """
    arrays = _load(file)
    if target.exists() and any(target.iterdir()):
        raise InvalidInput(f"image set {target.name}: the folder is not empty")
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    pictures: dict[bytes, Picture] = {}
    lines, repeated = ["picture,split"], 0
    for part, split in _SPLITS.items():
        images, classes = _part(arrays, part, len(labels))
        for pixels, label in zip(images, classes, strict=True):
            data = encode_png(np.ascontiguousarray(pixels))
            digest = sha256(data)
            if digest in pictures:
                repeated += 1
                continue
            height, width = pixels.shape[:2]
            finding = Finding(labels[int(label)], Box(0.0, 0.0, float(width), float(height)))
            pictures[digest] = Picture(picture_name(digest), digest, width, height, (finding,))
            path = target / picture_name(digest)
            path.write_bytes(data)
            path.chmod(0o600)
            lines.append(f"{digest.hex()},{split}")
    made = ImageSet(target, labels, tuple(pictures.values()))
    save_image_set(made, {})
    (target / "cases.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return made, repeated


def _load(file: Path) -> dict[str, NDArray[Any]]:
    data = read_input(file, _MOST_BYTES, str(file))
    wanted = [f"{part}_{what}" for part in _SPLITS for what in ("images", "labels")]
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            return {name: found[name] for name in wanted}
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError):
        raise InvalidInput(f"{file}: expected a NumPy file with {', '.join(wanted)}") from None
    except Exception as error:  # noqa: BLE001 - a damaged archive raises what its reader likes
        raise InvalidInput(f"{file}: it cannot be read ({type(error).__name__})") from None


def _part(arrays: dict[str, NDArray[Any]], part: str, classes: int) -> tuple[NDArray[Any], NDArray[Any]]:
    images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
    is_pictures = images.dtype == np.uint8 and (images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3))
    if not is_pictures or len(images) > _MOST_PICTURES or 0 in images.shape[1:]:
        raise InvalidInput(f"{part}_images: expected uint8 pictures (n, h, w) or (n, h, w, 3)")
    flat = labels.reshape(len(labels), -1) if labels.ndim in (1, 2) else np.empty((0, 0))
    if labels.dtype.kind not in "iu" or flat.shape != (len(images), 1):
        raise InvalidInput(f"{part}_labels: expected one whole number for each picture")
    if len(flat) and not 0 <= int(flat.min()) <= int(flat.max()) < classes:
        raise InvalidInput(f"{part}_labels: a class has no name; {classes} names were given")
    return images, flat[:, 0]
