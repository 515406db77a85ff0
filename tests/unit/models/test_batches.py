"""Batches: every example once a pass, in an order that only the generator decides."""

from __future__ import annotations

import numpy as np
import pytest

from medfed.errors import InvalidInput
from medfed.models import batches
from medfed.models.batches import count_steps, draw_batches, with_ones
from medfed.models.dataset import Dataset
from medfed.models.settings import LocalTraining


def numbered(examples: int) -> Dataset:
    numbers = np.arange(examples, dtype=np.float32)
    return Dataset(numbers[:, None], numbers.astype(np.int64))


def drawn(examples: int, settings: LocalTraining, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    pairs = list(draw_batches(numbered(examples), settings, rng, lambda x: x, lambda y: y))
    assert all(np.array_equal(features[:, 0], targets) for features, targets in pairs)
    return [targets.tolist() for _, targets in pairs]


@pytest.mark.parametrize(("examples", "size"), [(10, 3), (10, 5), (7, 1), (9000, 4000), (9000, 4096), (4097, 16)])
def test_an_epoch_sees_every_example_exactly_once(examples: int, size: int):
    rows = drawn(examples, LocalTraining(epochs=2, batch_size=size))
    per_epoch = -(-examples // size)
    assert len(rows) == 2 * per_epoch
    for epoch in (rows[:per_epoch], rows[per_epoch:]):
        assert [len(batch) for batch in epoch[:-1]] == [size] * (per_epoch - 1)
        assert sorted(number for batch in epoch for number in batch) == list(range(examples))
    assert rows[:per_epoch] != rows[per_epoch:]


@pytest.mark.parametrize("steps", [1, 2, 4, 5, 9])
def test_steps_are_the_first_batches_of_as_many_epochs(steps: int):
    by_epochs = drawn(10, LocalTraining(epochs=5, batch_size=3), seed=4)
    assert drawn(10, LocalTraining(steps=steps, batch_size=3), seed=4) == by_epochs[:steps]


def test_steps_across_gathered_blocks_are_the_first_batches_of_the_epoch(monkeypatch: pytest.MonkeyPatch):
    whole = drawn(100, LocalTraining(epochs=2, batch_size=7), seed=4)
    monkeypatch.setattr(batches, "_GATHERED", 20)
    assert drawn(100, LocalTraining(steps=23, batch_size=7), seed=4) == whole[:23]


def test_the_generator_alone_decides_the_order():
    settings = LocalTraining(epochs=3, batch_size=4)
    assert drawn(50, settings, seed=1) == drawn(50, settings, seed=1)
    assert drawn(50, settings, seed=1) != drawn(50, settings, seed=2)


@pytest.mark.parametrize("size", [0, 5, 6, 1_000_000])
def test_a_batch_of_everything_keeps_order_and_draws_nothing(size: int):
    rng = np.random.default_rng(1)
    before = rng.bit_generator.state
    rows = list(draw_batches(numbered(5), LocalTraining(steps=3, batch_size=size), rng, lambda x: x, lambda y: y))
    assert [targets.tolist() for _, targets in rows] == [[0, 1, 2, 3, 4]] * 3
    assert rng.bit_generator.state == before


def test_steps_are_counted_before_any_is_taken():
    assert count_steps(LocalTraining(steps=7), 3) == 7
    assert count_steps(LocalTraining(epochs=2, batch_size=16), 33) == 6
    assert count_steps(LocalTraining(epochs=2, batch_size=0), 33) == 2


@pytest.mark.parametrize("settings", [LocalTraining(), LocalTraining(steps=1, epochs=1)])
def test_steps_and_epochs_both_or_neither_are_refused(settings: LocalTraining):
    with pytest.raises(InvalidInput, match="either steps or epochs"):
        count_steps(settings, 10)


def test_no_example_is_refused():
    with pytest.raises(InvalidInput, match="no example"):
        count_steps(LocalTraining(steps=1), 0)


def test_with_ones_adds_a_last_column_of_ones():
    assert with_ones(np.array([[2, 3]], np.float32)).tolist() == [[2, 3, 1]]
