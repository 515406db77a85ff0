"""What a paused study waits for, and from whom, read off the ledger: for people, in a sentence each.

Sums are exact, so what failed over some survivors may only be summed again over the same, less those who were expelled
or are no longer in the consortium (`duties.confirming.may_release`). Where too few of them are left, nothing that
anybody does makes the study go on. A site's vault may know of more; this module must never look into one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from medfed.federation.plan import Plan, TrainingNoise
from medfed.hospital.duties.waiting import BY_PERSON
from medfed.identifiers import Name
from medfed.ledger.contracts.membership import is_active
from medfed.ledger.contracts.rounds import Round, round_record
from medfed.ledger.contracts.studies import MISSES_BEFORE_REJOIN, Study, members, missed_rounds, voters
from medfed.ledger.engine import StateView

__all__ = ["needs_of"]

_OFFICES: Final = ("no-encryption-key", "no-ciphertext-sum", "no-decryption", "sums-differ")


def needs_of(view: StateView, study: Study, plan: Plan) -> tuple[str, ...]:
    """A sentence for everything that must happen before a paused study goes on; nothing for one that is not paused."""
    if study.phase != "paused":
        return ()
    quorum = study.terms.quorum
    there = [name for name in members(study) if name not in study.withdrawn and is_active(view, name)]
    if study.pause_code == "budget-spent":
        return (_end(study, "the privacy budget that was approved is spent"),)
    if len(there) < quorum:
        return (_end(study, f"{_names(there)} of the roster are left, and the quorum is {quorum}"),)
    failed = None if isinstance(plan.noise, TrainingNoise) else _failed(view, study)
    bound = [name for name in failed.survivors if _counts(view, study, name)] if failed is not None else []
    withdrawn = [name for name in bound if name in study.withdrawn]
    if failed is not None and len(bound) - len(withdrawn) < quorum:
        left = _names(name for name in bound if name not in withdrawn)
        why = f"round {failed.number} failed over {_names(failed.survivors)} and can only be summed over the same"
        return (_end(study, f"{why}, of whom {left} are left; the quorum is {quorum}"),)
    return (*_removal(withdrawn), *_returns(study, there, bound), *_decisions(study), _votes(study))


def _failed(view: StateView, study: Study) -> Round | None:
    """The last round whose sum may be out though it was not completed, if none was released since."""
    for number in reversed(range(study.next_round)):
        record = round_record(view, study.study, number)
        if record is not None and record.phase in ("failed", "released"):
            return record if record.phase == "failed" and record.kind != "votes" else None
    return None


def _counts(view: StateView, study: Study, name: Name) -> bool:
    return name not in study.expelled and is_active(view, name)


def _removal(withdrawn: list[Name]) -> list[str]:
    if not withdrawn:
        return []
    return [f"{_names(withdrawn)} withdrew, but counts in what failed: removal from the consortium, by vote"]


def _returns(study: Study, there: list[Name], bound: list[Name]) -> list[str]:
    """Who missed two rounds, or did not reveal in one that failed, and is needed."""
    away = [name for name in there if missed_rounds(study, name) >= MISSES_BEFORE_REJOIN]
    held = [name for name in away if name in bound]
    if not held and len(there) - len(away) >= study.terms.quorum:
        return []
    found = [f"{_names(away)} must be back: the agent, once it runs, says so by itself"]
    if held and len(bound) - len(held) >= study.terms.quorum:
        found.append(f"or, if {_names(held)} will not be back: removal from the consortium, by vote")
    return found


def _decisions(study: Study) -> list[str]:
    if study.pause_code in _OFFICES:
        return ["if an office holder is at fault: a successor (`medfed study succeed`)"]
    return []


def _votes(study: Study) -> str:
    lacking = sorted(voters(study).difference(study.resume_votes))
    count = study.terms.quorum - len(voters(study).intersection(study.resume_votes))
    who = "people" if study.pause_code in BY_PERSON else "agents or people"
    votes = f"{count} more {'vote' if count == 1 else 'votes'}"
    return f"{votes} to go on, by the {who} of {_names(lacking)} (`medfed study resume`)"


def _end(study: Study, why: str) -> str:
    return f"it cannot go on ({why}): {_abort(study)}"


def _abort(study: Study) -> str:
    return f"more than half of {_names(sorted(voters(study)))} end it (`medfed study abort`)"


def _names(names: Iterable[Name]) -> str:
    *most, last = list(names) or ["nobody"]
    return f"{', '.join(most)} and {last}" if most else last
