"""Preparing a table: what is kept, what is dropped and counted, and what the case list commits to."""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from medfed.errors import InvalidInput
from medfed.federation.cases import salted_root
from medfed.federation.plan import (
    BinaryTarget,
    CategoryFeature,
    DataFormat,
    NumberFeature,
    Participation,
    PixelsFeature,
    Plan,
    Purpose,
    SurvivalTarget,
    Training,
)
from medfed.federation.prepared import PreparedData, cases_root, prepare, schema_digest
from medfed.federation.splits import SPLITS, TRAIN, split_of
from medfed.federation.tables import table_from
from medfed.models.settings import CoxModel, LocalTraining, MlpModel

KEY, SALT = bytes(32), bytes(range(32))


def plan_of(**data: Any) -> Plan:
    target = data.pop("target", BinaryTarget("ill", ("1",), ("0",)))
    features = (NumberFeature("age", 0.0, 100.0), CategoryFeature("sex", ("m", "f")))
    return Plan(
        purpose=Purpose("t", "l", "e", "a"),
        data=DataFormat(features, target, **data),
        model=CoxModel() if isinstance(target, SurvivalTarget) else MlpModel(),
        training=Training(rounds=1, local=LocalTraining(steps=1)),
        participation=Participation(("a", "b", "c"), quorum=3),
    )


def rows_of(count: int) -> dict[str, list[Any]]:
    random = np.random.default_rng(0)
    return {
        "age": [round(age, 3) for age in random.uniform(0, 100, count)],
        "sex": random.choice(["m", "f"], count).tolist(),
        "ill": random.integers(0, 2, count).tolist(),
    }


def of_patient(prepared: PreparedData) -> dict[float, str]:
    return {float(age): SPLITS[code] for age, code in zip(prepared.features.numbers[:, 0], prepared.split, strict=True)}


def test_the_report_counts_what_was_dropped_clipped_and_unknown() -> None:
    columns = {
        "age": [10, -1, 101, None, 5, 6],
        "sex": ["m", "x", None, "f", "m", "m"],
        "ill": [0, 1, 1, 0, "?", "maybe"],
        "note": ["private"] * 6,
    }
    report = prepare(plan_of(), table_from(columns), KEY).report
    assert (report.rows, report.usable, report.patients) == (6, 4, 4)
    assert (report.missing_target, report.unknown_target, report.unused_columns) == (1, 1, 1)
    assert report.missing == {"age": 1, "sex": 1}
    assert report.out_of_range == {"age": 2}
    assert report.unknown == {"sex": 1}
    assert report.targets == (2,)
    assert sum(report.splits.values()) == 4
    assert not report.single_target


def test_splits_do_not_depend_on_the_order_of_rows_nor_on_later_rows() -> None:
    columns = rows_of(300)
    order = np.random.default_rng(5).permutation(300)
    shuffled = {name: [cells[at] for at in order] for name, cells in columns.items()}
    fewer = {name: cells[:100] for name, cells in columns.items()}
    first = of_patient(prepare(plan_of(), table_from(columns), KEY))
    assert of_patient(prepare(plan_of(), table_from(shuffled), KEY)) == first
    assert of_patient(prepare(plan_of(), table_from(fewer), KEY)).items() <= first.items()
    assert set(first.values()) == set(SPLITS)


def test_rows_of_one_patient_stay_together_wherever_the_key_puts_them() -> None:
    columns = rows_of(200) | {"who": [f"p{at % 40}" for at in range(200)]}
    prepared = prepare(plan_of(patient="who"), table_from(columns), KEY)
    assert prepared.report.patients == 40
    for at in range(200):
        expected = split_of(f"p{at % 40}".encode(), KEY, (0.15, 0.2))
        assert SPLITS[prepared.split[at]] == expected


def test_a_patient_without_identity_is_named_by_its_row() -> None:
    columns = rows_of(2) | {"who": ["p", None]}
    with pytest.raises(InvalidInput, match="row 2, column 'who': the patient is missing"):
        prepare(plan_of(patient="who"), table_from(columns), KEY)


def test_a_split_column_decides_and_may_not_divide_a_patient() -> None:
    columns = rows_of(3) | {"who": ["p", "q", "p"], "s": ["train", "test", "train"]}
    prepared = prepare(plan_of(patient="who", split="s"), table_from(columns), KEY)
    assert prepared.split.tolist() == [0, 2, 0]
    assert prepared.examples == 2
    columns["s"] = ["train", "test", "validation"]
    with pytest.raises(InvalidInput, match="row 3, column 's': rows of one patient are in two splits"):
        prepare(plan_of(patient="who", split="s"), table_from(columns), KEY)


def test_a_hospital_where_everyone_is_ill_is_reported_not_refused() -> None:
    prepared = prepare(plan_of(), table_from(rows_of(20) | {"ill": [1] * 20}), KEY)
    assert prepared.report.single_target
    survival = plan_of(target=SurvivalTarget("t", "e"))
    columns = rows_of(3) | {"t": [1, 2, 3], "e": [0, 0, 0]}
    assert prepare(survival, table_from(columns), KEY).report.single_target


def test_a_table_without_a_usable_row_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no row has a target that the plan names"):
        prepare(plan_of(), table_from(rows_of(3) | {"ill": ["?", "x", None]}), KEY)


def test_datasets_divide_the_rows_and_parts_can_be_taken() -> None:
    from medfed.federation.statistics import standardisation_from, statistics_contribution

    plan = plan_of()
    prepared = prepare(plan, table_from(rows_of(100)), KEY)
    standardisation = standardisation_from(plan, statistics_contribution(plan, prepared))
    datasets = prepared.datasets(standardisation)
    assert {name: len(part) for name, part in datasets.items()} == dict(prepared.report.splits)
    assert len(datasets["train"]) == prepared.examples
    training = prepared.take(prepared.split == TRAIN)
    assert len(training) == training.examples == prepared.examples
    again = prepared.with_split(np.full(100, 2, dtype=np.uint8))
    assert again.examples == 0
    assert len(again.datasets(standardisation)["test"]) == 100
    for wrong in (np.zeros(99, dtype=np.uint8), np.full(100, 3, dtype=np.uint8)):
        with pytest.raises(InvalidInput, match="expected 100 codes below 3"):
            prepared.with_split(wrong)


class TestCasesRoot:
    def test_it_is_rfc_6962s_root_over_salted_rows_written_out(self) -> None:
        columns = {"age": [10, 20.5, None], "sex": ["m", None, "f"], "ill": [0, 1, 1], "s": ["train"] * 3}
        prepared = prepare(plan_of(split="s"), table_from(columns), KEY)
        rows = [(10.0, 0.0, 0.0), (20.5, -1.0, 1.0), (float("nan"), 1.0, 1.0)]
        leaves = sorted(hmac.new(SALT, struct.pack("<3d", *row), hashlib.sha256).digest() for row in rows)
        first, second, third = (hashlib.sha256(b"\0" + leaf).digest() for leaf in leaves)
        pair = hashlib.sha256(b"\1" + first + second).digest()
        assert cases_root(prepared, SALT) == hashlib.sha256(b"\1" + pair + third).digest()

    def test_it_covers_the_training_rows_in_any_order_and_no_other(self) -> None:
        columns = rows_of(100)
        prepared = prepare(plan_of(), table_from(columns), KEY)
        backwards = prepare(plan_of(), table_from({n: c[::-1] for n, c in columns.items()}), KEY)
        root = cases_root(prepared, SALT)
        assert cases_root(backwards, SALT) == root
        assert cases_root(prepared.take(prepared.split == TRAIN), SALT) == root
        assert cases_root(prepared.take(np.arange(99)), SALT) != root or prepared.split[99] != TRAIN
        fewer = prepared.take(np.flatnonzero(prepared.split == TRAIN)[1:])
        assert cases_root(fewer, SALT) != root

    def test_without_the_salt_it_says_nothing(self) -> None:
        prepared = prepare(plan_of(), table_from(rows_of(10)), KEY)
        assert cases_root(prepared, SALT) != cases_root(prepared, bytes(32))
        with pytest.raises(InvalidInput, match="31 bytes; expected 32"):
            salted_root([b"row"], SALT[:31])

    def test_equal_values_have_one_encoding(self) -> None:
        first = prepare(
            plan_of(split="s"), table_from({"age": ["-0.0"], "sex": ["m"], "ill": ["0.0"], "s": ["train"]}), KEY
        )
        second = prepare(plan_of(split="s"), table_from({"age": [0], "sex": ["m "], "ill": [0], "s": ["train"]}), KEY)
        assert cases_root(first, SALT) == cases_root(second, SALT)


def test_the_schemas_digest_is_that_of_the_format_alone() -> None:
    assert schema_digest(plan_of()) == schema_digest(plan_of())
    assert schema_digest(plan_of()) != schema_digest(plan_of(test_fraction=0.1))


def test_another_standardisation_gives_other_datasets_and_the_first_one_the_same_again() -> None:
    from msgspec.structs import replace

    from medfed.federation.statistics import standardisation_from, statistics_contribution

    plan = plan_of()
    prepared = prepare(plan, table_from(rows_of(100)), KEY)
    standardisation = standardisation_from(plan, statistics_contribution(plan, prepared))
    first = prepared.datasets(standardisation)
    assert prepared.datasets(standardisation)["train"] is first["train"]
    wider = tuple(replace(scale, scale=2 * scale.scale) for scale in standardisation.numbers)
    other = prepared.datasets(replace(standardisation, numbers=wider))
    assert not np.array_equal(other["train"].features, first["train"].features)
    np.testing.assert_array_equal(prepared.datasets(standardisation)["train"].features, first["train"].features)


def test_the_case_list_commits_to_pixels_and_a_patient_without_identity_is_named_by_them() -> None:
    def cells(*values: int) -> list[str]:
        return [base64.b64encode(bytes([value]) * 64).decode() for value in values]

    data = {"split": "part"}
    plan = replace(plan_of(**data), data=replace(plan_of(**data).data, features=(PixelsFeature("scan", 8),)))
    rows = {"ill": [0, 1, 0], "part": ["train", "train", "test"]}
    first = prepare(plan, table_from({"scan": cells(1, 2, 3), **rows}), KEY)
    other = prepare(plan, table_from({"scan": cells(1, 9, 3), **rows}), KEY)
    held_out = prepare(plan, table_from({"scan": cells(1, 2, 9), **rows}), KEY)
    assert cases_root(first, SALT) == cases_root(held_out, SALT) != cases_root(other, SALT)
    assert (first.pseudonyms == other.pseudonyms).tolist() == [True, False, True]
    assert first.report.missing == {}
