"""What a seeded run of blind tests and data requests under faults has: who does what, who lies, how often what fails.

Everything is drawn from the seed, before the run starts. This module must never decide what is right: that is
`dealing_invariants`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final, Literal

from medfed.diagnosis.blind_sides import BlindCase, Diagnosis
from medfed.encoding import Record
from medfed.errors import InvalidInput
from medfed.identifiers import Name, sha256
from medfed.simulation.faults import Rates, generator

__all__ = [
    "ARBITER",
    "DIAGNOSED",
    "HOSPITALS",
    "LABELS",
    "OWNER",
    "REQUESTER",
    "THRESHOLD",
    "DealingCast",
    "Trick",
    "case_of",
    "diagnose",
    "draw_dealings",
    "truth_of",
]

HOSPITALS: Final[tuple[Name, ...]] = ("alpha", "beta", "gamma")
OWNER: Final[Name] = "alpha"
"""Owns what is asked for, and answers blind tests."""
REQUESTER: Final[Name] = "beta"
ARBITER: Final[Name] = "auditor"
LABELS: Final[tuple[Diagnosis, ...]] = (("benign",), ("malignant",), ("normal",))
DIAGNOSED: Final = 12
"""m."""
THRESHOLD: Final = (7, 10)
Trick = Literal["none", "other-data", "wrong-key", "false-dispute"]
"""The owner delivers something else, or seals the key to somebody else; or the requester disputes what is good."""
_HOUR_MS: Final = 3_600_000


class DealingCast(Record):
    """What happens in a run."""

    seed: int
    tests: tuple[int, ...] = (0,)
    """For each blind test, how many of its cases the service gets wrong."""
    requests: tuple[Trick, ...] = ("none",)
    """For each data request, who lies how."""
    on_time: bool = True
    """Whether nothing makes anybody late or loses a blob for good, so that all ends as it does without faults."""
    ticks: int = 150
    """How long the faults last."""
    rates: Rates = Rates()

    @property
    def phase_ms(self) -> int:
        """How long each phase may last."""
        return 100 * _HOUR_MS if self.on_time else 60_000


def draw_dealings(seed: int) -> DealingCast:
    """The dealings and the rates of a seed."""
    rng = generator(seed, "dealings")
    on_time = rng.random() < 0.6
    tests = tuple(rng.choice((0, 0, 1, 3, 4, 6, 13)) for _ in range(rng.randint(0, 2)))
    kinds: Sequence[Trick] = ("none", "none", "other-data", "wrong-key", "false-dispute")
    requests: tuple[Trick, ...] = tuple(rng.choice(kinds) for _ in range(rng.randint(0 if tests else 1, 2)))
    return DealingCast(seed, tests, requests, on_time, rng.choice((80, 120, 160)), _draw_rates(rng, on_time))


def case_of(test: int, number: int) -> BlindCase:
    """One case of a blind test of a run; number 0 is the undiagnosed one."""
    return BlindCase(f"test {test} case {number}".encode(), "40x30 RGB")


def truth_of(case: bytes) -> Diagnosis:
    """What a case really is."""
    return LABELS[sha256(case)[0] % len(LABELS)]


def diagnose(cast: DealingCast, cases: Sequence[bytes]) -> list[Diagnosis]:
    """What the service says: the truth but for so many cases, the same whenever it is asked.

    Raises:
        InvalidInput: the cases are not of one test of this run.
    """
    tests = {int(case.split()[1]) for case in cases}
    if len(tests) != 1:
        raise InvalidInput("blind test: cases of several tests")
    wrong = sorted(cases)[: cast.tests[tests.pop()]]
    said = [LABELS.index(truth_of(case)) + (case in wrong) for case in cases]
    return [LABELS[at % len(LABELS)] for at in said]


def _draw_rates(rng: random.Random, on_time: bool) -> Rates:
    """A few kinds of fault, often; so that each kind is also seen on its own."""

    def maybe(most: int, unless: bool = False) -> int:
        drawn = rng.randint(1, most) if rng.random() < 0.5 else 0
        return 0 if unless else drawn

    return Rates(
        crash=maybe(400),
        lose=maybe(300),
        delay=maybe(500),
        duplicate=maybe(400),
        no_receipt=maybe(600),
        stale=maybe(500),
        blob=maybe(200),
        disk=maybe(60),
        nap=maybe(80),
        clock=maybe(60, unless=on_time),
        deadline=maybe(60, unless=on_time),
    )
