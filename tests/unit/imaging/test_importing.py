"""Every pitfall of an annotated picture ends in a line that says so, and nothing is lost between read and used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from msgspec.structs import replace

pytest.importorskip("PIL")

from PIL import Image
from tests.support.pictures import blood_cells, drawn, file_of, voc_xml

from medfed.errors import InvalidInput, Tampered, Unavailable
from medfed.imaging.annotation import Box, Finding
from medfed.imaging.coco import read_coco, write_coco
from medfed.imaging.image_set import ImageSet, load_image_set
from medfed.imaging.importing import import_images
from medfed.imaging.report import ImageReport
from medfed.imaging.voc import read_voc, write_voc
from medfed.imaging.yolo import read_names, read_yolo, write_yolo


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for index in range(3):
        (folder / f"p{index}.png").write_bytes(file_of(drawn(seed=index)))
    return folder


def _voc(source: Path, target: Path, **files: str) -> tuple[ImageSet, ImageReport]:
    paths: list[Path] = []
    for name, text in files.items():
        paths.append(source / f"{name}.xml")
        paths[-1].write_text(text)
    return _balanced(*import_images(read_voc(paths), source, target))


def _balanced(images: ImageSet, report: ImageReport) -> tuple[ImageSet, ImageReport]:
    assert report.is_balanced
    assert report.pictures_used == len(images.pictures)
    assert report.boxes_used == sum(len(picture.findings) for picture in images.pictures)
    return images, report


def _coco(source: Path, target: Path, document: Any) -> tuple[ImageSet, ImageReport]:
    path = source / "all.json"
    path.write_bytes(orjson.dumps(document))
    return _balanced(*import_images(read_coco(path), source, target))


def test_the_three_formats_say_the_same_of_the_same_picture(source: Path, tmp_path: Path) -> None:
    voc, _ = _voc(source, tmp_path / "voc", p0=voc_xml("p0.png", [("cell", 5, 3, 20, 12), ("spot", 1, 1, 40, 30)]))
    coco, _ = _coco(
        source,
        tmp_path / "coco",
        {
            "images": [{"id": 7, "file_name": "p0.png", "width": 40, "height": 30}],
            "categories": [{"id": 3, "name": "spot"}, {"id": 1, "name": "cell"}],
            "annotations": [
                {"id": 1, "image_id": 7, "category_id": 1, "bbox": [4, 2, 16, 10]},
                {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0, 0, 40, 30]},
            ],
        },
    )
    (source / "p0.txt").write_text("0 0.3 0.233333333333 0.4 0.333333333333\n1 0.5 0.5 1 1\n")
    yolo, _ = _balanced(
        *import_images(
            read_yolo([source / "p0.png"], source, source, ("cell", "spot")),
            source,
            tmp_path / "yolo",
            ("cell", "spot"),
        )
    )
    expected = (Finding("cell", Box(4, 2, 20, 12)), Finding("spot", Box(0, 0, 40, 30)))
    assert voc.pictures[0].findings == coco.pictures[0].findings == expected
    for found, wanted in zip(yolo.pictures[0].findings, expected, strict=True):
        assert found.label == wanted.label
        values = [getattr(found.box, side) for side in ("left", "top", "right", "bottom")]
        wished = [getattr(wanted.box, side) for side in ("left", "top", "right", "bottom")]
        np.testing.assert_allclose(values, wished, atol=1e-9)
    assert voc.digest == coco.digest


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        (("cell", 20, 3, 5, 12), "corners are swapped"),
        (("cell", 5, 3, 5, 12), "thinner than a pixel"),
        (("cell", 45, 3, 50, 12), "outside the picture"),
        (("cell", -20, 3, -5, 12), "outside the picture"),
        (("cell", float("nan"), 3, 20, 12), "not a number"),
        (("cell", float("inf"), 3, float("inf"), 12), "not a number"),
        (("", 5, 3, 20, 12), "no class"),
    ],
)
def test_a_wrong_box_is_left_out_and_said(
    source: Path, tmp_path: Path, box: tuple[str, float, float, float, float], reason: str
) -> None:
    images, report = _voc(source, tmp_path / "set", p0=voc_xml("p0.png", [("cell", 5, 3, 20, 12), box]))
    assert len(images.pictures[0].findings) == 1
    (line,) = report.lines
    assert (line.source, line.place, line.subject, line.fate) == (1, "object 2", "box", "left out")
    assert reason in line.reason


def test_a_box_that_reaches_out_is_cut_and_a_repeated_one_is_dropped(source: Path, tmp_path: Path) -> None:
    boxes = [("cell", -3, 3, 20, 50), ("cell", 5, 3, 9, 9), ("cell", 5, 3, 9, 9), ("spot", 5, 3, 9, 9)]
    images, report = _voc(source, tmp_path / "set", p0=voc_xml("p0.png", boxes))
    assert images.pictures[0].findings[0].box == Box(0, 2, 20, 30)
    assert [(line.fate, line.place) for line in report.lines] == [("changed", "object 1"), ("left out", "object 3")]
    assert images.counts() == {"cell": 2, "spot": 1}


def test_a_missing_twin_foreign_or_escaping_picture_is_left_out_with_its_boxes(source: Path, tmp_path: Path) -> None:
    (source / "p3.png").write_bytes((source / "p0.png").read_bytes())
    (source / "p4.png").write_bytes(b"no picture")
    (tmp_path / "secret.png").write_bytes(file_of(drawn(seed=9)))
    cell = [("cell", 5, 3, 20, 12)]
    images, report = _voc(
        source,
        tmp_path / "set",
        p0=voc_xml("p0.png", cell),
        p3=voc_xml("p3.png", cell),
        p4=voc_xml("p4.png", cell),
        p5=voc_xml("p5.png", cell),
        p1=voc_xml("p1.png", cell, size=(41, 30)),
        p2="<annotation><object>",
        p6='<!DOCTYPE a [<!ENTITY b "c">]><annotation/>',
    )
    assert len(images.pictures) == 1
    reasons = {line.source: line.reason for line in report.lines if line.subject == "picture"}
    assert sorted(reasons) == [2, 3, 4, 5, 6, 7]
    for number, part in enumerate(["same picture as source 1", "decoded", "no such", "another size", "XML", "type"], 2):
        assert part in reasons[number]
    escaping = {
        "images": [{"id": 1, "file_name": "../secret.png"}, {"id": 2, "file_name": "p0.png"}],
        "categories": [],
        "annotations": [],
    }
    _, report = _coco(source, tmp_path / "other", escaping)
    assert "leads out" in report.lines[0].reason


def test_boxes_drawn_on_a_picture_as_it_lay_are_refused_when_its_tag_turns_it(source: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (source / "p0.png").write_bytes(file_of(drawn(), exif=exif))
    with pytest.raises(InvalidInput, match="orientation tag turns it"):
        _voc(source, tmp_path / "lay", p0=voc_xml("p0.png", [("cell", 5, 3, 20, 12)], size=(40, 30)))
    images, report = _voc(source, tmp_path / "up", p0=voc_xml("p0.png", [("cell", 5, 3, 20, 12)], size=(30, 40)))
    assert (images.pictures[0].width, images.pictures[0].height) == (30, 40)
    assert "upright" in report.lines[0].reason


def test_voc_that_counts_from_0_is_read_so_when_asked(source: Path) -> None:
    path = source / "p0.xml"
    path.write_text(voc_xml("p0.png", [("cell", 0, 0, 39, 29)]))
    (described,) = read_voc([path], first_pixel=0)
    assert described.boxes[0].box == Box(0, 0, 40, 30)


def test_an_annotation_that_names_another_picture_takes_its_own(source: Path, tmp_path: Path) -> None:
    images, report = _voc(source, tmp_path / "set", p1=voc_xml("original.jpg", [("cell", 5, 3, 20, 12)]))
    np.testing.assert_array_equal(images.values(images.pictures[0]), drawn(seed=1))
    assert "another than the annotation's own" in report.lines[0].reason


def test_what_is_wrong_in_a_coco_file_is_said_annotation_by_annotation(source: Path, tmp_path: Path) -> None:
    good = {"image_id": 1, "category_id": 1, "bbox": [4, 2, 16, 10]}
    document = {
        "images": [
            {"id": 1, "file_name": "p0.png"},
            {"id": 1, "file_name": "p1.png"},
            {"file_name": "p2.png"},
            {"id": True, "file_name": "p2.png"},
        ],
        "categories": [{"id": 1, "name": "cell"}, {"id": 2, "name": "cell"}],
        "annotations": [
            {"id": 1, **good, "iscrowd": 1},
            {"id": 1, **good, "bbox": [1, 1, 3, 3]},
            {"id": 2, **good, "category_id": 5},
            {"id": 3, **good, "bbox": None, "segmentation": []},
            {"id": 4, **good, "bbox": [1, 2, 3]},
            {"id": 5, **good, "bbox": [1, 2, "3", 4]},
            {"id": 6, **good, "bbox": [4, 2, 0, 10]},
            {"id": 7, **good, "bbox": [4, 2, -3, 10]},
            {"id": 8, **good, "image_id": 99},
            {"id": 9, "category_id": 1, "bbox": [4, 2, 16, 10]},
        ],
    }
    images, report = _coco(source, tmp_path / "set", document)
    assert images.pictures[0].findings == (Finding("cell", Box(4, 2, 20, 12), crowd=True),)
    assert images.counts() == {"cell": 0}
    places = [line.place for line in report.lines if line.subject == "box" and line.fate == "left out"]
    assert sorted(places) == sorted(f"annotation {index}" for index in range(2, 11))
    assert report.left_out("picture") == 4  # three of the file, and the one that stands for annotations without any


@pytest.mark.parametrize("text", [b"[]", b"{", b'{"images": 1, "annotations": []}', b"\xff", b'{"images": []}'])
def test_what_is_not_coco_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "all.json"
    path.write_bytes(text)
    with pytest.raises(InvalidInput, match=r"COCO|categor"):
        list(read_coco(path))


def test_what_is_wrong_in_a_yolo_file_is_said_line_by_line(source: Path, tmp_path: Path) -> None:
    (source / "p0.txt").write_text(
        "0 0.5 0.5 0.2 0.2\n5 0.5 0.5 0.2 0.2\nx 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.2\n0 0.1 0.1 0.2 0.2 0.3 0.3\n"
        "0 200 0.5 0.2 0.2\n0 a 0.5 0.2 0.2\n0 0.5 0.5 0 0.2\n0 nan 0.5 0.2 0.2\n\n0 0.05 0.5 0.2 0.2\n"
    )
    pictures = sorted(source.glob("*.png"))
    images, report = _balanced(*import_images(read_yolo(pictures, source, source, ("cell",)), source, tmp_path / "set"))
    assert len(images.pictures) == 1
    assert images.pictures[0].findings[1].box.left == 0
    places = [line.place for line in report.lines if line.subject == "box" and line.fate == "left out"]
    assert places == [f"line {number}" for number in range(2, 10)]
    assert [line.reason for line in report.lines if line.subject == "picture"] == [
        "there is no text file for the picture"
    ] * 2
    images, _ = import_images(read_yolo(pictures, source, source, ("cell",), True), source, tmp_path / "all")
    assert len(images.pictures) == 3


def test_class_names_that_repeat_or_are_empty_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("cell\nspot\n\n")
    assert read_names(path) == ("cell", "spot")
    for text in ("", "cell\ncell\n", "cell\n\nspot\n"):
        path.write_text(text)
        with pytest.raises(InvalidInput, match="distinct"):
            read_names(path)
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_names(tmp_path / "absent.txt")


def test_a_set_is_loaded_as_it_was_saved_and_a_changed_picture_is_noticed(source: Path, tmp_path: Path) -> None:
    texts = {f"p{i}": voc_xml(f"p{i}.png", [("cell", 5, 3, 20, 12 + i)]) for i in range(3)}
    images, _ = _voc(source, tmp_path / "set", **texts)
    again = load_image_set(tmp_path / "set")
    assert again.digest == images.digest
    assert again.pictures == images.pictures
    victim = again.folder / again.pictures[1].file
    victim.write_bytes(file_of(drawn(seed=77)))
    with pytest.raises(Tampered):
        again.values(again.pictures[1])
    victim.unlink()
    with pytest.raises(Unavailable):
        again.values(again.pictures[1])


def test_a_set_says_nothing_of_its_sources_but_in_the_file_for_the_site(source: Path, tmp_path: Path) -> None:
    (source / "jane-doe.png").write_bytes(file_of(drawn(seed=5)))
    images, report = _voc(
        source,
        tmp_path / "set",
        **{"jane-doe": voc_xml("jane-doe.png", [("cell", 5, 3, 20, 12), ("cell", 9, 9, 1, 1)])},
    )
    texts = {path.name: path.read_bytes() for path in images.folder.iterdir()}
    assert b"jane" in texts.pop("origins.json")
    assert not any(b"jane" in text or "jane" in name for name, text in texts.items())
    assert "jane" not in report.summary() + "".join(map(str, report.lines))


def test_a_folder_that_is_not_empty_is_never_written_into(source: Path, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine").write_text("mine")
    with pytest.raises(InvalidInput, match="not empty"):
        _voc(source, tmp_path / "set", p0=voc_xml("p0.png", []))
    with pytest.raises(InvalidInput, match="no picture could be used"):
        _voc(source, tmp_path / "none", p9=voc_xml("p9.png", []))


@pytest.mark.parametrize("change", ["labels", "box", "name", "gone"])
def test_a_set_that_was_edited_into_something_else_is_not_loaded(source: Path, tmp_path: Path, change: str) -> None:
    images, _ = _voc(source, tmp_path / "set", p0=voc_xml("p0.png", [("cell", 5, 3, 20, 12)]))
    annotations = images.folder / "annotations.coco.json"
    document = orjson.loads(annotations.read_bytes())
    if change == "labels":
        (images.folder / "labels.json").write_text('["other"]')
    elif change == "box":
        document["annotations"][0]["bbox"] = [0, 0, 400, 3]
    elif change == "name":
        document["images"][0]["file_name"] = "../x.png"
    else:
        (images.folder / "labels.json").unlink()
    annotations.write_bytes(orjson.dumps(document))
    with pytest.raises(InvalidInput, match="image set"):
        load_image_set(images.folder)


def test_the_blood_cells_of_the_test_part_are_imported_and_written_back_the_same(tmp_path: Path) -> None:
    folder = blood_cells()
    names = (folder / "ImageSets" / "Main" / "test.txt").read_text().split()
    files = [folder / "Annotations" / f"{name}.xml" for name in names]
    described = list(read_voc(files))
    first = described[0].boxes[0]
    turned = replace(first, box=Box(first.box.right, first.box.top, first.box.left, first.box.bottom))
    described[0] = replace(described[0], boxes=(turned, *described[0].boxes[1:]))
    images, report = _balanced(*import_images(described, folder / "JPEGImages", tmp_path / "set"))
    assert report.left_out("box") == 1
    assert len(images.pictures) == 72
    assert images.labels == ("Platelets", "RBC", "WBC")
    for picture in images.pictures[:4]:
        (tmp_path / "a.xml").write_bytes(write_voc(picture))
        (described,) = read_voc([tmp_path / "a.xml"])
        assert [entry.box for entry in described.boxes] == [finding.box for finding in picture.findings]


def test_what_is_written_in_each_format_is_read_back_the_same(source: Path, tmp_path: Path) -> None:
    images, _ = _voc(source, tmp_path / "set", p0=voc_xml("p0.png", [("cell", 5, 3, 20, 12), ("spot", 1, 1, 40, 30)]))
    (picture,) = images.pictures
    text = tmp_path / "set" / picture.file.replace(".png", ".txt")
    text.write_bytes(write_yolo(picture, images.labels))
    (described,) = read_yolo([text.with_suffix(".png")], text.parent, text.parent, images.labels)
    for entry, finding in zip(described.boxes, picture.findings, strict=True):
        assert entry.label == finding.label
        assert abs(entry.box.right * 40 - finding.box.right) < 1e-6
    for write in (lambda: write_yolo(picture, ("other",)), lambda: write_coco([picture], ("other",))):
        with pytest.raises(InvalidInput, match="not among"):
            write()
