"""Average precision is what the reference says, on random detections full of ties and on real true boxes."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.pictures import blood_cells

from medfed.errors import InvalidInput
from medfed.imaging.average_precision import (
    COCO_OVERLAPS,
    SIZES,
    Detected,
    Truth,
    coco_average_precision,
    overlaps,
    voc_average_precision,
)
from medfed.imaging.score_bins import BINS, average_precision_of_bins, count_detections
from medfed.imaging.voc import read_voc

Array = NDArray[np.float64]


def _boxes(rng: np.random.Generator, count: int, side: float = 200.0) -> Array:
    corner = rng.uniform(0, side, (count, 2)).round(1)
    size = rng.uniform(2, side / 2, (count, 2)).round(1)
    return np.concatenate([corner, corner + size], axis=1)


def _scene(seed: int, pictures: int = 12) -> tuple[list[Truth], list[Detected]]:
    """True boxes with crowds; detections near them, repeated, and anywhere; scores of few values, so that they tie."""
    rng = np.random.default_rng(seed)
    truths, detections = list[Truth](), list[Detected]()
    for _ in range(pictures):
        boxes = _boxes(rng, int(rng.integers(0, 9)))
        truths.append(Truth(boxes, rng.random(len(boxes)) < 0.2))
        near = np.repeat(boxes, rng.integers(0, 3, len(boxes)), axis=0)
        near = near + rng.normal(0, 4, near.shape)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        found = np.concatenate([near, boxes[: len(boxes) // 3], _boxes(rng, int(rng.integers(0, 5)))])
        detections.append(Detected(found, rng.integers(1, 12, len(found)) / 12))
    return truths, detections


def _reference(truths: list[Truth], detections: list[Detected]) -> dict[str, Array]:
    """pycocotools' precision at each threshold, for each size."""
    coco_module = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image, (truth, found) in enumerate(zip(truths, detections, strict=True), start=1):
        for box, crowd in zip(truth.boxes, truth.ignored, strict=True):
            annotations.append(_entry(image, box) | {"id": len(annotations) + 1, "iscrowd": int(crowd)})
        results += [_entry(image, box) | {"score": float(s)} for box, s in zip(found.boxes, found.scores, strict=True)]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = coco_module.COCO()
        images = [{"id": image} for image in range(1, len(truths) + 1)]
        coco.dataset = {"images": images, "annotations": annotations, "categories": [{"id": 1}], "info": {}}
        coco.createIndex()
        evaluation = cocoeval.COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]  # thresholds, recalls, classes, sizes, most
    return {size: precision[:, :, 0, at, 2].mean(axis=1) for at, size in enumerate(SIZES)}


def _entry(image: int, box: Array) -> dict[str, Any]:
    left, top, right, bottom = (float(value) for value in box)
    area = (right - left) * (bottom - top)
    return {"image_id": image, "category_id": 1, "bbox": [left, top, right - left, bottom - top], "area": area}


@pytest.mark.parametrize("seed", range(30))
def test_coco_average_precision_is_the_references_for_every_overlap_and_size(seed: int) -> None:
    truths, detections = _scene(seed)
    expected = _reference(truths, detections)
    for size in SIZES:
        np.testing.assert_allclose(
            coco_average_precision(truths, detections, size=size), expected[size], rtol=0, atol=1e-9
        )


def test_only_the_best_hundred_of_a_picture_are_looked_at_as_in_the_reference() -> None:
    rng = np.random.default_rng(5)
    truths = [Truth(_boxes(rng, 60), np.zeros(60, dtype=bool))]
    found = np.concatenate([_boxes(rng, 90), truths[0].boxes])
    detections = [Detected(found, rng.random(len(found)))]
    expected = _reference(truths, detections)["all"]
    np.testing.assert_allclose(coco_average_precision(truths, detections), expected, rtol=0, atol=1e-9)
    assert coco_average_precision(truths, detections, most=150)[0] != pytest.approx(expected[0])


def test_it_agrees_with_the_reference_on_the_real_boxes_of_blood_cells() -> None:
    folder = blood_cells()
    names = (folder / "ImageSets" / "Main" / "test.txt").read_text().split()
    rng = np.random.default_rng(1)
    for label in ("RBC", "WBC", "Platelets"):
        truths, detections = list[Truth](), list[Detected]()
        for described in read_voc([folder / "Annotations" / f"{name}.xml" for name in names]):
            rows = [
                (entry.box.left, entry.box.top, entry.box.right, entry.box.bottom)
                for entry in described.boxes
                if entry.label == label and not entry.problem
            ]
            boxes = np.array(rows, dtype=np.float64).reshape(-1, 4)
            truths.append(Truth(boxes, np.zeros(len(boxes), dtype=bool)))
            near = boxes + rng.normal(0, 6, boxes.shape)
            near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
            detections.append(Detected(near, rng.random(len(near)).round(2)))
        np.testing.assert_allclose(
            coco_average_precision(truths, detections), _reference(truths, detections)["all"], rtol=0, atol=1e-9
        )


def _voc_by_the_book(truths: list[Truth], detections: list[Detected], eleven: bool) -> float:
    """The development kit's procedure, written as a loop over sorted detections."""
    rows = [(-s, p, i) for p, found in enumerate(detections) for i, s in enumerate(found.scores)]
    hits, misses, used, curve = 0, 0, set[tuple[int, int]](), list[tuple[float, float]]()
    total = sum(1 for truth in truths for ignored in truth.ignored if not ignored)
    for _, p, i in sorted(rows):
        a = detections[p].boxes[i]
        best, where = -1.0, -1
        for j, b in enumerate(truths[p].boxes):
            w = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
            h = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
            union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
            if w * h / union > best:
                best, where = w * h / union, j
        if best > 0.5:
            if not truths[p].ignored[where]:
                hits, misses = (hits, misses + 1) if (p, where) in used else (hits + 1, misses)
                used.add((p, where))
        else:
            misses += 1
        if hits + misses:
            curve.append((hits / total, hits / (hits + misses)))
    if eleven:
        return sum(max((p for r, p in curve if r >= t), default=0.0) for t in np.linspace(0, 1, 11)) / 11
    area, last = 0.0, 0.0
    for index, (recall, _) in enumerate(curve):
        area += (recall - last) * max(p for _, p in curve[index:])
        last = recall
    return area


@pytest.mark.parametrize("eleven", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_voc_average_precision_is_that_of_the_procedure_in_its_paper(seed: int, eleven: bool) -> None:
    truths, detections = _scene(seed)
    expected = _voc_by_the_book(truths, detections, eleven)
    assert voc_average_precision(truths, detections, eleven_points=eleven) == pytest.approx(expected, abs=1e-9)


def test_perfect_detections_score_one_and_none_score_nothing() -> None:
    truths, _ = _scene(3)
    perfect = [Detected(truth.boxes, np.ones(len(truth.boxes))) for truth in truths]
    nothing = [Detected(np.zeros((0, 4)), np.zeros(0)) for _ in truths]
    assert coco_average_precision(truths, perfect).tolist() == [1.0] * len(COCO_OVERLAPS)
    assert voc_average_precision(truths, perfect) == pytest.approx(1.0)
    assert coco_average_precision(truths, nothing).tolist() == [0.0] * len(COCO_OVERLAPS)
    empty = [Truth(np.zeros((0, 4)), np.zeros(0, dtype=bool))]
    assert coco_average_precision(empty, nothing[:1]).tolist() == [-1.0] * len(COCO_OVERLAPS)
    assert voc_average_precision(empty, nothing[:1]) == -1.0
    assert coco_average_precision([], []).tolist() == [-1.0] * len(COCO_OVERLAPS)
    assert voc_average_precision([], []) == -1.0


def test_overlap_of_a_crowd_is_over_the_detections_own_area() -> None:
    inside = np.array([[0.0, 0.0, 10.0, 10.0]])
    around = np.array([[0.0, 0.0, 20.0, 20.0]])
    assert overlaps(inside, around)[0, 0] == 0.25
    assert overlaps(inside, around, np.array([True]))[0, 0] == 1.0
    flat = np.array([[3.0, 3.0, 3.0, 3.0]])
    assert overlaps(flat, flat)[0, 0] == 0.0


def test_wrong_arguments_are_refused() -> None:
    truths, detections = _scene(0)
    with pytest.raises(InvalidInput, match="pictures"):
        coco_average_precision(truths, detections[1:])
    with pytest.raises(InvalidInput, match="size"):
        coco_average_precision(truths, detections, size="tiny")
    with pytest.raises(InvalidInput, match=r"\[n, 4\]"):
        voc_average_precision(truths[:1], [Detected(np.zeros((2, 4)), np.zeros(3))])


@pytest.mark.parametrize("seed", range(10))
def test_counts_summed_over_hospitals_give_the_average_precision_of_all_pictures_together(seed: int) -> None:
    truths, detections = _scene(seed, pictures=60)
    rng = np.random.default_rng(seed)
    detections = [Detected(found.boxes, rng.random(len(found.scores))) for found in detections]
    shares = [slice(0, 10), slice(10, 40), slice(40, 60)]
    total = sum((count_detections(truths[s], detections[s]) for s in shares), np.zeros(2 * BINS + 1, dtype=np.int64))
    exact = coco_average_precision(truths, detections, (0.5,))[0]
    assert average_precision_of_bins(total) == pytest.approx(exact, abs=0.01)


def test_impossible_counts_are_refused() -> None:
    counts = np.zeros(2 * BINS + 1, dtype=np.int64)
    assert average_precision_of_bins(counts) == -1.0
    counts[3] = 1
    with pytest.raises(InvalidInput, match="more matches"):
        average_precision_of_bins(counts)
    with pytest.raises(InvalidInput, match="numbers"):
        average_precision_of_bins(counts[1:])
    truths, detections = _scene(0)
    with pytest.raises(InvalidInput, match="score"):
        count_detections(truths, [Detected(d.boxes, d.scores * 2) for d in detections])
