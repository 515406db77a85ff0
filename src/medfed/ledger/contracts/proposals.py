"""What a proposal's terms must satisfy, read off them and the participants.

Rules:
1. The invited are sorted, different, and active hospitals; quorum, attempts and examples hold together.
2. The terms name the very plan that is attached.
3. In a study whose updates are encrypted, office holders are active participants and no hospitals of the study.
   Aggregators have that role on the ledger.
4. The key holder is no aggregator: who has both could open every hospital's update.
5. Rounds of votes are masked: their budget is counted where masks come off.
6. In a study whose updates are sealed, the aggregator is an active one and no hospital of the study, and at least two
   updates of a quorum count whatever its strategy leaves out.
"""

from __future__ import annotations

from msgspec import Raw, UnsetType

from medfed.encoding import digest_of
from medfed.errors import Refused
from medfed.identifiers import Name
from medfed.ledger.contracts.membership import participant
from medfed.ledger.contracts.terms import SealedTerms, Terms
from medfed.ledger.state import Reader

__all__ = ["check_candidate", "check_terms"]


def check_terms(reader: Reader, terms: Terms, plan: bytes) -> None:
    """Rules 1 to 6.

    Raises:
        Refused: `bad-terms`, `not-a-hospital` or `bad-office`.
    """
    invited = terms.invited
    if list(invited) != sorted(set(invited)):
        raise Refused("bad-terms", "the invited must be sorted and different")
    for name in invited:
        found = participant(reader, name)
        if found is None or found.status != "active" or found.role != "hospital":
            raise Refused("not-a-hospital", f"{name} is not an active hospital")
    least = max(3, 2 * len(invited) // 3 + 1)
    if not least <= terms.quorum <= len(invited):
        raise Refused("bad-terms", f"the quorum must be {least} to {len(invited)}")
    if terms.max_attempts < len(invited) - terms.quorum + 1:
        raise Refused("bad-terms", f"at least {len(invited) - terms.quorum + 1} attempts are needed")
    if terms.max_examples < terms.min_examples:
        raise Refused("bad-terms", "max_examples is below min_examples")
    if terms.plan != digest_of("medfed/plan", Raw(plan)):
        raise Refused("bad-terms", "the terms name another plan than the one that is attached")
    _check_offices(reader, terms)


def check_candidate(reader: Reader, name: Name, invited: tuple[Name, ...], *, aggregator: bool) -> None:
    """Rule 3.

    Raises:
        Refused: `bad-office`.
    """
    found = participant(reader, name)
    if found is None or found.status != "active":
        raise Refused("bad-office", f"{name} is not an active participant")
    if name in invited:
        raise Refused("bad-office", f"{name} is a hospital of the study and can hold no office in it")
    if aggregator and found.role != "aggregator":
        raise Refused("bad-office", f"{name} is not an aggregator on this ledger")


def _check_offices(reader: Reader, terms: Terms) -> None:
    wanted = terms.ciphertexts
    if not isinstance(terms.sealed, UnsetType):
        _check_sealed(reader, terms, terms.sealed)
    if isinstance(wanted, UnsetType):
        return
    if list(wanted.aggregators) != sorted(set(wanted.aggregators)):
        raise Refused("bad-terms", "the aggregators must be sorted and different")
    if wanted.key_holder in wanted.aggregators:
        raise Refused("bad-terms", f"{wanted.key_holder} cannot be key holder and aggregator")
    if any(step.kind == "votes" for step in terms.steps):
        raise Refused("bad-terms", "rounds of votes are masked, not encrypted")
    for name in wanted.aggregators:
        check_candidate(reader, name, terms.invited, aggregator=True)
    check_candidate(reader, wanted.key_holder, terms.invited, aggregator=False)


def _check_sealed(reader: Reader, terms: Terms, wanted: SealedTerms) -> None:
    """Rules 5 and 6."""
    if not isinstance(terms.ciphertexts, UnsetType):
        raise Refused("bad-terms", "updates are encrypted or sealed, not both")
    if any(step.kind == "votes" for step in terms.steps):
        raise Refused("bad-terms", "rounds of votes are masked, not sealed")
    if terms.quorum - wanted.most_left_out < 2:
        raise Refused("bad-terms", "fewer than two updates of a quorum would count")
    check_candidate(reader, wanted.aggregator, terms.invited, aggregator=True)
