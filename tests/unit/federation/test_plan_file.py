"""Plan files: what is written is read back, and every mistake is named by file, line and field."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfed.errors import InvalidInput
from medfed.federation.durations import duration_text, duration_words, parse_duration
from medfed.federation.plan import (
    MulticlassTarget,
    MultilabelTarget,
    NumberFeature,
    PixelsFeature,
    Plan,
    SurvivalTarget,
)
from medfed.federation.plan_file import MAX_FILE_BYTES, format_plan, load_plan, parse_plan
from medfed.federation.toml_text import format_toml, line_numbers
from medfed.models.settings import CoxModel, MlpModel, ResNet18Model, SmallCnnModel, Vgg11Model

DATA = Path(__file__).parents[3] / "src" / "medfed" / "demo" / "data"
HEART = (DATA / "heart.toml").read_text(encoding="utf-8")
PLAN = parse_plan(HEART, "heart.toml")
replace = msgspec.structs.replace


def refusal(text: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        parse_plan(text, "heart.toml")
    return str(caught.value)


def line_with(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), start=1) if part in line)


def test_the_heart_study_is_what_its_file_says() -> None:
    assert PLAN.participation.hospitals == ("cleveland", "hungary", "long-beach", "switzerland")
    assert PLAN.participation.quorum == 3
    names = " ".join(feature.name for feature in PLAN.data.features)
    assert names == "age sex cp trestbps chol fbs restecg thalach exang oldpeak slope ca thal"
    chol = PLAN.data.features[4]
    assert isinstance(chol, NumberFeature)
    assert chol.missing_values == (0.0,)
    assert PLAN.deadlines.approval == 7 * 24 * 3600 * 1000
    assert PLAN.deadlines.confirm == 10 * 60 * 1000


def with_pixels(side: int, channels: Any = 1) -> Plan:
    return replace(PLAN, data=replace(PLAN.data, features=(PixelsFeature("scan", side, channels),)))


@pytest.mark.parametrize(
    "plan",
    [
        PLAN,
        replace(PLAN, data=replace(PLAN.data, patient="who", split="part")),
        replace(PLAN, data=replace(PLAN.data, target=SurvivalTarget("t", "e")), model=CoxModel()),
        replace(
            PLAN,
            data=replace(PLAN.data, target=MulticlassTarget("k", ('a"b\\', "tab\there", "é\x7f"))),
            model=MlpModel((16, 4), "tanh"),
        ),
        replace(PLAN, data=replace(PLAN.data, target=MultilabelTarget(("l", "m")))),
        replace(with_pixels(28), model=SmallCnnModel(side=28, flip=True, trainable=("head",))),
        replace(with_pixels(32, 3), model=Vgg11Model(side=32, channels=3, shift=2)),
        replace(with_pixels(64), model=ResNet18Model(side=64, filters=8, clip=1.5)),
        replace(PLAN, deadlines=replace(PLAN.deadlines, update=1_500, confirm=90_000)),
        replace(PLAN, purpose=replace(PLAN.purpose, title='"""[x]\n[[y]] = # ü 病')),
    ],
)
def test_formatted_plans_read_back_the_same(plan: Plan) -> None:
    assert parse_plan(format_plan(plan), "again").digest == plan.digest


def test_a_formatted_plan_leaves_no_default_unsaid() -> None:
    written = tomllib.loads(format_plan(PLAN))
    assert written["training"]["strategy"]["tau"] == 0.01
    assert written["rewards"]["agreement"] == 5
    assert written["deadlines"]["study"] == "60d"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "learning_rate =",
            "lerning_rate =",
            "training.local.lerning_rate: unknown key; did you mean 'learning_rate'?",
        ),
        ("[participation]", "[participants]", "participants: unknown key; did you mean 'participation'?"),
        ("high = 110.0", 'high = "tall"', "data.features[0].high: Expected 'float', got 'str'"),
        ("high = 240.0", "high = 10", "data.features[3].low: feature 'trestbps': low 60 is not below high 10"),
        ('confirm = "10m"', 'confirm = "ten"', "deadlines.confirm: expected seconds, or a text such as"),
        ('confirm = "10m"', "confirm = true", "deadlines.confirm: expected seconds"),
        ("quorum = 3", "quorum = 2", "participation.quorum: Expected 'int' >= 3"),
        (
            'values = ["0", "1"]           # female',
            "values = [0, 1] # female",
            "data.features[1].values[0]: Expected 'str', got 'int'",
        ),
        ('kind = "mlp"', 'kind = "cox"', "model.hidden: unknown key"),
        ('kind = "mlp"', 'kind = "forest"', "model.kind: Invalid value 'forest'"),
        ('kind = "binary"', 'kind = "binary"\nsurprise = 1', "data.target.surprise: unknown key; expected one of"),
        ("version = 1", "version = 2", "version: Invalid enum value 2"),
    ],
)
def test_mistakes_are_named_by_file_line_and_field(old: str, new: str, expected: str) -> None:
    text = HEART.replace(old, new, 1)
    assert text != HEART
    message = refusal(text)
    assert expected in message
    found = re.match(r"heart\.toml, line (\d+): ", message)
    assert found
    assert abs(int(found[1]) - line_with(text, new.splitlines()[-1])) <= 1


def test_a_missing_section_and_a_missing_field_are_named() -> None:
    assert "missing required field 'participation'" in refusal(HEART.split("[participation]")[0])
    assert "purpose: missing required field 'title'" in refusal(HEART.replace("title =", "# title =", 1))


def test_all_unknown_keys_are_named_at_once() -> None:
    text = HEART.replace("seed = 0", "sead = 0").replace('unit = "years"', 'units = "years"')
    assert len(refusal(text).splitlines()) == 2


@pytest.mark.parametrize("text", ["= 1", "[a\n", "a = 1\na = 2", "x = " + "[" * 5000, 'a = "', "\x00"])
def test_what_is_not_toml_is_said_to_be_not_toml(text: str) -> None:
    assert refusal(text).startswith("heart.toml: not TOML: ")


def test_files_are_bounded_and_must_be_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    for data, expected in [
        (b"#" * (MAX_FILE_BYTES + 1), "larger than 1024 KiB"),
        (b"a = \xff", "not UTF-8"),
        (b"", "missing required field"),
    ]:
        path.write_bytes(data)
        with pytest.raises(InvalidInput, match=expected):
            load_plan(path)
    for absent in (tmp_path / "no.toml", tmp_path, Path("\0")):
        with pytest.raises(InvalidInput, match="cannot be read"):
            load_plan(absent)
    path.write_bytes(b"\xef\xbb\xbf" + HEART.encode())
    assert load_plan(path) == PLAN


@given(st.data())
def test_a_damaged_file_is_refused_or_read_but_never_crashes(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(HEART)))
    length = data.draw(st.integers(0, 30))
    text = HEART[:at] + data.draw(st.text(max_size=10)) + HEART[at + length :]
    try:
        plan = parse_plan(text, "damaged")
    except InvalidInput:
        return
    assert parse_plan(format_plan(plan), "again") == plan


class TestDurations:
    @pytest.mark.parametrize(
        ("value", "milliseconds"),
        [
            ("10m", 600_000),
            ("2h", 7_200_000),
            ("7d", 604_800_000),
            ("90s", 90_000),
            ("5ms", 5),
            (30, 30_000),
            (0.25, 250),
        ],
    )
    def test_seconds_and_units_are_read(self, value: object, milliseconds: int) -> None:
        assert parse_duration(value) == milliseconds

    @pytest.mark.parametrize(
        "value",
        ["", "m", "1 h", "-1s", "1.5h", "0s", 0, -1, 0.0001, True, None, [1], float("nan"), 1e300, "9" * 13 + "s"],
    )
    def test_anything_else_is_refused(self, value: object) -> None:
        with pytest.raises(InvalidInput, match="expected"):
            parse_duration(value)

    @given(st.integers(1, 366 * 86_400_000))
    def test_what_is_written_is_read_back(self, milliseconds: int) -> None:
        assert parse_duration(duration_text(milliseconds)) == milliseconds

    def test_words_are_in_the_largest_whole_unit(self) -> None:
        assert [duration_words(parse_duration(text)) for text in ("1d", "36h", "60s", "61s", "1001ms")] == [
            "1 day",
            "36 hours",
            "1 minute",
            "61 seconds",
            "1001 milliseconds",
        ]


class TestTomlText:
    def test_lines_in_strings_of_several_lines_are_no_keys(self) -> None:
        text = 'a = """\n[b]\nc = 1\n"""\n[b]\nc = 2\n[[d.e]]\n[[d.e]]\nf = 1\n'
        assert line_numbers(text) == {"a": 1, "b": 5, "b.c": 6, "d.e[0]": 7, "d.e[1]": 8, "d.e[1].f": 9}

    @given(
        st.dictionaries(
            st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True),
            st.recursive(
                st.booleans()
                | st.integers(-(2**63), 2**63 - 1)
                | st.floats(allow_nan=False)
                | st.text(st.characters(exclude_categories=["Cs"])),
                lambda inner: st.lists(inner, max_size=3),
                max_leaves=6,
            ),
            max_size=5,
        )
    )
    def test_what_is_written_is_toml_with_the_same_values(self, table: dict[str, object]) -> None:
        document = {**table, "sub-table": table, "many": [table, table]}
        assert tomllib.loads(format_toml(document)) == document
