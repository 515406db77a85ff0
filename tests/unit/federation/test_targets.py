"""Targets: the four kinds as arrays; rows without one are counted, never guessed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medfed.errors import InvalidInput
from medfed.federation.plan import BinaryTarget, MulticlassTarget, MultilabelTarget, SurvivalTarget
from medfed.federation.tables import table_from
from medfed.federation.targets import read_targets, target_counts

BINARY = BinaryTarget("num", positive=("1", "2"), negative=("0",))


def test_binary_targets_are_float32_and_others_are_counted() -> None:
    found = read_targets(table_from({"num": ["0", "1.0", 2, "?", "7", None]}), BINARY)
    assert found.values.dtype == np.float32
    assert found.values[found.usable].tolist() == [0.0, 1.0, 1.0]
    assert found.usable.tolist() == [True, True, True, False, False, False]
    assert (found.missing, found.unknown) == (2, 1)


def test_multiclass_targets_are_int64_positions() -> None:
    target = MulticlassTarget("stage", ("I", "II", "III"))
    found = read_targets(table_from({"stage": ["III", "I", "IV", ""]}), target)
    assert found.values.dtype == np.int64
    assert found.values[found.usable].tolist() == [2, 0]
    assert (found.missing, found.unknown) == (1, 1)
    assert target_counts(target, found.values[found.usable]).tolist() == [1, 0, 1]


def test_multilabel_targets_need_every_label() -> None:
    target = MultilabelTarget(("a", "b"))
    found = read_targets(table_from({"a": [1, 0, "?"], "b": ["1", "0.0", 1]}), target)
    assert found.values.dtype == np.float32
    assert found.values[found.usable].tolist() == [[1.0, 1.0], [0.0, 0.0]]
    assert found.missing == 1
    assert target_counts(target, found.values[found.usable]).tolist() == [1, 1]


def test_survival_targets_are_time_and_event() -> None:
    target = SurvivalTarget("days", "died")
    found = read_targets(table_from({"days": [10, 2.5, None, 4], "died": [1, 0, 1, "?"]}), target)
    assert found.values.dtype == np.float32
    assert found.values[found.usable].tolist() == [[10.0, 1.0], [2.5, 0.0]]
    assert found.missing == 2
    assert target_counts(target, found.values[found.usable]).tolist() == [1]


@pytest.mark.parametrize(
    ("target", "columns", "expected"),
    [
        (BINARY, {"x": [1]}, "column 'num' is missing"),
        (MultilabelTarget(("a",)), {"a": [1, 2]}, "row 2, column 'a': expected 0 or 1"),
        (MultilabelTarget(("a",)), {"a": [1, "secret"]}, "row 2, column 'a': expected a number"),
        (SurvivalTarget("t", "e"), {"t": [0, "x"], "e": [1, 1]}, "row 2, column 't': expected a number"),
        (SurvivalTarget("t", "e"), {"t": [1, -3], "e": [1, 1]}, "row 2, column 't': expected a time of 0 or more"),
        (SurvivalTarget("t", "e"), {"t": [1, 1], "e": [1, 0.5]}, "row 2, column 'e': expected 0 or 1"),
    ],
)
def test_wrong_targets_name_column_and_row(target: Any, columns: dict[str, Any], expected: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_targets(table_from(columns), target)
    assert expected in str(caught.value)
    assert "secret" not in str(caught.value)
