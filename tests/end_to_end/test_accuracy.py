"""The accuracy figures that were promised, on the real cohorts, in a reduced form; `python -m
benchmarks.accuracy` prints them all.

Bars are the project's own. The fast tests use settings that `benchmarks.selection` chose on training rows;
the slow ones choose anew.
"""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks import accuracy_flamby, accuracy_tcga
from benchmarks.accuracy_heart import FOLDS, divided, load_cohort, predict
from benchmarks.cohorts import flamby_heart, flamby_heart_plan, has_tcga, heart_plan, tcga, tcga_plan
from benchmarks.resampling import accuracy, auc, bootstrap_weights, folds
from benchmarks.selection import Choice, models_at

from medfed.federation.baselines import train_locally, train_pooled

needs_tcga = pytest.mark.skipif(not has_tcga(), reason="../shared/data/tcga_brca_flamby absent")


def heart_scores(rounds: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Out-of-fold scores of all 920 patients, one cross-validation, by model."""
    plan = heart_plan()
    cohort = load_cohort(plan)
    fold = folds(cohort.hospital * 2 + (cohort.ill > 0.5), FOLDS, np.random.default_rng([0, 920]))
    scores = {name: np.full(len(cohort.ill), np.nan) for name in ("federated", "pooled", *cohort.data)}
    for at in range(FOLDS):
        data, rows = divided(cohort, fold, at), fold == at
        models = {
            "federated": models_at(plan, data, (rounds,))[rounds],
            "pooled": train_pooled(plan, data, rounds=rounds),
        }
        models |= {name: train_locally(plan, data[name], name, rounds=rounds) for name in data}
        for name, model in models.items():
            scores[name][rows] = predict(plan, model, data)
    return scores, cohort.ill


@pytest.fixture(scope="module")
def heart() -> tuple[dict[str, np.ndarray], np.ndarray]:
    return heart_scores(20)


def value(metric: object, scores: np.ndarray, ill: np.ndarray) -> float:
    return float(metric(scores, ill, np.ones((1, len(ill))))[0])  # type: ignore[operator]


def test_the_federated_logistic_model_is_within_a_hundredth_of_the_pooled_one(heart: object) -> None:
    scores, ill = heart  # type: ignore[misc]
    assert not any(np.isnan(one).any() for one in scores.values())
    for metric in (accuracy, auc):
        assert abs(value(metric, scores["federated"], ill) - value(metric, scores["pooled"], ill)) <= 0.01
    assert value(accuracy, scores["federated"], ill) >= 0.81
    assert value(auc, scores["federated"], ill) >= 0.89


def test_on_everybodys_patients_the_federated_model_beats_the_mean_local_one(heart: object) -> None:
    scores, ill = heart  # type: ignore[misc]
    names = [name for name in scores if name not in ("federated", "pooled")]
    for metric, bar in ((accuracy, 0.08), (auc, 0.03)):
        local = np.mean([value(metric, scores[name], ill) for name in names])
        assert value(metric, scores["federated"], ill) - local >= bar


def test_flambys_split_has_the_published_sizes() -> None:
    rows, is_test = flamby_heart(flamby_heart_plan())
    sizes = {name: (int((~is_test[name]).sum()), int(is_test[name].sum())) for name in rows}
    expected = {"cleveland": (199, 104), "hungary": (172, 89), "switzerland": (30, 16), "long-beach": (85, 45)}
    assert sizes == expected
    assert sum(len(part) for part in rows.values()) == 740


@pytest.mark.parametrize(
    ("zeros", "label", "rounds"), [(True, "FedAdagrad .1 L2 0.001", 40), (False, "FedAvg L2 0.0", 20)]
)
def test_flambys_heart_protocol_is_met_at_the_settings_chosen_on_training_rows(
    zeros: bool, label: str, rounds: int
) -> None:
    plan = flamby_heart_plan()
    data = accuracy_flamby.load(plan)
    ill = accuracy_flamby.test_targets(data)
    if zeros:
        data = accuracy_flamby.zeros_missing(data)
    chosen = accuracy_flamby.candidates(plan)[label]
    scores = predict(chosen, models_at(chosen, data, (rounds,))[rounds], data)
    assert len(ill) == 254
    assert value(accuracy, scores, ill) >= 0.795


@needs_tcga
def test_the_federated_cox_model_ranks_test_patients_at_least_as_well_as_published() -> None:
    plan = tcga_plan()
    rows, is_test = tcga(plan)
    assert sum(len(part) for part in rows.values()) == 1088
    data = accuracy_tcga.split(rows, is_test)
    tally = accuracy_tcga.Tally()
    chosen = Choice("", accuracy_tcga.candidates(plan)["FedAvg L2 0.01"], 20)
    tally.add(accuracy_tcga.scores_of(chosen, data), data, np.random.default_rng(0))
    federated = tally.index("federated")[0]
    assert federated >= 0.84
    assert federated - np.mean([tally.index(name)[0] for name in rows]) >= 0.08


@pytest.mark.slow
def test_flambys_heart_protocol_is_met_when_settings_are_chosen_anew(capsys: pytest.CaptureFixture[str]) -> None:
    accuracies = accuracy_flamby.report()
    best = max(share for label, share in accuracies.items() if label.startswith("federated, 0 as missing"))
    assert best >= 0.795
    assert "Wilson interval" in capsys.readouterr().out


@pytest.mark.slow
@needs_tcga
def test_the_cox_figures_are_met_when_settings_are_chosen_anew(capsys: pytest.CaptureFixture[str]) -> None:
    found = accuracy_tcga.report()
    assert found["split federated"] >= 0.84
    assert found["outer federated"] >= 0.75
    assert found["split federated - mean local"] >= 0.08
    assert found["outer federated - mean local"] >= 0.08
    assert "C-index" in capsys.readouterr().out


def test_the_bootstrap_keeps_each_hospitals_size_and_the_metric_of_row_0_is_the_plain_one() -> None:
    rng = np.random.default_rng(0)
    hospitals, scores = np.repeat([0, 1], [30, 50]), np.round(rng.random(80), 1)
    ill = (rng.random(80) < 0.5).astype(np.float32)
    weights = bootstrap_weights(hospitals, rng, 50)
    assert (weights[:, :30].sum(axis=1) == 30).all()
    assert (weights[:, 30:].sum(axis=1) == 50).all()
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[ill > 0.5] for b in scores[ill < 0.5]]
    assert auc(scores, ill, weights)[0] == pytest.approx(np.mean(pairs))
    assert accuracy(scores, ill, weights)[0] == pytest.approx(np.mean((scores >= 0.5) == (ill > 0.5)))
