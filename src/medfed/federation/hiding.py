"""Cases with some of their findings hidden by chance: what a network learns from that is asked with half of them known.

A stored case tells all that was found in the end; a question tells what is known so far. A network that has only seen
whole cases is sure of the wrong thing when half is missing. So a plan may have each hospital train on fresh copies of
its cases in every round, each finding hidden with some chance, and judge the model on patients asked in the same way.
All of it happens at the hospital: examples, statistics and the list of cases stay those of the whole cases.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfed.encoding import digest_of
from medfed.errors import InvalidInput
from medfed.federation.features import Standardisation
from medfed.federation.plan import Hiding, Plan
from medfed.models.dataset import Dataset

__all__ = ["hidden_copies", "hidden_questions"]


def hidden_copies(
    plan: Plan, standardisation: Standardisation | None, data: Dataset, rng: np.random.Generator
) -> Dataset:
    """What a hospital trains on in one round: `data`, or where the plan hides findings, its copies drawn from `rng`.

    Raises:
        InvalidInput: findings are to be hidden before the statistics round was absorbed.
    """
    hiding = plan.hiding
    if not isinstance(hiding, Hiding) or len(data) == 0:
        return data
    if standardisation is None:
        raise InvalidInput("hiding: expected the statistics round first, found none absorbed")
    nothing = _nothing(plan, standardisation)
    copies = [_hide(hiding, nothing, data, rng) for _ in range(hiding.copies)]
    return Dataset(np.concatenate(copies), np.concatenate([data.targets] * hiding.copies))


def hidden_questions(plan: Plan, standardisation: Standardisation, data: Dataset) -> Dataset:
    """What a model is judged by: `data`, or where the plan hides findings, one copy, the same in every round."""
    hiding = plan.hiding
    if not isinstance(hiding, Hiding) or len(data) == 0:
        return data
    rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest_of("medfed/hiding", plan.digest), "big")))
    return Dataset(_hide(hiding, _nothing(plan, standardisation), data, rng), data.targets)


def _hide(hiding: Hiding, nothing: NDArray[np.float32], data: Dataset, rng: np.random.Generator) -> NDArray[Any]:
    """Features `(n, d)` in which each finding that a case tells is hidden with the plan's chance; one stays."""
    columns = 2 * np.array(hiding.widths)  # a number has its value and whether it is missing
    starts = np.cumsum(columns) - columns
    told = np.logical_or.reduceat(data.features != nothing, starts, axis=1)
    hidden = told & (rng.random(told.shape) < hiding.share)
    kept = np.where(told, rng.random(told.shape), -1.0).argmax(axis=1)
    emptied = np.flatnonzero((hidden == told).all(axis=1))
    hidden[emptied, kept[emptied]] = False
    return np.where(np.repeat(hidden, columns, axis=1), nothing, data.features)


def _nothing(plan: Plan, standardisation: Standardisation) -> NDArray[np.float32]:
    """An encoded row that tells nothing: every number 0, as `encode_features` writes it, none missing."""
    row = np.zeros(plan.inputs, dtype=np.float32)
    row[::2] = [(0.0 - scale.mean) / scale.scale for scale in standardisation.numbers]
    return row
