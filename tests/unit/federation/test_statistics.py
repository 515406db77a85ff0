"""Federated statistics: exact integers in, one standardisation out, the same for everybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec import UNSET

from medfed.federation.features import Standardisation
from medfed.federation.plan import (
    BinaryTarget,
    CategoryFeature,
    DataFormat,
    MulticlassTarget,
    MultilabelTarget,
    NumberFeature,
    Participation,
    Plan,
    Purpose,
    SurvivalTarget,
    Target,
    Training,
)
from medfed.federation.plan_file import load_plan
from medfed.federation.prepared import PreparedData, prepare
from medfed.federation.statistics import (
    BINS,
    GRID,
    standardisation_from,
    statistics_contribution,
    statistics_entries,
)
from medfed.federation.tables import MAX_ROWS, table_from
from medfed.models.settings import CoxModel, LocalTraining, MlpModel
from medfed.secure_sum.fixed_point import decode_sum, encode_vector
from medfed.secure_sum.manifest import Manifest

DATA = Path(__file__).parents[3] / "src" / "medfed" / "demo" / "data"
KEY = bytes(32)


def plan_of(*features: Any, target: Target | None = None, rare: int = 2, patient: str | None = None) -> Plan:
    target = target or BinaryTarget("ill", ("1",), ("0",))
    return Plan(
        purpose=Purpose("t", "l", "e", "a"),
        data=DataFormat(features, target, split="split", patient=patient, rare_category=rare, validation_fraction=0.0),
        model=CoxModel() if isinstance(target, SurvivalTarget) else MlpModel(),
        training=Training(rounds=1, local=LocalTraining(steps=1)),
        participation=Participation(("a", "b", "c"), quorum=3),
    )


def prepared_of(plan: Plan, columns: dict[str, list[Any]]) -> PreparedData:
    rows = len(next(iter(columns.values())))
    filled = {"ill": [0] * rows, "split": ["train"] * rows, **columns}
    return prepare(plan, table_from(filled), KEY)


def added(parts: list[dict[str, np.ndarray[Any, Any]]]) -> dict[str, np.ndarray[Any, Any]]:
    return {name: sum(part[name] for part in parts) for name in parts[0]}  # type: ignore[misc]


AGE = NumberFeature("age", 0.0, 100.0)
CP = CategoryFeature("cp", ("a", "b", "c"))


def test_counts_are_those_a_person_would_count() -> None:
    plan = plan_of(AGE, CP)
    columns = {
        "age": [0, 100, 50, None, 150, -1, 30],
        "cp": ["a", "b", "a", "zz", None, "c", "a"],
        "ill": [1, 0, 1, 1, 0, 0, 1],
        "split": ["train"] * 6 + ["test"],
    }
    counts = statistics_contribution(plan, prepared_of(plan, columns))
    grid = [0, GRID, round(0.5 * GRID), GRID, 0]
    assert counts["examples"].tolist() == [6]
    assert counts["numbers.count"].tolist() == [5]
    assert counts["numbers.sum"].tolist() == [sum(grid)]
    squares = (int(counts["numbers.squares_high"][0]) << 16) + int(counts["numbers.squares_low"][0])
    assert squares == sum(point * point for point in grid)
    assert counts["numbers.out_of_range"].tolist() == [2]
    histogram = counts["numbers.histogram"]
    assert {at: int(n) for at, n in enumerate(histogram) if n} == {0: 2, 32: 1, BINS - 1: 2}
    assert counts["categories.counts"].tolist() == [2, 1, 1, 1]
    assert counts["target.counts"].tolist() == [3]


def test_categories_count_patients_not_rows() -> None:
    plan = plan_of(CP, patient="who")
    columns = {"who": ["p", "p", "p", "q", "q"], "cp": ["a", "a", "b", "a", None]}
    counts = statistics_contribution(plan, prepared_of(plan, columns))
    assert counts["categories.counts"].tolist() == [2, 1, 0, 0]


@pytest.mark.parametrize(
    ("target", "columns", "expected"),
    [
        (BinaryTarget("ill", ("1",), ("0",)), {"ill": [1, 0, 1]}, [2]),
        (MulticlassTarget("k", ("x", "y", "z")), {"k": ["x", "z", "x"]}, [2, 0, 1]),
        (MultilabelTarget(("l", "m")), {"l": [1, 0, 1], "m": [0, 0, 1]}, [2, 1]),
        (SurvivalTarget("t", "e"), {"t": [1, 2, 3], "e": [1, 0, 0]}, [1]),
    ],
)
def test_each_kind_of_target_is_counted(target: Target, columns: dict[str, Any], expected: list[int]) -> None:
    plan = plan_of(AGE, target=target)
    counts = statistics_contribution(plan, prepared_of(plan, {"age": [1, 2, 3], **columns}))
    assert counts["target.counts"].tolist() == expected


@pytest.mark.parametrize("features", [(AGE,), (CP,), (AGE, CP)])
@pytest.mark.parametrize(
    "target", [MulticlassTarget("k", ("x", "y", "z")), MultilabelTarget(("l", "m")), SurvivalTarget("t", "e")]
)
def test_entries_name_exactly_what_is_contributed(features: tuple[Any, ...], target: Target) -> None:
    plan = plan_of(*features, target=target)
    columns = {"age": [1.0], "cp": ["a"], "k": ["x"], "l": [1], "m": [0], "t": [2], "e": [1]}
    counts = statistics_contribution(plan, prepared_of(plan, columns))
    entries = statistics_entries(plan)
    assert {entry.name: entry.length for entry in entries} == {n: len(v) for n, v in counts.items()}
    assert all(values.dtype == np.int64 for values in counts.values())


def test_bounds_hold_for_the_largest_hospital() -> None:
    bounds = {entry.name: entry.bound for entry in statistics_entries(plan_of(AGE, CP))}
    assert bounds["numbers.sum"] == MAX_ROWS * GRID
    assert bounds["numbers.squares_high"] >= MAX_ROWS * (GRID * GRID >> 16)
    assert bounds["numbers.squares_low"] >= MAX_ROWS * 0xFFFF
    assert bounds["numbers.count"] == MAX_ROWS


def test_nothing_leaves_that_only_one_extreme_value_decides() -> None:
    names = {entry.name for entry in statistics_entries(plan_of(AGE, CP))}
    assert not any("min" in name or "max" in name for name in names)
    plan = plan_of(AGE)
    first = statistics_contribution(plan, prepared_of(plan, {"age": [10, 20, 101]}))
    second = statistics_contribution(plan, prepared_of(plan, {"age": [10, 20, 10_000]}))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_sums_survive_the_secure_sums_integers() -> None:
    plan = plan_of(AGE, CP)
    manifest = Manifest(tuple(statistics_entries(plan)))
    random = np.random.default_rng(3)
    parts = [
        statistics_contribution(
            plan,
            prepared_of(plan, {"age": random.normal(50, 20, 300).tolist(), "cp": ["a", "b", "?"] * 100}),
        )
        for _ in range(4)
    ]
    vectors = [encode_vector(manifest, part, (1, 4), 4)[0] for part in parts]
    total = np.zeros_like(vectors[0])
    for vector in vectors:
        total += vector
    decoded = decode_sum(manifest, total, (4, 4), 4)
    for name, expected in added(parts).items():
        assert decoded[name].tolist() == expected.tolist()
    assert standardisation_from(plan, decoded) == standardisation_from(plan, added(parts))


class TestStandardisation:
    def test_mean_scale_and_median_are_close_to_numpys_on_the_pooled_rows(self) -> None:
        plan = plan_of(AGE)
        random = np.random.default_rng(1)
        parts = [random.gamma(4.0, 8.0, size) for size in (500, 40, 3000)]
        counts = [statistics_contribution(plan, prepared_of(plan, {"age": part.tolist()})) for part in parts]
        (scale,) = standardisation_from(plan, added(counts)).numbers
        pooled = np.clip(np.concatenate(parts), 0, 100)
        assert scale.mean == pytest.approx(pooled.mean(), abs=0.002)
        assert scale.scale == pytest.approx(pooled.std(), abs=0.002)
        assert scale.median == pytest.approx(np.median(pooled), abs=100 / BINS)

    def test_the_heart_studys_agrees_with_numpy_over_its_four_hospitals(self) -> None:
        plan = load_plan(DATA / "heart.toml")
        files = sorted(DATA.glob("processed.*.data"))
        parts = [prepare(plan, table_from(path, columns=plan.data.columns), KEY) for path in files]
        assert [len(part) for part in parts] == [303, 294, 123, 200]
        found = standardisation_from(plan, added([statistics_contribution(plan, part) for part in parts]))
        pooled = np.concatenate([part.features.numbers[part.split == 0] for part in parts])
        for at, number in enumerate(plan.data.numbers):
            scale = found.numbers[at]
            step = (number.high - number.low) / GRID
            assert scale.mean == pytest.approx(np.nanmean(pooled[:, at]), abs=step)
            assert scale.scale == pytest.approx(np.nanstd(pooled[:, at]), abs=step)
            assert scale.median == pytest.approx(np.nanmedian(pooled[:, at]), abs=(number.high - number.low) / BINS)
        assert all(all(kept) for kept in found.kept)
        for part in parts:
            for dataset in part.datasets(found).values():
                assert dataset.features.shape[1] == plan.inputs == 45
                assert np.abs(dataset.features).max() < 10

    def test_no_number_is_divided_by_less_than_the_least_scale(self) -> None:
        columns = {"rare": [0.0] * 99 + [1.0], "common": [0.0, 1.0] * 50}
        plan = plan_of(NumberFeature("rare", -3.0, 3.0), NumberFeature("common", -3.0, 3.0))
        found: list[list[float]] = []
        for least in (UNSET, 0.2):
            bounded = msgspec.structs.replace(plan, data=msgspec.structs.replace(plan.data, least_scale=least))
            sums = statistics_contribution(bounded, prepared_of(bounded, columns))
            found.append([number.scale for number in standardisation_from(bounded, sums).numbers])
        assert found[0] == pytest.approx([0.0995, 0.5], rel=1e-3)
        assert found[1] == [0.2, found[0][1]]

    def test_rare_candidates_become_other(self) -> None:
        plan = plan_of(CP, rare=2)
        counts = statistics_contribution(plan, prepared_of(plan, {"cp": ["a", "a", "b"]}))
        assert standardisation_from(plan, counts).kept == ((True, False, False),)

    @pytest.mark.parametrize(
        ("ages", "mean"), [([None] * 3, 50.0), ([30, 30, 30], 30.0), ([250, 250], 100.0), ([0, 0], 0.0), ([7], 7.0)]
    )
    def test_missing_and_constant_numbers_break_nothing(self, ages: list[Any], mean: float) -> None:
        plan = plan_of(AGE, CP)
        prepared = prepared_of(plan, {"age": ages, "cp": [None] * len(ages)})
        found = standardisation_from(plan, statistics_contribution(plan, prepared))
        (scale,) = found.numbers
        assert (scale.mean, scale.median) == (pytest.approx(mean, abs=0.001), scale.mean)
        assert scale.scale == 100.0
        for dataset in prepared.datasets(found).values():
            assert np.isfinite(dataset.features).all()
            assert np.abs(dataset.features).max(initial=0.0) <= 1.0

    def test_no_training_row_anywhere_breaks_nothing(self) -> None:
        plan = plan_of(AGE, CP)
        prepared = prepared_of(plan, {"age": [10, 20], "cp": ["a", "b"], "split": ["test", "test"]})
        found = standardisation_from(plan, statistics_contribution(plan, prepared))
        assert found.kept == ((False, False, False),)
        assert len(prepared.datasets(found)["train"]) == 0
        assert np.isfinite(prepared.datasets(found)["test"].features).all()

    def test_it_does_not_depend_on_the_integer_type_of_the_sums(self) -> None:
        plan = plan_of(AGE, CP)
        counts = statistics_contribution(plan, prepared_of(plan, {"age": [1, 5, 99], "cp": ["a", "b", "a"]}))
        as_objects = {name: np.array(values.tolist(), dtype=object) for name, values in counts.items()}
        as_unsigned = {name: values.astype(np.uint64) for name, values in counts.items()}
        expected = standardisation_from(plan, counts)
        assert isinstance(expected, Standardisation)
        assert standardisation_from(plan, as_objects) == expected
        assert standardisation_from(plan, as_unsigned) == expected
