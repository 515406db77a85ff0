"""A detector's model file: it comes back whole, finds the same boxes, and its boxes fit the set that they are of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torchvision")
pytest.importorskip("PIL")

from tests.support.picture_study import SHAPES, classified_sets, drawn_set, drawn_sets, picture_plan

from medfed.cli.main import main
from medfed.errors import InvalidInput
from medfed.federation.baselines import federate_plainly
from medfed.federation.model_file import Model, decode_model, encode_model, load_model, model_of, save_model
from medfed.federation.picture_boxes import boxes_by_picture
from medfed.federation.picture_table import picture_table
from medfed.federation.plan import BinaryTarget
from medfed.federation.prepared import prepare
from medfed.imaging.detections import read_detections
from medfed.imaging.image_set import ImageSet
from medfed.models.settings import SmallCnnModel

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A detector after one round over drawn pictures: it has boxes everywhere, and few are right."""
    plan = picture_plan(rounds=1)
    sets = drawn_sets(tmp_path_factory.mktemp("sets"), (4, 3, 3))
    prepared = {name: prepare(plan, picture_table(images), bytes(32)) for name, images in sets.items()}
    return model_of(plan, federate_plainly(plan, prepared))


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    return drawn_set(tmp_path / "new", 3, 9)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


def test_a_detector_comes_back_from_its_file_and_finds_the_same_boxes(
    model: Model, images: ImageSet, tmp_path: Path
) -> None:
    save_model(tmp_path / "shapes.safetensors", model)
    loaded = load_model(tmp_path / "shapes.safetensors")
    assert loaded.plan == model.plan
    assert loaded.digest == model.digest
    assert encode_model(decode_model(encode_model(model))) == encode_model(model)
    before, after = model.detect(images), loaded.detect(images.folder)
    assert len(before) == len(after) == 3
    assert sum(len(one.scores) for one in before) > 0
    for one, other in zip(before, after, strict=True):
        for part, same in zip(one, other, strict=True):
            np.testing.assert_array_equal(part, same)


def test_boxes_are_best_first_inside_their_pictures_and_above_the_asked_score(model: Model, images: ImageSet) -> None:
    everything, some = boxes_by_picture(model, images), boxes_by_picture(model, images, 0.1)
    assert set(everything) == {picture.file for picture in images.pictures}
    for picture in images.pictures:
        boxes = everything[picture.file]
        assert [one.score for one in boxes] == sorted((one.score for one in boxes), reverse=True)
        assert all(0 <= one.box.left < one.box.right <= picture.width for one in boxes)
        assert all(0 <= one.box.top < one.box.bottom <= picture.height for one in boxes)
        assert some[picture.file] == tuple(one for one in boxes if one.score >= 0.1)


def test_scores_of_a_picture_are_those_of_its_best_boxes(model: Model, images: ImageSet) -> None:
    scores = model.predict(images)
    assert scores.shape == (3, len(SHAPES))
    for found, row in zip(model.detect(images), scores, strict=True):
        for label, score in enumerate(row):
            assert score == pytest.approx(max(found.scores[found.labels == label], default=0.0), abs=1e-6)


def test_commands_print_scores_and_write_boxes_that_the_review_page_reads(
    model: Model, images: ImageSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, boxes, page = tmp_path / "shapes.safetensors", tmp_path / "boxes.json", tmp_path / "page.html"
    save_model(file, model)
    assert run("model", "predict", file, images.folder) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header == "picture,score_bar,score_square"
    assert [row.split(",")[0] for row in rows] == [picture.file for picture in images.pictures]
    np.testing.assert_allclose([float(row.split(",")[2]) for row in rows], model.predict(images)[:, 1], atol=1e-6)
    assert run("model", "detect", file, images.folder, boxes, "--least", "0.06", "--json") == 0
    counts = json.loads(capsys.readouterr().out)["boxes"]
    found = boxes_by_picture(model, images, 0.06)
    assert counts == {label: sum(one.label == label for b in found.values() for one in b) for label in SHAPES}
    read = read_detections(boxes, images)
    assert {name: len(part) for name, part in read.items()} == {name: len(part) for name, part in found.items()}
    assert boxes.stat().st_mode & 0o077 == 0
    assert run("imaging", "review", images.folder, page, "--detections", boxes) == 0
    assert f"{sum(counts.values())} detected boxes" in capsys.readouterr().out
    assert run("model", "detect", file, images.folder, boxes) == 2
    assert "exists" in capsys.readouterr().err


def test_what_has_no_boxes_and_what_has_other_classes_is_refused(model: Model, tmp_path: Path) -> None:
    light = classified_sets(tmp_path, 8)
    with pytest.raises(InvalidInput, match="lacks the model's class 'bar'"):
        boxes_by_picture(model, light["east"])
    plan = picture_plan(
        rounds=1, side=16, model=SmallCnnModel(side=16, channels=3, filters=8), plain=True,
        target=BinaryTarget("class", ("light",), ("dark",)), optimizer="adam",
    )  # fmt: skip
    prepared = {name: prepare(plan, picture_table(images), bytes(32)) for name, images in light.items()}
    classifier = model_of(plan, federate_plainly(plan, prepared))
    with pytest.raises(InvalidInput, match="finds no boxes"):
        boxes_by_picture(classifier, light["east"])
    with pytest.raises(InvalidInput, match="finds no boxes"):
        classifier.detect(light["east"])


def test_a_detector_asked_about_a_table_says_that_it_wants_pictures(model: Model) -> None:
    with pytest.raises(InvalidInput, match="has no pictures"):
        model.predict({"age": [40.0]})
