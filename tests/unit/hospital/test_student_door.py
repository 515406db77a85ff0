"""A student behind its door: one line in, one line out, rounded, within limits, and never a cell of what was asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.fuzz.targets_models import model

from medfed.errors import InvalidInput
from medfed.federation.model_file import save_model
from medfed.federation.tables import table_from
from medfed.hospital.student_door import Door, answer_line, door_to

ROWS = [{"age": 50, "dose": 0.5, "ward": "north"}, {"age": 71.5, "dose": -2, "ward": "south"}]
HOUR = 3_600_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_model(tmp_path / "student.safetensors", model())
    return tmp_path / "student.safetensors"


@pytest.fixture
def door(file: Path) -> Door:
    return door_to(file, lambda: 0, 10, 2)


def asked(door: Door, question: Any) -> dict[str, Any]:
    line = answer_line(door, question if isinstance(question, str) else json.dumps(question))
    assert "\n" not in line
    return json.loads(line)


def test_the_answer_is_what_the_model_says_rounded(door: Door) -> None:
    expected = model().predict(table_from({key: [row[key] for row in ROWS] for key in ROWS[0]}))
    assert asked(door, {"user": "dr", "rows": ROWS}) == {"probabilities": np.round(expected, 2).tolist()}


def test_what_is_unknown_may_be_left_empty(door: Door) -> None:
    (answer,) = asked(door, {"user": "dr", "rows": [{"age": None, "dose": "", "ward": "north"}]})["probabilities"]
    assert 0 <= answer <= 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "expected a user and rows"),
        ("{", "expected a user and rows"),
        ("[" * 5_000, "expected a user and rows"),
        ('{"rows": []}', "expected a user and rows"),
        ('{"user": "dr", "rows": []}', "expected a user and rows"),
        ('{"user": "", "rows": [{"age": 1}]}', "expected a user and rows"),
        ('{"user": "dr", "rows": [{"age": [1]}]}', "expected a user and rows"),
        ('{"user": "dr", "rows": [{"age": 1}], "more": 1}', "expected a user and rows"),
        ('{"user": "dr", "rows": [{"age": 50}]}', "dose"),
        ('{"user": "dr", "rows": [{"age": "old", "dose": 1, "ward": "north"}]}', "age"),
        ("x" * (1 << 20) + "y", "longer than 1024 KiB"),
    ],
)
def test_a_line_that_is_no_question_is_answered_in_one_sentence(door: Door, line: str, says: str) -> None:
    answer = asked(door, line)
    assert answer["code"] == "invalid-input"
    assert says in answer["error"]
    assert door.service.left("dr") == 10, "what was not answered is not counted"


def test_a_user_who_has_asked_enough_is_refused_with_a_code_and_others_are_not(file: Path) -> None:
    now = [0]
    door = door_to(file, lambda: now[0], 3, 2)
    assert "probabilities" in asked(door, {"user": "dr", "rows": ROWS})
    refused = asked(door, {"user": "dr", "rows": ROWS})
    assert refused["code"] == "rate-limit"
    assert "wait 3600 seconds" in refused["error"]
    assert "probabilities" in asked(door, {"user": "nurse", "rows": ROWS})
    now[0] = HOUR
    assert "probabilities" in asked(door, {"user": "dr", "rows": ROWS})


def test_an_error_never_repeats_a_cell(door: Door) -> None:
    for row in ({"age": "Erika Mustermann", "dose": 1, "ward": "north"}, {"age": 1, "dose": "HIV", "ward": "north"}):
        line = answer_line(door, json.dumps({"user": "dr", "rows": [row]}))
        assert "invalid-input" in line
        assert "Mustermann" not in line
        assert "HIV" not in line


@pytest.mark.parametrize(("per_hour", "decimals"), [(0, 2), (1_000_001, 2), (10, -1), (10, 7)])
def test_limits_out_of_range_open_no_door(file: Path, per_hour: int, decimals: int) -> None:
    with pytest.raises(InvalidInput, match="rows an hour"):
        door_to(file, lambda: 0, per_hour, decimals)


def test_a_file_that_is_no_model_opens_no_door(tmp_path: Path) -> None:
    path = tmp_path / "student.safetensors"
    path.write_bytes(b"no model")
    with pytest.raises(InvalidInput):
        door_to(path, lambda: 0, 10, 2)
