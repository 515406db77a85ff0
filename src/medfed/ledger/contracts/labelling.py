"""Labelling: votes rounds whose noisy histograms are counted against the budget that the hospitals approved.

The ledger counts histograms, whole numbers; what they cost in ε the hospitals have worked out from the same numbers
before they approved. It never sees a vote, a total or an ε that depends on one.

Rules:
1. A study has votes rounds exactly if its terms name noise and budget, and then it has no others. A batch takes one
   round for each stage of the mechanism, and the budget covers every planned round at least once.
2. The quorum is at least the invited less the dropouts that the noise is sized for, so that no sum with too little
   noise can be released.
3. A votes round opens only if what it may release fits what is left of the budget; else the study pauses
   (`budget-spent`).
4. A round is charged when all of its survivors have confirmed: from then on its totals can become known. A failed
   round stays charged. A confirmation that would pass the budget, or release over fewer than rule 2 says, is refused.
5. What was charged never gets less.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from medfed.encoding import Record
from medfed.errors import Refused
from medfed.identifiers import StudyId
from medfed.ledger.contracts import studies
from medfed.ledger.contracts.context import Call
from medfed.ledger.contracts.labelling_terms import LabellingTerms, stages_of
from medfed.ledger.contracts.studies import ProposeStudy, Study
from medfed.ledger.contracts.terms import Terms
from medfed.ledger.state import Overlay, Reader, Table

__all__ = [
    "Spent",
    "VotesRound",
    "apply_propose_study",
    "charge_votes",
    "is_affordable",
    "open_votes",
    "spent",
    "votes_round",
]


class Spent(Record):
    """Histograms of each stage that were released or may have been."""

    histograms: tuple[int, ...]


class VotesRound(Record):
    """What a votes round is for."""

    stage: int
    batch: int
    """Counted from 0; both stages of a batch have the same."""
    histograms: int
    charged: bool = False


_SPENT: Final[Table[Spent]] = Table("labelling", Spent)
_ROUNDS: Final[Table[VotesRound]] = Table("votes-round", VotesRound)


def votes_round(reader: Reader, study: StudyId, number: int) -> VotesRound | None:
    """What that round is for, if it is a votes round."""
    return _ROUNDS.get(reader, study, number)


def spent(reader: Reader, study: Study) -> Spent:
    """What a labelling study has charged so far."""
    found = _SPENT.get(reader, study.study)
    return found if found is not None else Spent((0,) * len(_need_terms(study).budget))


def apply_propose_study(overlay: Overlay, call: Call, body: ProposeStudy) -> None:
    """Rules 1 and 2 on top of what every study must satisfy."""
    _check_terms(body.terms)
    studies.apply_propose_study(overlay, call, body)


def is_affordable(reader: Reader, study: Study) -> bool:
    """Rule 3, of the study's next round."""
    terms = _need_terms(study)
    stage = _next(study, terms).stage
    return spent(reader, study).histograms[stage] + terms.sizes[stage] <= terms.budget[stage]


def open_votes(overlay: Overlay, study: Study, number: int) -> None:
    """Say what the round that opens is for."""
    _ROUNDS.put(overlay, _next(study, _need_terms(study)), study.study, number)


def charge_votes(overlay: Overlay, study: Study, number: int, survivors: int) -> None:
    """Rules 4 and 5: all survivors have confirmed.

    Raises:
        Refused: `budget-spent` or `too-little-noise`.
    """
    terms, record = _need_terms(study), votes_round(overlay, study.study, number)
    if record is None:
        raise Refused("no-votes-round", f"round {number} is not a votes round")
    if survivors < _least_survivors(study.terms, terms):
        raise Refused("too-little-noise", f"{survivors} survivors; {_least_survivors(study.terms, terms)} are needed")
    counts = list(spent(overlay, study).histograms)
    counts[record.stage] += record.histograms
    if counts[record.stage] > terms.budget[record.stage]:
        raise Refused("budget-spent", f"{counts[record.stage]} histograms; {terms.budget[record.stage]} are approved")
    _SPENT.put(overlay, Spent(tuple(counts)), study.study)
    _ROUNDS.put(overlay, replace(record, charged=True), study.study, number)


def _next(study: Study, terms: LabellingTerms) -> VotesRound:
    batch, stage = divmod(study.done_in_step, stages_of(terms.noise))
    return VotesRound(stage, batch, terms.sizes[stage])


def _need_terms(study: Study) -> LabellingTerms:
    if not isinstance(study.terms.labelling, LabellingTerms):
        raise Refused("not-labelling", "the study has no labelling terms")
    return study.terms.labelling


def _least_survivors(terms: Terms, labelling: LabellingTerms) -> int:
    return len(terms.invited) - labelling.dropouts


def _check_terms(terms: Terms) -> None:
    labelling = terms.labelling
    kinds = {step.kind for step in terms.steps}
    if not isinstance(labelling, LabellingTerms):
        if "votes" in kinds:
            raise Refused("bad-terms", "votes rounds need labelling terms")
        return
    if kinds != {"votes"} or len(terms.steps) != 1:
        raise Refused("bad-terms", "a labelling study has one step of votes rounds and no other")
    stages = stages_of(labelling.noise)
    batches, over = divmod(terms.steps[0].count, stages)
    if over or len(labelling.sizes) != stages or len(labelling.budget) != stages:
        raise Refused("bad-terms", f"the mechanism takes {stages} rounds, sizes and budgets for each batch")
    if any(batches * size > budget for size, budget in zip(labelling.sizes, labelling.budget, strict=True)):
        raise Refused("bad-terms", "the budget does not cover the planned rounds")
    if labelling.dropouts + labelling.colluding >= len(terms.invited) or labelling.attended > len(terms.invited):
        raise Refused("bad-terms", "the noise has no hospital left to hold it")
    if terms.quorum < _least_survivors(terms, labelling):
        raise Refused("bad-terms", f"the noise needs a quorum of {_least_survivors(terms, labelling)}")
