"""Pictures as cases of a blind test: pixels and nothing else, and a model's scores as sets of findings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from tests.support.picture_study import SHAPES, drawn_set, picture_plan
from tests.support.pictures import drawn, file_of

from medfed.errors import InvalidInput, Refused
from medfed.federation.plan import BoxesTarget, PictureFeature, SurvivalTarget
from medfed.federation.study import learner_of
from medfed.hospital import blind_pictures
from medfed.hospital.blind_labels import candidates_of
from medfed.hospital.blind_pictures import diagnose_pictures, diagnosed_pictures, picture_case
from medfed.imaging.importing import import_images, read_unannotated
from medfed.imaging.picture_file import decode_picture
from medfed.imaging.release import clear_pictures
from medfed.models.picture_dataset import PictureDataset

PICTURE = PictureFeature(side=96)


@dataclass
class Brightness:
    """A learner that finds a bar where there are very dark pixels, and a square where there are very bright ones."""

    def answers(self, parameters: Any, data: PictureDataset) -> Any:
        pictures = [sample.pixels for sample in data.samples()]
        return np.array([[0.9 * (pixels.min() < 20), 0.6 * (pixels.max() > 240)] for pixels in pictures])


def test_the_diagnosis_of_a_picture_is_the_set_of_its_finding_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn_set(tmp_path / "set", 12, 3, 0.5)
    plan = picture_plan()
    diagnosed = diagnosed_pictures(plan, tmp_path / "set")
    truth = [diagnosis for _, diagnosis in diagnosed]
    assert set(truth) == {("bar", "square"), ("square",)}
    assert set(truth) <= set(candidates_of(plan.data.target))
    assert {case.kind for case, _ in diagnosed} == {"96x72 RGB"}
    monkeypatch.setattr(blind_pictures, "learner_of", lambda plan: Brightness())
    cases = [case.data for case, _ in diagnosed]
    assert diagnose_pictures(plan, PICTURE, Any, cases, 0.5) == truth  # type: ignore[arg-type]
    only_bars = diagnose_pictures(plan, PICTURE, Any, cases, 0.8)  # type: ignore[arg-type]
    assert only_bars == [tuple(label for label in said if label == "bar") for said in truth]


def test_nothing_but_pixels_of_the_undiagnosed_file_is_sent(tmp_path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    notes = PngInfo()
    notes.add_text("Patient", "Mrs Smith")
    path = tmp_path / "Mrs Smith.png"
    values = drawn(40, 30)
    path.write_bytes(file_of(values, pnginfo=notes))
    case = picture_case(path)
    assert case.kind == "40x30 RGB"
    assert b"Smith" not in case.data
    assert np.array_equal(decode_picture(case.data).values, values)
    with pytest.raises(InvalidInput) as error:
        picture_case(tmp_path / "Mr Jones.png")
    assert "Jones" not in str(error.value)


def test_pictures_that_may_have_text_are_not_sent_before_a_person_has_looked(tmp_path: Path) -> None:
    values = np.zeros((80, 300), dtype=np.uint8)
    image = Image.fromarray(values)
    ImageDraw.Draw(image).text((20, 30), "DOE JANE 1970", fill=255, font=ImageFont.load_default(16))
    path = tmp_path / "new.png"
    path.write_bytes(file_of(np.asarray(image)))
    with pytest.raises(Refused, match="--cleared") as refused:
        picture_case(path)
    assert refused.value.code == "burnt-in-text"
    assert picture_case(path, cleared=True).kind.startswith("300x80")
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.png").write_bytes(path.read_bytes())
    images = import_images(read_unannotated(source), source, tmp_path / "set")[0]
    with pytest.raises(Refused, match="imaging clear"):
        diagnosed_pictures(picture_plan(), images.folder)
    clear_pictures(images, frozenset(one.file[:16] for one in images.pictures), "A. Radiographer")
    assert len(diagnosed_pictures(picture_plan(), images.folder)) == 1


def test_what_is_no_picture_is_refused_and_a_risk_is_no_diagnosis() -> None:
    with pytest.raises(InvalidInput):
        diagnose_pictures(picture_plan(), PICTURE, Any, [b"none"], 0.5)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="no diagnosis"):
        candidates_of(SurvivalTarget("days", "event"))
    with pytest.raises(InvalidInput, match="classes"):
        candidates_of(BoxesTarget(tuple(map(str, range(13)))))


@pytest.mark.torch
def test_a_detector_says_the_classes_whose_best_box_reaches_the_operating_point(tmp_path: Path) -> None:
    plan = picture_plan()
    cases = [case.data for case, _ in diagnosed_pictures(plan, drawn_set(tmp_path / "set", 2, 1).folder)]
    learner = learner_of(plan)
    parameters = learner.initial(3)
    said = diagnose_pictures(plan, PICTURE, parameters, cases, 0.0001)
    strict = diagnose_pictures(plan, PICTURE, parameters, cases, 0.9999)
    assert len(said) == len(strict) == 2
    assert strict == [(), ()]
    assert all(set(one) <= set(SHAPES) for one in said)
