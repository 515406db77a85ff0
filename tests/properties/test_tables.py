"""Whatever a hospital's file holds: an error of ours or a table, one width, one split, and sums that add up."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfed.errors import InvalidInput, MedFedError
from medfed.federation.features import encode_features, read_features
from medfed.federation.plan import (
    BinaryTarget,
    CategoryFeature,
    DataFormat,
    NumberFeature,
    Participation,
    Plan,
    Purpose,
    Training,
)
from medfed.federation.prepared import cases_root, prepare
from medfed.federation.statistics import standardisation_from, statistics_contribution
from medfed.federation.tables import Table, read_csv, table_from
from medfed.models.settings import LocalTraining, MlpModel

KEY = bytes(range(32))
PLAN = Plan(
    purpose=Purpose("t", "l", "e", "a"),
    data=DataFormat(
        (
            NumberFeature("age", -5.0, 110.0, missing_values=(0.0,)),
            CategoryFeature("cp", ("a", "b", "1"), missing_values=("9",)),
            NumberFeature("chol", 1e-3, 1e6),
        ),
        BinaryTarget("ill", ("1",), ("0",)),
        rare_category=2,
    ),
    model=MlpModel(),
    training=Training(rounds=1, local=LocalTraining(steps=1)),
    participation=Participation(("a", "b", "c"), quorum=3),
)

numbers = st.one_of(st.none(), st.floats(allow_infinity=False, width=32), st.integers(-(10**9), 10**9))
cells = st.one_of(st.none(), st.sampled_from(["a", "b", "1", "1.0", "9", "?", "zz"]), st.integers(0, 3))
row = st.fixed_dictionaries({"age": numbers, "cp": cells, "chol": numbers, "ill": st.sampled_from([0, 1])})
rows = st.lists(row, min_size=1, max_size=25)


def read_bytes(data: bytes, **how: Any) -> Table:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_bytes(data)
        return read_csv(path, **how)


def csv_like() -> st.SearchStrategy[bytes]:
    piece = st.sampled_from(
        [b"age", b"cp", b"chol", b"ill", b",", b"\n", b"\r", b'"', b"1", b"?", b"\xef\xbb\xbf", b"a"]
    )
    return st.lists(piece | st.binary(max_size=3), max_size=40).map(b"".join)


@given(st.binary(max_size=200) | csv_like(), st.sampled_from([None, ["age", "cp"], ["age", "cp", "chol", "ill"]]))
def test_arbitrary_bytes_as_csv_raise_nothing_but_our_errors(data: bytes, columns: list[str] | None) -> None:
    try:
        table = read_bytes(data, columns=columns)
        prepared = prepare(PLAN, table, KEY)
    except MedFedError:
        return
    assert 0 < len(prepared) <= len(table)


@given(rows)
def test_what_python_writes_as_csv_is_read_as_it_was(records: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]))
    writer.writeheader()
    writer.writerows(records)
    from_file = prepare(PLAN, read_bytes(text.getvalue().encode()), KEY)
    from_memory = prepare(PLAN, table_from(records), KEY)
    assert np.array_equal(from_file.features.numbers, from_memory.features.numbers, equal_nan=True)
    assert np.array_equal(from_file.features.categories, from_memory.features.categories)
    assert np.array_equal(from_file.targets, from_memory.targets)
    assert np.array_equal(from_file.split, from_memory.split)


@given(rows, st.randoms(use_true_random=False))
def test_the_split_of_a_row_is_the_same_in_any_order(records: list[dict[str, Any]], random: Any) -> None:
    order = list(range(len(records)))
    random.shuffle(order)
    first = prepare(PLAN, table_from(records), KEY)
    second = prepare(PLAN, table_from([records[at] for at in order]), KEY)
    assert first.split[order].tolist() == second.split.tolist()
    assert cases_root(first, KEY) == cases_root(second, KEY)


@given(st.lists(rows, min_size=1, max_size=4))
def test_statistics_of_all_rows_are_the_sum_of_the_hospitals(tables: list[list[dict[str, Any]]]) -> None:
    parts = [statistics_contribution(PLAN, prepare(PLAN, table_from(part), KEY)) for part in tables]
    pooled = statistics_contribution(PLAN, prepare(PLAN, table_from([r for part in tables for r in part]), KEY))
    for name, expected in pooled.items():
        assert sum(part[name] for part in parts).tolist() == expected.tolist()  # type: ignore[union-attr]


@given(rows, rows)
def test_the_width_is_the_plans_and_every_input_is_finite(
    own: list[dict[str, Any]], others: list[dict[str, Any]]
) -> None:
    standardisation = standardisation_from(PLAN, statistics_contribution(PLAN, prepare(PLAN, table_from(others), KEY)))
    raw = read_features(table_from(own), PLAN.data)
    encoded = encode_features(raw, PLAN, standardisation)
    assert encoded.shape == (len(own), PLAN.inputs)
    assert np.isfinite(encoded).all()
    assert (encoded[:, 2:7].sum(axis=1) == 1).all()


@settings(max_examples=50)
@given(st.text(min_size=8, max_size=30).filter(lambda text: text.strip() == text), st.integers(0, 3))
def test_no_error_repeats_a_cell(secret: str, column: int) -> None:
    secret = "Zq" + secret
    record: dict[str, Any] = {"age": 1, "cp": "a", "chol": 2, "ill": 0}
    name = list(record)[column]
    table = table_from([record | {name: secret}])
    if name == "cp":
        assert prepare(PLAN, table, KEY).report.unknown == {"cp": 1}
        return
    with pytest.raises(InvalidInput) as caught:
        prepare(PLAN, table, KEY)
    assert secret not in str(caught.value)
