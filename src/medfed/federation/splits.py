"""Which patients a hospital trains on, chooses by, and is judged by: decided once, for good.

Without a split column a keyed hash of the patient decides, so the order of rows, and rows that come later, change
nothing, and nobody without the site's key can tell which patients are tested on. This module must never put rows of one
patient into two splits.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput
from medfed.federation.tables import Table

__all__ = [
    "SPLITS",
    "TEST",
    "TRAIN",
    "VALIDATION",
    "Fractions",
    "Split",
    "pseudonyms_of",
    "read_splits",
    "split_of",
    "split_patients",
]

Split = Literal["train", "validation", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")
TRAIN: Final = 0
VALIDATION: Final = 1
TEST: Final = 2
SPLIT_KEY_BYTES: Final = 32

Fractions = tuple[float, float]
"""The shares of patients that validate and that test; the rest train."""


def split_of(patient: bytes, split_key: bytes, fractions: Fractions) -> Split:
    """Where one patient belongs: HMAC-SHA256 under the site's 32-byte key, read as a fraction of 2^64.

    Raises:
        InvalidInput: the key is not 32 bytes, or the fractions leave nobody to train on.
    """
    return SPLITS[_code_of(patient, _checked_key(split_key), _thresholds(fractions))]


def split_patients(patients: Sequence[bytes], split_key: bytes, fractions: Fractions) -> NDArray[np.uint8]:
    """`split_of` for many, uint8 (rows,) of positions in `SPLITS`."""
    key, thresholds = _checked_key(split_key), _thresholds(fractions)
    codes = (_code_of(patient, key, thresholds) for patient in patients)
    return np.fromiter(codes, dtype=np.uint8, count=len(patients))


def pseudonyms_of(patients: Sequence[bytes], key: bytes) -> NDArray[np.uint64]:
    """What a site calls each patient where it must tell them apart: HMAC-SHA256 under the site's key, 64 bits of it.

    Another label than the splits', so that the one says nothing about the other. uint64 (rows,).
    """
    checked = _checked_key(key)
    drawn = (
        int.from_bytes(hmac.digest(checked, b"medfed/pseudonym\0" + patient, "sha256")[:8], "big")
        for patient in patients
    )
    return np.fromiter(drawn, dtype=np.uint64, count=len(patients))


def read_splits(table: Table, column: str) -> NDArray[np.uint8]:
    """The splits that a column names, uint8 (rows,).

    Raises:
        InvalidInput: the column is missing, or a cell is none of train, validation and test.
    """
    codes: dict[str | None, int] = {name: code for code, name in enumerate(SPLITS)}
    texts = table.texts(column)
    found = np.fromiter((codes.get(text, len(SPLITS)) for text in texts), np.uint8, count=len(texts))
    bad = found == len(SPLITS)
    if bad.any():
        place = table.place(int(bad.argmax()), column)
        raise InvalidInput(f"{place}: expected train, validation or test")
    return found


def _code_of(patient: bytes, key: bytes, thresholds: tuple[int, int]) -> int:
    drawn = int.from_bytes(hmac.digest(key, b"medfed/split\0" + patient, "sha256")[:8], "big")
    test, validation = thresholds
    if drawn < test:
        return TEST
    return VALIDATION if drawn < validation else TRAIN


def _thresholds(fractions: Fractions) -> tuple[int, int]:
    validation, test = fractions
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise InvalidInput("split fractions: expected two shares from 0 that leave somebody to train on")
    at_test = int(test * 2**64)
    return at_test, at_test + int(validation * 2**64)


def _checked_key(key: bytes) -> bytes:
    if len(key) != SPLIT_KEY_BYTES:
        raise InvalidInput(f"split key: {len(key)} bytes; expected {SPLIT_KEY_BYTES}")
    return key
