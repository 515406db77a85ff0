"""A review counts what a person decided and nothing else, and is of exactly the set that was shown."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PIL")

from tests.support.dicom import dicom_bytes, grey_dataset
from tests.support.pictures import drawn, file_of

from medfed.errors import InvalidInput
from medfed.imaging.annotation import Box, Described, DescribedBox
from medfed.imaging.detections import Detected, read_detections, write_detections
from medfed.imaging.image_set import ImageSet, load_image_set
from medfed.imaging.importing import import_images
from medfed.imaging.review import apply_review, load_review
from medfed.imaging.review_page import review_page


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    source = tmp_path / "source"
    source.mkdir()
    described: list[Described] = []
    for index in range(2):
        (source / f"{index}.png").write_bytes(file_of(drawn(seed=index)))
        boxes = (
            DescribedBox("cell", Box(1.0, 2.0, 11.0, 12.0), "1"),
            DescribedBox("</script><b>", Box(4.0, 4.0, 9.0, 9.0), "2"),
        )
        described.append(Described(f"{index}.png", index + 1, boxes))
    return import_images(described, source, tmp_path / "set")[0]


def document(images: ImageSet, boxes: list[dict[str, Any]], **changed: Any) -> dict[str, Any]:
    picture = {"file": images.pictures[0].file, "boxes": boxes}
    return {"set": images.digest.hex(), "reviewer": "Dr A", "pictures": [picture], **changed}


def saved(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


ANNOTATED = {"label": "cell", "box": [1, 2, 11, 12], "origin": "annotated", "decision": "undecided"}
DETECTED = {"label": "cell", "box": [2, 2, 8, 8], "origin": "detected", "decision": "undecided", "score": 0.9}


def test_a_detected_box_counts_only_when_it_was_accepted(images: ImageSet, tmp_path: Path) -> None:
    boxes = [
        ANNOTATED,
        {**ANNOTATED, "label": "</script><b>", "box": [4, 4, 9, 9], "decision": "rejected"},
        DETECTED,
        {**DETECTED, "box": [3, 3, 9, 9], "decision": "accepted", "changed": True},
        {"label": "cell", "box": [20, 20, 30, 29], "origin": "drawn", "decision": "accepted"},
    ]
    review = load_review(saved(tmp_path / "review.json", document(images, boxes)), images)
    made, counts = apply_review(images, review, tmp_path / "new")
    kept = {(one.label, tuple(vars_of(one.box))) for one in made.pictures[0].findings}
    assert kept == {("cell", (1, 2, 11, 12)), ("cell", (3, 3, 9, 9)), ("cell", (20, 20, 30, 29))}
    assert dict(counts) == {"kept": 1, "rejected": 1, "undecided": 1, "accepted": 1, "drawn": 1, "changed": 1}
    assert made.pictures[1].findings == images.pictures[1].findings
    assert load_image_set(tmp_path / "new").digest == made.digest


def vars_of(box: Box) -> tuple[float, float, float, float]:
    return box.left, box.top, box.right, box.bottom


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"set": "0" * 64}, "another image set"),
        ({"pictures": [{"file": "x.png", "boxes": []}]}, "the set has not"),
        ({"pictures": "none"}, "not a file that the page saves"),
    ],
)
def test_a_review_of_something_else_is_refused(
    images: ImageSet, tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        load_review(saved(tmp_path / "review.json", document(images, [ANNOTATED], **changed)), images)


@pytest.mark.parametrize(
    "change", [{"box": [1, 2, 90, 12]}, {"box": [5, 5, 4, 9]}, {"label": "other"}, {"score": 7}, {"origin": "guess"}]
)
def test_a_box_that_cannot_be_is_refused(images: ImageSet, tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        load_review(saved(tmp_path / "review.json", document(images, [{**DETECTED, **change}])), images)


def test_detections_go_round_and_wrong_ones_are_named(images: ImageSet, tmp_path: Path) -> None:
    found = {images.pictures[1].file: (Detected("cell", Box(1.0, 1.0, 9.0, 9.0), 0.75),)}
    path = tmp_path / "detections.json"
    path.write_bytes(write_detections(found, images))
    assert read_detections(path, images) == {images.pictures[0].file: (), **found}
    entry = json.loads(path.read_text())[0]
    for change in ({"image_id": 3}, {"category_id": 0}, {"score": 1.5}, {"bbox": [90, 1, 5, 5]}, {"bbox": [1, 2]}):
        saved(path, [entry, {**entry, **change}])
        with pytest.raises(InvalidInput, match="entry 2"):
            read_detections(path, images)


def test_the_page_runs_its_own_script_only_and_no_class_can_end_its_data(images: ImageSet) -> None:
    page = review_page(images, {}, images.pictures)
    assert page.count("</script>") == 2
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 1
    digest = b64encode(sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src &#x27;sha256-{digest}&#x27;" in page
    assert "default-src &#x27;none&#x27;" in page
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)
    data = json.loads(re.findall(r'id="data">(.*?)</script>', page, re.DOTALL)[0])
    assert data["set"] == images.digest.hex()
    assert [len(one["boxes"]) for one in data["pictures"]] == [2, 2]


def test_reports_say_the_boxes_on_their_frame_and_study(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    import pydicom
    from highdicom.sr import ComprehensiveSR

    from medfed.imaging.dicom_report import write_reports

    source = tmp_path / "source"
    source.mkdir()
    dataset = grey_dataset(np.arange(512, dtype=np.uint16).reshape(2, 16, 16))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    dataset.PatientID, dataset.PatientName = "MRN1", "Doe^Jane"
    (source / "scan.dcm").write_bytes(dicom_bytes(dataset))
    (source / "photo.png").write_bytes(file_of(drawn()))
    box = DescribedBox("nodule", Box(1.0, 2.5, 9.0, 8.0), "1")
    described = [Described("scan.dcm#2", 1, (box,)), Described("photo.png", 2, (box,))]
    images, _ = import_images(described, source, tmp_path / "set")
    made = write_reports(images, source, tmp_path / "reports", "Roe^Ann")
    assert made == (2, 1, 2, 0)
    reports = [
        ComprehensiveSR.from_dataset(pydicom.dcmread(path))
        for path in sorted((tmp_path / "reports").glob("*-report.dcm"))
    ]
    groups = [report.content.get_planar_roi_measurement_groups() for report in reports]
    for report, found in zip(reports, groups, strict=True):
        assert len(found) == 1
        assert found[0].finding_type.meaning == "nodule"
        line = found[0].roi.graphic_type.value, found[0].roi.value
        assert line[0] == "POLYLINE"
        np.testing.assert_allclose(line[1], [[1, 2.5], [9, 2.5], [9, 8], [1, 8], [1, 2.5]])
        assert "Roe^Ann" in str(report)
    scan = next(report for report in reports if report.StudyInstanceUID == "1.2.3")
    assert scan.PatientID == "MRN1"
    assert "Referenced Frame Number             IS: '2'" in str(scan)
    capture = pydicom.dcmread(next((tmp_path / "reports").glob("*-picture.dcm")))
    np.testing.assert_array_equal(capture.pixel_array, drawn())
    (source / "scan.dcm").unlink()
    with pytest.raises(InvalidInput, match="source is not in the folder"):
        write_reports(images, source, tmp_path / "again", "")
