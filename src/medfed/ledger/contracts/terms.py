"""What the contracts need to know of a study's plan, in integers: who, how many, how long, what for.

The plan itself rides along as opaque bytes. A hospital approves only if the plan that it decodes yields these terms.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, UnsetType

from medfed.encoding import Record
from medfed.identifiers import Digest, Name
from medfed.ledger.contracts.labelling_terms import LabellingTerms

__all__ = [
    "MAX_AGGREGATORS",
    "MAX_HOSPITALS",
    "MIN_HOSPITALS",
    "CiphertextTerms",
    "Deadlines",
    "RewardPolicy",
    "RoundKind",
    "SealedTerms",
    "Step",
    "Terms",
]

MIN_HOSPITALS: Final = 3
MAX_HOSPITALS: Final = 50
MAX_ROUNDS: Final = 10_000
MAX_AGGREGATORS: Final = 3

RoundKind = Literal["statistics", "training", "evaluation", "votes"]
Duration = Annotated[int, Meta(ge=1, le=366 * 24 * 3600 * 1000)]


class Deadlines(Record):
    """How long each phase may last, in milliseconds of block time."""

    approval: Duration = 7 * 24 * 3600 * 1000
    enrolment: Duration = 7 * 24 * 3600 * 1000
    keying: Duration = 3600 * 1000
    update: Duration = 3600 * 1000
    confirm: Duration = 600 * 1000
    reveal: Duration = 600 * 1000
    study: Duration = 60 * 24 * 3600 * 1000


class RewardPolicy(Record):
    """Points, all integers."""

    per_hundred_examples: Annotated[int, Meta(ge=0, le=1_000_000)] = 10
    """For each hundred examples (rounded down, capped) behind an update that counts in a released training round."""
    cap_examples: Annotated[int, Meta(ge=0, le=10_000_000)] = 1_000
    """Examples above this earn nothing."""
    agreement: Annotated[int, Meta(ge=0, le=1_000_000)] = 5
    """For naming the base that became final."""


class Step(Record):
    """`count` rounds of one kind, one after the other."""

    kind: RoundKind
    count: Annotated[int, Meta(ge=1, le=MAX_ROUNDS)] = 1


class CiphertextTerms(Record):
    """Who adds the ciphertexts of encrypted updates, and who opens their sum; see `offices`."""

    key_holder: Name
    aggregators: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=MAX_AGGREGATORS)]
    """Sorted bytewise, no repeats. Each adds for itself, and all must come to the same sum."""


class SealedTerms(Record):
    """Who opens the updates of a study in which they are sealed to one aggregator; see `aggregates`."""

    aggregator: Name
    most_left_out: Annotated[int, Meta(ge=0, le=24)] = 0
    """How many hospitals' updates the plan's strategy leaves out of a round."""


class Terms(Record):
    """The contract's side of a plan."""

    plan: Digest
    invited: Annotated[tuple[Name, ...], Meta(min_length=MIN_HOSPITALS, max_length=MAX_HOSPITALS)]
    """Sorted bytewise, no repeats."""
    steps: Annotated[tuple[Step, ...], Meta(min_length=1, max_length=16)]
    quorum: Annotated[int, Meta(ge=MIN_HOSPITALS, le=MAX_HOSPITALS)]
    min_examples: Annotated[int, Meta(ge=1, le=10_000_000)]
    max_examples: Annotated[int, Meta(ge=1, le=10_000_000)]
    """Enrolled counts above this are capped when updates are weighted."""
    max_attempts: Annotated[int, Meta(ge=1, le=64)]
    initial: Digest
    """The base of the first round: the digest of the starting learning state."""
    deadlines: Deadlines = Deadlines()
    rewards: RewardPolicy = RewardPolicy()
    labelling: LabellingTerms | UnsetType = UNSET
    """Noise and budget of a labelling study; unset in every other."""
    ciphertexts: CiphertextTerms | UnsetType = UNSET
    """Offices of a study whose updates are encrypted; unset in every other."""
    sealed: SealedTerms | UnsetType = UNSET
    """Office of a study whose updates are sealed to an aggregator; unset in every other."""
