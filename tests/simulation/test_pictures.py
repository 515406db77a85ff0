"""Studies over pictures: detectors trained by agents over a ledger, under masks, each on its own image set."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torchvision")
pytest.importorskip("PIL")

from tests.support.picture_study import PLACES, classified_sets, drawn_sets, picture_plan

import medfed
from medfed.federation.baselines import federate_plainly
from medfed.federation.figures import DetectionEvaluation
from medfed.federation.plan import BinaryTarget
from medfed.models.settings import SmallCnnModel

pytestmark = [pytest.mark.torch, pytest.mark.slow]


def test_three_hospitals_train_a_detector_under_masks_and_it_is_the_one_of_plain_sums(tmp_path: Path) -> None:
    plan = picture_plan(rounds=2)
    study = medfed.simulate(plan, drawn_sets(tmp_path))
    assert study.study.phase == "completed"
    assert [entry.verdict for entry in study.state.history] == ["accepted", "accepted", "evaluated"]
    test = study.state.test
    assert isinstance(test, DetectionEvaluation)
    assert test.labels == ("bar", "square")
    assert test.examples == sum(study.prepared[name].report.splits["test"] for name in PLACES)
    assert federate_plainly(plan, study.prepared).digest == study.state.digest


def test_a_classifier_learns_classes_of_whole_pictures_at_three_hospitals(tmp_path: Path) -> None:
    plan = picture_plan(
        side=16,
        model=SmallCnnModel(side=16, channels=3, filters=8),
        target=BinaryTarget("class", ("light",), ("dark",)),
        optimizer="adam",
        learning_rate=0.01,
        epochs=4,
        plain=True,
    )
    sets = classified_sets(tmp_path)
    study = medfed.simulate(plan, sets)
    assert study.metrics()["AUC"].value > 0.9
    assert study.model.predict(sets[PLACES[0]]).shape == (30,)
    study.report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "<h1>Shapes</h1>" in page
    assert "pictures that no training ever saw" in page
    assert "patient" not in page
