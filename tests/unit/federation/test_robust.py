"""Robust strategies against plain definitions, and against poisoned hospitals on real images."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from medfed.errors import InvalidInput
from medfed.federation.robust import RobustStrategy, aggregate_updates

Array = NDArray[np.float64]
PNEUMONIA = Path(__file__).parents[3] / ".." / "shared" / "data" / "pneumoniamnist" / "pneumoniamnist.npz"
Attack = Literal["none", "sign flipped tenfold", "scaled a hundredfold", "labels flipped"]
ROBUST = (
    RobustStrategy("median"),
    RobustStrategy("trimmed-mean"),
    RobustStrategy("multi-krum"),
    RobustStrategy("norm-clipping"),
)


def _updates(n: int = 7, size: int = 50, seed: int = 0) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 1, size) for _ in range(n)]


def test_fedavg_is_the_mean_weighted_by_examples() -> None:
    updates, weights = _updates(4), [10.0, 20.0, 30.0, 40.0]
    expected = np.average(np.stack(updates), axis=0, weights=weights)
    np.testing.assert_allclose(aggregate_updates(RobustStrategy(), updates, weights).update, expected, rtol=1e-12)


@pytest.mark.parametrize("n", [4, 5, 6, 7])
def test_median_and_trimmed_mean_are_numpys_and_the_definitions(n: int) -> None:
    updates = _updates(n)
    stacked = np.stack(updates)
    found = aggregate_updates(RobustStrategy("median"), updates, [1.0] * n).update
    np.testing.assert_allclose(found, np.median(stacked, axis=0), rtol=1e-12)
    trimmed = aggregate_updates(RobustStrategy("trimmed-mean", faulty=1), updates, [1.0] * n).update
    np.testing.assert_allclose(trimmed, np.sort(stacked, axis=0)[1:-1].mean(axis=0), rtol=1e-12)


def test_multi_krum_is_its_definition_written_as_a_loop() -> None:
    for seed in range(20):
        updates = _updates(8, seed=seed)
        scores = list[float]()
        for a in updates:
            others = sorted(float(((a - b) ** 2).sum()) for b in updates if b is not a)
            scores.append(sum(others[: 8 - 2 - 2]))
        kept = sorted(sorted(range(8), key=lambda i: scores[i])[:6])
        found = aggregate_updates(RobustStrategy("multi-krum", faulty=2), updates, [1.0] * 8)
        np.testing.assert_allclose(found.update, np.mean([updates[i] for i in kept], axis=0), rtol=1e-12)
        assert found.left_out == tuple((i, "outlier") for i in range(8) if i not in kept)


def test_clipping_shortens_only_what_is_longer_than_the_bound_and_keeps_its_direction() -> None:
    updates = [np.array([3.0, 4.0]), np.array([0.3, 0.4])]
    found = aggregate_updates(RobustStrategy("norm-clipping", largest_norm=1.0), updates, [1.0, 1.0])
    np.testing.assert_allclose(found.update, [0.45, 0.6])
    assert found.clipped == (0,)


@pytest.mark.parametrize("strategy", [RobustStrategy(), *ROBUST], ids=lambda s: s.kind)
def test_an_update_that_is_not_finite_is_left_out_and_named(strategy: RobustStrategy) -> None:
    updates = _updates(7)
    updates[2][5], updates[4][0] = np.nan, np.inf
    found = aggregate_updates(strategy, updates, [1.0] * 7)
    assert {(2, "not-finite"), (4, "not-finite")} <= set(found.left_out)
    assert np.isfinite(found.update).all()


@pytest.mark.parametrize("strategy", [RobustStrategy(), *ROBUST], ids=lambda s: s.kind)
def test_large_updates_give_the_same_as_small_ones_part_by_part(strategy: RobustStrategy) -> None:
    size = (1 << 18) + 77
    updates = _updates(5, size)
    whole = aggregate_updates(strategy, updates, [1.0] * 5).update
    assert whole.shape == (size,)
    if strategy.kind in ("fedavg", "median", "trimmed-mean"):
        tail = aggregate_updates(strategy, [update[-100:] for update in updates], [1.0] * 5).update
        np.testing.assert_array_equal(whole[-100:], tail)


def test_too_few_hospitals_unequal_sizes_and_bad_weights_are_refused() -> None:
    for strategy, n in ((RobustStrategy("multi-krum"), 4), (RobustStrategy("trimmed-mean"), 2)):
        with pytest.raises(InvalidInput, match="needs"):
            aggregate_updates(strategy, _updates(n), [1.0] * n)
    with pytest.raises(InvalidInput, match="size"):
        aggregate_updates(RobustStrategy(), [np.zeros(2), np.zeros(3)], [1.0, 1.0])
    for weights in ([1.0], [1.0, 0.0], [1.0, float("nan")]):
        with pytest.raises(InvalidInput, match="weight"):
            aggregate_updates(RobustStrategy(), _updates(2), weights)
    with pytest.raises(InvalidInput):
        aggregate_updates(RobustStrategy(), [], [])


def _pneumonia() -> tuple[list[tuple[Array, Array]], tuple[Array, Array]]:
    """Seven hospitals of unequal size, and the test images."""
    if not PNEUMONIA.exists():
        pytest.skip("shared/data/pneumoniamnist absent: MedMNIST has it")
    with np.load(PNEUMONIA) as data:
        parts = {name: data[name] for name in data.files}

    def pick(name: str) -> tuple[Array, Array]:
        images = parts[f"{name}_images"].reshape(len(parts[f"{name}_images"]), -1) / 255.0 - 0.5
        return images.astype(np.float64), parts[f"{name}_labels"].reshape(-1).astype(np.float64)

    images, labels = pick("train")
    order = np.random.default_rng(0).permutation(len(images))
    cuts = np.cumsum([0.08, 0.1, 0.12, 0.14, 0.16, 0.19]) * len(order)
    shares = np.split(order, cuts.astype(int))
    return [(images[share], labels[share]) for share in shares], pick("test")


def _logistic_step(weights: Array, images: Array, labels: Array, steps: int = 10) -> Array:
    """The change that `steps` of gradient descent make."""
    now = weights.copy()
    for _ in range(steps):
        chance = 1 / (1 + np.exp(-np.clip(images @ now[:-1] + now[-1], -30, 30)))
        error = chance - labels
        now -= 0.05 * np.append(images.T @ error / len(labels), error.mean())
    return now - weights


def _accuracy(strategy: RobustStrategy, attack: Attack, rounds: int = 25) -> float:
    hospitals, (images, labels) = _pneumonia()
    weights = np.zeros(images.shape[1] + 1)
    counts = [float(len(own)) for _, own in hospitals]
    for _ in range(rounds):
        updates = list[Array]()
        for index, (own, truth) in enumerate(hospitals):
            poisoned = index == len(hospitals) - 1
            flipped = 1 - truth if poisoned and attack == "labels flipped" else truth
            update = _logistic_step(weights, own, flipped)
            if poisoned and attack in ("sign flipped tenfold", "scaled a hundredfold"):
                update = -update * (100 if attack == "scaled a hundredfold" else 10)
            updates.append(update)
        weights = weights + aggregate_updates(strategy, updates, counts).update
    return float((((images @ weights[:-1] + weights[-1]) > 0) == labels).mean())


@pytest.mark.slow
def test_one_poisoned_hospital_of_seven_ruins_fedavg_and_not_the_robust_strategies_on_real_chest_images() -> None:
    """Accuracy on the test images: clean .853; FedAvg .502 and .500 under the first two attacks, the others at least
    .823; labels flipped at the largest of seven moves FedAvg only to .825."""
    clean = _accuracy(RobustStrategy(), "none")
    assert clean > 0.8
    attacks: tuple[Attack, ...] = ("sign flipped tenfold", "scaled a hundredfold")
    for attack in attacks:
        assert _accuracy(RobustStrategy(), attack) < 0.6
        for strategy in ROBUST:
            assert _accuracy(strategy, attack) > clean - 0.05, (strategy.kind, attack)
    for strategy in ROBUST:
        assert _accuracy(strategy, "labels flipped") > clean - 0.05, strategy.kind
