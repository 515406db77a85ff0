"""What goes wrong in one seeded run of a whole consortium: who takes part, who fails, how often.

Everything is drawn from the seed, before the run starts; the run itself draws from a generator of the same seed. This
module must never decide what is right: that is `invariants`.
"""

from __future__ import annotations

import random
from typing import Final

from medfed.encoding import Record
from medfed.identifiers import Name

__all__ = ["Cast", "Crash", "Rates", "draw_cast", "generator"]

_NAMES: Final = ("alpha", "beta", "delta", "gamma", "kappa", "omega")


class Crash(BaseException):
    """The process dies here. Not an `Exception`: nothing between the fault and the scheduler may handle it."""


class Rates(Record):
    """Chances in thousandths, each for one opportunity."""

    crash: int = 0
    """That a step of an agent is one in which it dies, at an effect drawn at random."""
    lose: int = 0
    """That a transaction is lost on its way."""
    delay: int = 0
    duplicate: int = 0
    no_receipt: int = 0
    """That an agent never hears what became of its transactions."""
    stale: int = 0
    """That an agent is shown an older state than the newest."""
    blob: int = 0
    """That a blob is late, lost or damaged, for some or for all."""
    disk: int = 0
    """That a site's disk is full for a while."""
    clock: int = 0
    """That a site's clock jumps."""
    nap: int = 0
    """That a hospital is not there for a while."""
    old_history: int = 0
    """That an agent is shown a state older than the one it has seen."""
    deadline: int = 0
    """That time jumps past the next deadline though there is still something to do."""


class Cast(Record):
    """Who takes part and in which role."""

    seed: int
    names: tuple[Name, ...]
    rounds: int
    """Training rounds."""
    byzantine: tuple[Name, ...] = ()
    leaving: tuple[tuple[Name, str], ...] = ()
    """Honest hospitals that go for good: "absent", "leave", "withdraw", "removed" or "restored"."""
    live: bool = True
    """Whether enough hospitals are honest and stay, so that the study must end well."""
    quiet_setup: bool = True
    """Whether faults start only when the rounds do."""
    max_update_norm: float = 0.0
    ticks: int = 120
    """How long the faults last."""
    rates: Rates = Rates()

    @property
    def quorum(self) -> int:
        """The plan's quorum: the smallest that is allowed."""
        return max(3, 2 * len(self.names) // 3 + 1)

    @property
    def honest(self) -> tuple[Name, ...]:
        """Who follows the protocol."""
        return tuple(name for name in self.names if name not in self.byzantine)

    @property
    def bound(self) -> int:
        """The most colluders against whom privacy is promised: min(threshold - 1, quorum - 2)."""
        threshold = min(self.quorum, len(self.names) - 1)
        return min(threshold - 1, self.quorum - 2)


def generator(seed: int, use: str) -> random.Random:
    """A run's source of chance, apart for each use."""
    return random.Random(f"medfed/{use}/{seed}")  # noqa: S311 - a schedule, not a secret


def draw_cast(seed: int) -> Cast:
    """The cast and the rates of a seed."""
    rng = generator(seed, "cast")
    names = _NAMES[: rng.choice((3, 4, 4, 4, 5, 5, 6))]
    quorum = max(3, 2 * len(names) // 3 + 1)
    spare = len(names) - quorum
    bound = min(min(quorum, len(names) - 1) - 1, quorum - 2)
    live = rng.random() < 0.8
    faulty = rng.sample(names, rng.randint(0, spare) if live else rng.randint(1, max(spare, bound)))
    byzantine = tuple(sorted(name for name in faulty if not live or rng.random() < 0.7))[:bound]
    leaving = tuple(
        (name, rng.choice(("absent", "absent", "leave", "withdraw", "removed", "restored")))
        for name in sorted(faulty)
        if name not in byzantine
    )
    return Cast(
        seed=seed,
        names=names,
        rounds=rng.choice((1, 1, 2)),
        byzantine=byzantine,
        leaving=leaving,
        live=live,
        quiet_setup=rng.random() < 0.75,
        max_update_norm=rng.choice((0.0, 0.0, 0.0, 1e-9, 5.0)),
        ticks=rng.choice((60, 90, 120, 160)),
        rates=_draw_rates(rng),
    )


def _draw_rates(rng: random.Random) -> Rates:
    """A few kinds of fault, often; so that each kind is also seen on its own."""

    def maybe(most: int) -> int:
        return rng.randint(1, most) if rng.random() < 0.4 else 0

    return Rates(
        crash=maybe(250),
        lose=maybe(300),
        delay=maybe(500),
        duplicate=maybe(400),
        no_receipt=maybe(600),
        stale=maybe(500),
        blob=maybe(300),
        disk=maybe(60),
        clock=maybe(80),
        nap=maybe(80),
        old_history=maybe(20),
        deadline=maybe(60),
    )
