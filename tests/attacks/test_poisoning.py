"""A poisoned hospital on the heart data: it ruins the weighted mean, and none of the robust strategies."""

from __future__ import annotations

import pytest
from benchmarks.poisoning import honest_auc, poisoned_study

from medfed.ledger.contracts.aggregates import aggregate

ROUNDS = 6


@pytest.mark.parametrize("poison", ["× 100", "sign flipped, × 100"])
def test_a_scaled_update_ruins_the_weighted_mean(poison: str) -> None:
    clean, ruined = (honest_auc(poisoned_study("fedavg", kind, ROUNDS)).value for kind in ("none", poison))
    assert clean > 0.85
    assert ruined < clean - 0.1


@pytest.mark.parametrize("kind", ["median", "trimmed-mean", "norm-clipping", "multi-krum"])
@pytest.mark.parametrize("poison", ["× 100", "sign flipped, × 100", "sign flipped", "labels flipped"])
def test_no_poison_ruins_a_robust_strategy(kind: str, poison: str) -> None:
    study = poisoned_study(kind, poison, ROUNDS)
    assert honest_auc(study).value > 0.83
    if kind == "multi-krum" and "100" in poison:  # and the ledger says whose it was
        found = aggregate(study.ledger.view, study.study.study, 1, 0)
        assert found is not None
        assert [(verdict.hospital, verdict.code) for verdict in found.left_out] == [("cleveland-a", "outlier")]
