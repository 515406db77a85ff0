from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from medfed.alignment.features import FEATURES, feature_manifest, noisy_features, recorded_features, shared_features
from medfed.crypto import seeded_entropy
from medfed.errors import InvalidInput
from medfed.privacy.shares import PolyaShares, Roster
from medfed.records.case import Case, Feature, Outcome
from medfed.records.coding import Coding

CANDIDATES = tuple(("urn:x", f"c{n}") for n in range(40))


def case(patient: str, code: str, *, present: bool = True) -> Case:
    feature = Feature(Coding("urn:x", code), status="present" if present else "refuted")
    return Case(f"{patient}-{code}", patient, 0, 50.0, "", (feature,), Outcome(), f"{patient}-{code}")


def test_a_concept_is_recorded_when_enough_patients_have_it() -> None:
    cases = [case(f"p{n}", "c0") for n in range(5)]
    cases += [case("p1", "c1") for _ in range(9)] + [case(f"p{n}", "c2", present=False) for n in range(9)]
    bits = recorded_features(CANDIDATES, cases)
    assert bits.tolist() == [1] + [0] * 39
    assert recorded_features(CANDIDATES, cases, least_patients=1).tolist() == [1, 1] + [0] * 38


def test_what_most_hospitals_record_is_found_and_what_one_records_is_not() -> None:
    shares = PolyaShares(Fraction(4), Roster(8, 0))
    bits = np.zeros((8, 40), dtype=np.int64)
    bits[:, :20], bits[0, 20:] = 1, 1
    entropy = seeded_entropy(b"features")
    totals = sum(noisy_features(row, shares, entropy)[FEATURES] for row in bits)
    assert isinstance(totals, np.ndarray)
    assert shared_features(CANDIDATES, totals, 4.5) == CANDIDATES[:20]
    assert (totals != bits.sum(axis=0)).any()


def test_every_contribution_fits_into_the_manifest() -> None:
    shares = PolyaShares(Fraction(1, 2), Roster(4, 0))
    manifest = feature_manifest(shares, 40)
    entropy = seeded_entropy(b"room")
    bound = manifest.entries[0].bound
    for _ in range(50):
        assert (np.abs(noisy_features(np.ones(40, dtype=np.int64), shares, entropy)[FEATURES]) <= bound).all()


@pytest.mark.parametrize("bits", [np.array([2]), np.array([-1]), np.array([[1]])])
def test_only_bits_are_contributed(bits: np.ndarray) -> None:
    with pytest.raises(InvalidInput, match="one bit"):
        noisy_features(bits, PolyaShares(Fraction(1), Roster(3, 0)), seeded_entropy(b"x"))


def test_bad_candidates_and_totals_are_refused() -> None:
    with pytest.raises(InvalidInput, match="twice"):
        recorded_features((CANDIDATES[0], CANDIDATES[0]), [])
    with pytest.raises(InvalidInput, match="at least 1 patient"):
        recorded_features(CANDIDATES, [], least_patients=0)
    with pytest.raises(InvalidInput, match="40 totals"):
        shared_features(CANDIDATES, np.zeros(3, dtype=np.int64), 1)
