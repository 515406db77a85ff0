"""Features: what is read, what is missing, and a width that the plan alone decides."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import numpy as np
import pytest

from medfed.encoding import decode, encode
from medfed.errors import InvalidInput
from medfed.federation.features import (
    NumberScale,
    RawFeatures,
    Standardisation,
    encode_features,
    feature_names,
    read_features,
)
from medfed.federation.plan import (
    BinaryTarget,
    CategoryFeature,
    DataFormat,
    NumberFeature,
    Participation,
    PixelsFeature,
    Plan,
    Purpose,
    Training,
)
from medfed.federation.tables import table_from
from medfed.models.settings import LocalTraining, MlpModel

AGE = NumberFeature("age", 0.0, 100.0, unit="years", missing_values=(99.0,))
SEX = CategoryFeature("sex", ("0", "1", "2"), missing_values=("9",))


def plan_of(*features: Any) -> Plan:
    return Plan(
        purpose=Purpose("t", "l", "e", "a"),
        data=DataFormat(features, BinaryTarget("ill", ("1",), ("0",))),
        model=MlpModel(),
        training=Training(rounds=1, local=LocalTraining(steps=1)),
        participation=Participation(("a", "b", "c"), quorum=3),
    )


PLAN = plan_of(SEX, AGE)
STANDARD = Standardisation((NumberScale(mean=50.0, scale=10.0, median=40.0),), ((True, True, False),))


def read(**columns: list[Any]) -> RawFeatures:
    return read_features(table_from(columns), PLAN.data)


def test_rows_are_encoded_as_the_layout_says() -> None:
    raw = read(age=[60, "?", "99", 250, -5], sex=["1.0", "9", "2", "x", 0])
    rows = encode_features(raw, PLAN, STANDARD)
    assert rows.dtype == np.float32
    assert feature_names(PLAN) == (
        "sex=0", "sex=1", "sex=2", "sex=other", "sex missing", "age", "age missing",
    )  # fmt: skip
    assert rows.tolist() == [
        [0, 1, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 1, -1, 1],  # missing: the median stands in
        [0, 0, 0, 1, 0, -1, 1],  # the candidate "2" is too rare: other
        [0, 0, 0, 1, 0, 5, 0],  # no candidate: other; 250 is clipped to 100
        [1, 0, 0, 0, 0, -5, 0],
    ]


def test_every_category_block_has_exactly_one_one() -> None:
    rows = encode_features(read(age=[1] * 5, sex=["0", "1", "2", None, "zz"]), PLAN, STANDARD)
    assert rows[:, :5].sum(axis=1).tolist() == [1.0] * 5


def test_columns_beyond_the_plan_are_ignored_and_their_order_does_not_matter() -> None:
    first = read(age=[60], sex=["1"])
    second = read(note=["private"], sex=["1"], age=[60])
    assert np.array_equal(first.numbers, second.numbers)
    assert np.array_equal(first.categories, second.categories)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"age": [1]}, "table: column 'sex' is missing"),
        ({"age": [1, "young"], "sex": [1, 1]}, "table, row 2, column 'age': expected a number"),
        ({"age": [1, 1], "sex": [1, [2]]}, "table, row 2, column 'sex': expected text or a number"),
    ],
)
def test_wrong_cells_name_column_and_row(columns: dict[str, Any], expected: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_features(table_from(columns), PLAN.data)
    assert str(caught.value).startswith(expected)
    assert "young" not in str(caught.value)


@pytest.mark.parametrize("kinds", [(AGE,), (SEX,)])
def test_plans_of_one_kind_of_feature_work(kinds: tuple[Any, ...]) -> None:
    plan = plan_of(*kinds)
    raw = read_features(table_from({"age": [50.0, 60.0], "sex": ["1", "0"]}), plan.data)
    numbers = STANDARD.numbers if AGE in kinds else ()
    kept = STANDARD.kept if SEX in kinds else ()
    rows = encode_features(raw, plan, Standardisation(numbers, kept))
    assert rows.shape == (2, plan.inputs) == (2, len(feature_names(plan)))


def test_a_standardisation_of_another_plan_is_refused() -> None:
    raw = read(age=[1], sex=["1"])
    for wrong in (
        Standardisation((), STANDARD.kept),
        Standardisation(STANDARD.numbers, ((True, True),)),
        Standardisation(STANDARD.numbers, ()),
    ):
        with pytest.raises(InvalidInput, match="another plan"):
            encode_features(raw, PLAN, wrong)
    with pytest.raises(InvalidInput, match="the plan has 1 and 1"):
        encode_features(RawFeatures(raw.numbers[:, :0], raw.categories, raw.pixels), PLAN, STANDARD)


def test_standardisation_travels_as_canonical_bytes_and_its_digest_names_it() -> None:
    assert decode(encode(STANDARD), Standardisation) == STANDARD
    other = msgspec.structs.replace(STANDARD, kept=((True, True, True),))
    assert other.digest != STANDARD.digest


def test_taking_rows_keeps_them_together() -> None:
    raw = read(age=[1, 2, 3], sex=["0", "1", "2"])
    for chosen in (np.array([2, 0]), np.array([True, False, True])):
        part = raw.take(chosen)
        assert part.numbers[:, 0].tolist() == np.array([1.0, 2.0, 3.0])[chosen].tolist()
        assert part.categories[:, 0].tolist() == np.array([0, 1, 2])[chosen].tolist()


def _cell(pixels: np.ndarray) -> str:
    return base64.b64encode(pixels.astype(np.uint8).tobytes()).decode()


def test_pixels_are_scaled_and_laid_out_channel_by_channel() -> None:
    plan = plan_of(PixelsFeature("scan", 8, 3))
    images = np.random.default_rng(1).integers(0, 256, (4, 8, 8, 3))
    images[0, 0, 0] = (0, 255, 51)
    raw = read_features(table_from({"scan": [_cell(image) for image in images]}), plan.data)
    rows = encode_features(raw, plan, Standardisation((), ()))
    assert rows.shape == (4, plan.inputs) == (4, 192) == (4, len(feature_names(plan)))
    assert [rows[0, 0], rows[0, 64]] == [-1, 1]
    assert rows[0, 128] == pytest.approx(-0.6)
    back = (rows.reshape(4, 3, 8, 8).transpose(0, 2, 3, 1) + 1) * 127.5
    assert np.array_equal(np.rint(back), images)
    assert np.array_equal(raw.take(np.array([2])).pixels[0], images[2].reshape(-1))


@pytest.mark.parametrize(
    "cell",
    ["", None, "AAAA", "not base64!", _cell(np.zeros(65)), _cell(np.zeros(63)), 5.0, _cell(np.zeros(64)) + "AA"],
)
def test_a_cell_that_is_not_exactly_the_image_is_refused_without_being_shown(cell: Any) -> None:
    plan = plan_of(PixelsFeature("scan", 8))
    with pytest.raises(InvalidInput) as caught:
        read_features(table_from({"scan": [_cell(np.zeros(64)), cell]}), plan.data)
    assert str(caught.value).startswith("table, row 2, column 'scan': expected base64 of 8 x 8 x 1 pixels")
    assert "AAAA" not in str(caught.value)


def test_pixels_of_another_plan_are_refused() -> None:
    raw = read_features(table_from({"scan": [_cell(np.zeros(64))]}), plan_of(PixelsFeature("scan", 8)).data)
    with pytest.raises(InvalidInput, match="64 pixels"):
        encode_features(raw, plan_of(PixelsFeature("scan", 9)), Standardisation((), ()))
