"""The feature space: which candidate concepts enough hospitals record, from a noisy secure sum of one bit each.

What only one hospital records stays hidden in the noise. The totals are the only thing that may be looked at; this
module must never return a bit, or a count without its noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from medfed.crypto import Entropy
from medfed.errors import InvalidInput
from medfed.privacy.vote_noise import VoteShares
from medfed.records.case import Case
from medfed.records.coding import ConceptKey
from medfed.secure_sum import Entry, Manifest, check_hospitals

__all__ = ["FEATURES", "feature_manifest", "noisy_features", "recorded_features", "shared_features"]

FEATURES: Final = "features"
"""The one entry of the sum: no exact count may travel beside it."""


def recorded_features(
    candidates: Sequence[ConceptKey], cases: Iterable[Case], least_patients: int = 5
) -> NDArray[np.int64]:
    """One hospital's bits: 1 for a candidate that it has recorded of at least `least_patients` patients, as present.

    Raises:
        InvalidInput: a candidate is there twice, or a `least_patients` below 1.
    """
    if len(set(candidates)) != len(candidates):
        raise InvalidInput("feature space: a candidate is there twice")
    if least_patients < 1:
        raise InvalidInput(f"feature space: expected at least 1 patient, found {least_patients}")
    seen: dict[ConceptKey, set[str]] = {candidate: set() for candidate in candidates}
    for case in cases:
        for feature in case.features:
            if feature.status == "present" and feature.key in seen:
                seen[feature.key].add(case.patient)
    return np.array([len(seen[candidate]) >= least_patients for candidate in candidates], dtype=np.int64)


def feature_manifest(shares: VoteShares, candidates: int) -> Manifest:
    """What is summed: one number a candidate, with room for a hospital's bit and its share of the noise.

    Raises:
        InvalidInput: a sum over all hospitals could wrap.
    """
    manifest = Manifest((Entry(FEATURES, "noisy", candidates, 1 + shares.share_bound(candidates)),))
    check_hospitals(manifest, shares.roster.hospitals)
    return manifest


def noisy_features(bits: NDArray[np.int64], shares: VoteShares, entropy: Entropy) -> dict[str, NDArray[Any]]:
    """One hospital's contribution: its bits with its own fresh share of the noise.

    Raises:
        InvalidInput: anything but zeros and ones.
    """
    if bits.ndim != 1 or not np.isin(bits, (0, 1)).all():
        raise InvalidInput("feature space: expected one bit for each candidate")
    return {FEATURES: bits + shares.draw(bits.shape, entropy)}


def shared_features(
    candidates: Sequence[ConceptKey], totals: NDArray[np.int64], threshold: float
) -> tuple[ConceptKey, ...]:
    """The candidates whose noisy total reaches `threshold`, in their order.

    Half a hospital below the number wanted makes both errors equally likely under symmetric noise.

    Raises:
        InvalidInput: not one total for each candidate.
    """
    if totals.shape != (len(candidates),):
        raise InvalidInput(f"feature space: expected {len(candidates)} totals, found {totals.shape}")
    return tuple(candidate for candidate, total in zip(candidates, totals, strict=True) if total >= threshold)
