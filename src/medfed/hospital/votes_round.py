"""A votes round as anybody can recompute it: what is summed, and which labels the noisy totals give.

Needs no secret and no private row. It works on totals that all participants see; what a hospital adds to them is
`voting`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput, Tampered
from medfed.federation.learning_state import LearningState, VoteBook
from medfed.federation.plan import Labelling, Plan
from medfed.federation.study import Outcome
from medfed.ledger.contracts.labelling import VotesRound, votes_round
from medfed.ledger.contracts.labelling_terms import ConfidentNoise
from medfed.ledger.contracts.rounds import Round
from medfed.ledger.state import Reader
from medfed.pate.teachers import class_count
from medfed.pate.votes import UNANSWERED, VOTES, are_plausible, pass_threshold, vote_manifest, winners
from medfed.privacy import Roster
from medfed.privacy.vote_noise import VoteShares, vote_shares
from medfed.secure_sum import Manifest

__all__ = ["absorb_votes", "labelling_of", "shares_in", "votes_manifest"]


def labelling_of(plan: Plan) -> Labelling:
    """The plan's labelling section.

    Raises:
        InvalidInput: it has none.
    """
    if not isinstance(plan.labelling, Labelling):
        raise InvalidInput("plan: expected a labelling section, found none")
    return plan.labelling


def shares_in(plan: Plan, stage: int) -> VoteShares:
    """What each hospital adds a share of in that stage."""
    labelling = labelling_of(plan)
    roster = Roster(len(plan.participation.hospitals), labelling.dropouts, labelling.colluding)
    return vote_shares(labelling.noise, roster, stage)


def votes_manifest(reader: Reader, plan: Plan, record: Round) -> Manifest:
    """What is summed in a votes round: the counts of one batch, and nothing beside them."""
    place = need_votes_round(reader, record)
    return vote_manifest(
        shares_in(plan, place.stage), place.histograms, classes_in(plan), max(labelling_of(plan).teachers)
    )


def absorb_votes(
    reader: Reader, plan: Plan, state: LearningState, record: Round, sums: Mapping[str, NDArray[Any]]
) -> Outcome:
    """The state after a released votes round. Totals that no honest hospitals could have made label nothing."""
    labelling, book, place = labelling_of(plan), state.votes, need_votes_round(reader, record)
    if book is None or len(book.labels) != place.batch * labelling.batch:
        raise Tampered(f"round {record.number}: the labels so far are not those of the batches before")
    totals = sums[VOTES].reshape(place.histograms, classes_in(plan))
    voters = sum(
        count
        for name, count in zip(plan.participation.hospitals, labelling.teachers, strict=True)
        if name in record.survivors
    )
    if place.stage == 0 and isinstance(labelling.noise, ConfidentNoise):
        plausible = are_plausible(totals, voters, shares_in(plan, 0))
        passed = pass_threshold(totals, labelling.noise.threshold, labelling.terms.sizes[1]) if plausible else ()
        return Outcome(state.changed(votes=VoteBook(book.labels, tuple(int(at) for at in passed))), plausible, False)
    used = totals[: len(book.passed)] if place.stage else totals
    plausible = _is_plausible(totals, used, voters, shares_in(plan, place.stage))
    labels = np.full(labelling.batch, UNANSWERED, dtype=np.int64)
    if plausible:
        labels[list(book.passed) if place.stage else slice(None)] = winners(used)
    decided = (*book.labels, *(int(label) for label in labels))
    return Outcome(state.changed(votes=VoteBook(decided)), plausible, False)


def need_votes_round(reader: Reader, record: Round) -> VotesRound:
    """What a votes round is for.

    Raises:
        Tampered: the ledger does not say.
    """
    found = votes_round(reader, record.study, record.number)
    if found is None:
        raise Tampered(f"round {record.number}: the ledger does not say which batch it is for")
    return found


def classes_in(plan: Plan) -> int:
    """How many classes there are to vote for."""
    return class_count(plan.task, plan.outputs)


def _is_plausible(totals: NDArray[np.int64], used: NDArray[np.int64], voters: int, shares: VoteShares) -> bool:
    """Votes where there are any, and nothing but noise in the places that no case has taken."""
    rest = totals[len(used) :]
    return (not len(used) or are_plausible(used, voters, shares)) and (not len(rest) or are_plausible(rest, 0, shares))
