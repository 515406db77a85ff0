"""Splits: by patient, by key, for good."""

from __future__ import annotations

import hashlib
import hmac

import numpy as np
import pytest

from medfed.errors import InvalidInput
from medfed.federation.splits import SPLITS, read_splits, split_of, split_patients
from medfed.federation.tables import table_from

KEY = bytes(range(32))


def test_split_is_the_keyed_hash_written_out() -> None:
    for number in range(200):
        patient = f"p{number}".encode()
        digest = hmac.new(KEY, b"medfed/split\0" + patient, hashlib.sha256).digest()
        drawn = int.from_bytes(digest[:8], "big") / 2**64
        expected = "test" if drawn < 0.2 else "validation" if drawn < 0.35 else "train"
        assert split_of(patient, KEY, (0.15, 0.2)) == expected


def test_many_patients_are_split_as_each_alone_in_about_the_shares_named() -> None:
    patients = [number.to_bytes(4, "big") for number in range(20_000)]
    codes = split_patients(patients, KEY, (0.15, 0.2))
    assert codes.dtype == np.uint8
    assert [SPLITS[code] for code in codes[:100]] == [split_of(p, KEY, (0.15, 0.2)) for p in patients[:100]]
    shares = np.bincount(codes, minlength=3) / len(codes)
    assert np.abs(shares - [0.65, 0.15, 0.2]).max() < 0.015


def test_another_key_splits_otherwise() -> None:
    patients = [number.to_bytes(4, "big") for number in range(200)]
    other = split_patients(patients, bytes(32), (0.15, 0.2))
    assert (split_patients(patients, KEY, (0.15, 0.2)) != other).any()


def test_shares_of_zero_leave_everyone_in_training() -> None:
    assert set(split_patients([bytes([i]) for i in range(200)], KEY, (0.0, 0.0)).tolist()) == {0}


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (-0.1, 0.2), (0.2, 1.0), (float("nan"), 0.1)])
def test_shares_that_leave_nobody_to_train_on_are_refused(fractions: tuple[float, float]) -> None:
    with pytest.raises(InvalidInput, match="split fractions"):
        split_of(b"p", KEY, fractions)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(InvalidInput, match="31 bytes; expected 32"):
        split_patients([b"p"], KEY[:31], (0.1, 0.1))


def test_a_split_column_is_read_and_other_words_are_refused() -> None:
    assert read_splits(table_from({"s": ["test", " train", "validation"]}), "s").tolist() == [2, 0, 1]
    for bad in ("secret", None, "TRAIN"):
        with pytest.raises(InvalidInput) as caught:
            read_splits(table_from({"s": ["test", bad]}), "s")
        assert str(caught.value) == "table, row 2, column 's': expected train, validation or test"
