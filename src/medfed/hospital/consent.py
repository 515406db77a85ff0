"""A site's consent policy: which studies it joins, and whether it goes on after a pause, without asking a person.

Rules are read in order and the first that fits decides. No rule fits: the study waits for a person. This module must
never approve on its own what no rule names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta

from medfed.encoding import Record
from medfed.federation.plan import Plan
from medfed.identifiers import Code, Name
from medfed.ledger.contracts.exchange import DataRequest
from medfed.ledger.contracts.offered_data import Kind, Purpose

__all__ = ["AlignmentPolicy", "ConsentPolicy", "ConsentRule", "Decision", "ExchangeRule", "decide", "decide_request"]


class ConsentRule(Record):
    """Decides on plans that fit every condition given; an empty condition fits all, but see `protections`."""

    decision: Literal["approve", "decline"]
    proposers: tuple[Name, ...] = ()
    learning_objects: tuple[str, ...] = ()
    protections: tuple[str, ...] = ()
    """Empty: to decline, any; to approve, `masked` only. Other modes need trust in office holders: name them."""
    least_hospitals: Annotated[int, Meta(ge=0, le=50)] = 0
    most_rounds: Annotated[int, Meta(ge=0, le=10_000)] = 0
    """0: any number."""
    code: Code = "policy"
    """The reason given when declining."""


class AlignmentPolicy(Record):
    """Which alignments the site takes part in. Nothing of patients without a legal basis, whatever else is said."""

    signatures: Literal["approve", "ask", "decline"] = "ask"
    patients: Literal["approve", "ask", "decline"] = "ask"
    legal_basis: Annotated[str, Meta(max_length=400)] = ""
    """The law or agreement under which identifiers of patients may be compared, in words for people."""


class ExchangeRule(Record):
    """Decides on data requests that fit every condition given; an empty condition fits all."""

    decision: Literal["approve", "decline"]
    requesters: tuple[Name, ...] = ()
    purposes: tuple[Purpose, ...] = ()
    kinds: tuple[Kind, ...] = ()
    code: Code = "policy"
    """The reason given when declining."""


class ConsentPolicy(Record):
    """What the site decides without a person."""

    rules: tuple[ConsentRule, ...] = ()
    resume: Literal["auto", "ask"] = "auto"
    most_resumes: Annotated[int, Meta(ge=0, le=10_000)] = 50
    """Pauses after which a study is left to a person even with `auto`."""
    alignment: AlignmentPolicy = AlignmentPolicy()
    exchange: tuple[ExchangeRule, ...] = ()
    """Which requests for its data the site grants or refuses without a person; where none fits, a person decides."""
    code: Annotated[tuple[Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")], ...], Meta(max_length=1000)] = ()
    """Digests of model code that may run at this site; see `code_consent`."""


class Decision(Record):
    """What the policy says: yes, no (with a code), or that a person must say."""

    answer: Literal["approve", "decline", "ask"]
    code: str = ""


APPROVE_ALL = ConsentPolicy(rules=(ConsentRule("approve", protections=("masked", "homomorphic", "sealed")),))
"""For simulations and demonstrations: join everything."""


def decide(policy: ConsentPolicy, proposer: Name, plan: Plan) -> Decision:
    """The first fitting rule's decision."""
    for rule in policy.rules:
        if _fits(rule, proposer, plan):
            return Decision(rule.decision, rule.code if rule.decision == "decline" else "")
    return Decision("ask")


def decide_request(rules: Sequence[ExchangeRule], request: DataRequest, kind: Kind) -> Decision:
    """The first fitting rule's decision on a data request."""
    for rule in rules:
        if (
            (not rule.requesters or request.requester in rule.requesters)
            and (not rule.purposes or request.purpose in rule.purposes)
            and (not rule.kinds or kind in rule.kinds)
        ):
            return Decision(rule.decision, rule.code if rule.decision == "decline" else "")
    return Decision("ask")


def _fits(rule: ConsentRule, proposer: Name, plan: Plan) -> bool:
    return (
        (not rule.proposers or proposer in rule.proposers)
        and (not rule.learning_objects or plan.purpose.learning_object in rule.learning_objects)
        and _fits_protection(rule, plan.protection.mode)
        and len(plan.participation.hospitals) >= rule.least_hospitals
        and (not rule.most_rounds or plan.training.rounds <= rule.most_rounds)
    )


def _fits_protection(rule: ConsentRule, mode: str) -> bool:
    if rule.protections:
        return mode in rule.protections
    return rule.decision == "decline" or mode == "masked"
