"""Targets of pictures and their annotations. The pictures are a few made-up pixels."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import orjson
from tests.fuzz.target import Target, quietly

from medfed.imaging.annotation import Described
from medfed.imaging.coco import read_coco
from medfed.imaging.image_set import ANNOTATIONS, load_image_set
from medfed.imaging.importing import import_images
from medfed.imaging.picture_file import decode_picture, encode_png, thumbnail
from medfed.imaging.voc import read_voc
from medfed.imaging.yolo import read_names, read_yolo

VOC = b"""<annotation><filename>a.png</filename><size><width>12</width><height>8</height></size>
<object><name>mass</name><difficult>0</difficult>
<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>6</xmax><ymax>7</ymax></bndbox></object>
<object><name>cyst</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>12</xmax><ymax>8</ymax></bndbox></object>
</annotation>
"""
YOLO = b"0 0.5 0.5 0.25 0.5\n1 0.1 0.1 0.2 0.2\n"
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 12, "height": 8}, {"id": "b", "file_name": "sub/b.png"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 5, 5], "iscrowd": 0},
                    {"id": 2, "image_id": "b", "category_id": 2, "bbox": [0.5, 0, 3.25, 2]}],
    "categories": [{"id": 1, "name": "mass"}, {"id": 2, "name": "cyst"}],
}  # fmt: skip


@cache
def pixels() -> bytes:
    return encode_png(np.arange(96, dtype=np.uint8).reshape(8, 12))


def picture(data: bytes, folder: Path) -> None:
    found = decode_picture(data)
    assert found.values.dtype in (np.uint8, np.uint16)
    assert decode_picture(encode_png(found.values)).values.shape == found.values.shape
    assert max(thumbnail(found.values).shape[:2]) <= 160


def voc(data: bytes, folder: Path) -> None:
    (folder / "a.xml").write_bytes(data)
    _import(folder, lambda: read_voc([folder / "a.xml"]))


def yolo(data: bytes, folder: Path) -> None:
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "labels" / "a.txt").write_bytes(data)
    (folder / "names.txt").write_bytes(b"mass\ncyst\n")
    names = read_names(folder / "names.txt")
    pictures = folder / "pictures"
    _import(folder, lambda: read_yolo([pictures / "a.png"], pictures, folder / "labels", names))


def yolo_names(data: bytes, folder: Path) -> None:
    (folder / "names.txt").write_bytes(data)
    names = read_names(folder / "names.txt")
    assert len(set(names)) == len(names)


def coco(data: bytes, folder: Path) -> None:
    (folder / "all.json").write_bytes(data)
    _import(folder, lambda: read_coco(folder / "all.json"))


def _import(folder: Path, described: Callable[[], Iterable[Described]]) -> None:
    """What a reader finds is imported with two pictures, and what was imported is loaded again."""
    place = folder / "pictures"
    (place / "sub").mkdir(parents=True, exist_ok=True)
    (place / "a.png").write_bytes(pixels())
    (place / "sub" / "b.png").write_bytes(encode_png(np.zeros((4, 4), np.uint8)))
    images, report = import_images(described(), place, folder / "set")
    assert report.pictures_read >= report.pictures_used == len(images.pictures)
    again = load_image_set(folder / "set")
    assert (again.labels, tuple(again.pictures)) == (images.labels, images.pictures)
    for one in again.pictures:
        assert again.values(one).shape[:2] == (one.height, one.width)


def image_set(data: bytes, folder: Path) -> None:
    """An image set whose annotations somebody has edited."""
    _import(folder, lambda: read_coco(_written(folder / "all.json", orjson.dumps(COCO))))
    (folder / "set" / ANNOTATIONS).write_bytes(data)
    images = load_image_set(folder / "set")
    images.counts()
    for one in images.pictures:
        quietly(images.values, one)


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _set_seeds() -> Sequence[bytes]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _import(folder, lambda: read_coco(_written(folder / "all.json", orjson.dumps(COCO))))
        return [(folder / "set" / ANNOTATIONS).read_bytes()]


def _pictures() -> Sequence[bytes]:
    from PIL import Image

    made = [pixels(), encode_png(np.full((5, 3), 40_000, np.uint16)), encode_png(np.zeros((3, 4, 3), np.uint8))]
    for mode, format_, options in (("RGB", "JPEG", {}), ("P", "PNG", {"transparency": 0}), ("RGBA", "PNG", {}),
                                   ("CMYK", "JPEG", {}), ("1", "PNG", {})):  # fmt: skip
        held = io.BytesIO()
        image = Image.new(mode, (9, 7))
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(held, format=format_, exif=exif.tobytes(), **options)
        made.append(held.getvalue())
    return made


TARGETS = (
    Target("picture", picture, _pictures, cost=2),
    Target("voc", voc, lambda: [VOC], "text", cost=4),
    Target("yolo", yolo, lambda: [YOLO], "text", cost=4),
    Target("yolo-names", yolo_names, lambda: [b"mass\ncyst\n"], "text"),
    Target("coco", coco, lambda: [orjson.dumps(COCO)], "json", cost=4),
    Target("image-set", image_set, _set_seeds, "json", cost=4),
)
