"""What goes wrong in one seeded run of a whole consortium: who takes part, who fails, how often.

Everything is drawn from the seed, before the run starts; the run itself draws from a generator of the same seed. This
module must never decide what is right: that is `invariants`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from medfed.encoding import Record
from medfed.federation.plan import Mode, Protection
from medfed.identifiers import Name

__all__ = ["OFFICES", "Cast", "Crash", "Rates", "draw_cast", "generator"]

_NAMES: Final = ("alpha", "beta", "delta", "gamma", "kappa", "omega")
OFFICES: Final[Mapping[Mode, tuple[Name, ...]]] = {
    "masked": (),
    "homomorphic": ("adder", "adder-2", "keeper", "keeper-2"),
    "sealed": ("server", "server-2"),
}
"""Who holds an office, each with somebody who can follow it."""
PROTECTIONS: Final[Mapping[Mode, Protection]] = {
    "masked": Protection(),
    "homomorphic": Protection("homomorphic", "keeper", ("adder",)),
    "sealed": Protection("sealed", aggregators=("server",)),
}
_HOLDS: Final = ("adder", "keeper", "server")


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
    protection: Mode = "masked"

    @property
    def everybody(self) -> tuple[Name, ...]:
        """The hospitals and whoever holds an office or can follow somebody who does."""
        return (*self.names, *OFFICES[self.protection])

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


def draw_cast(seed: int, protection: Mode = "masked") -> Cast:
    """The cast and the rates of a seed.

    Of encrypted updates nobody can tell whose are garbage, so that liars stop such a study for as long as they like:
    there are none. In a third of the seeds an office holder goes for good.
    """
    drawn = _draw_hospitals(seed)
    if protection == "masked":
        return drawn
    rng = generator(seed, protection)
    gone = [(name, "absent") for name in OFFICES[protection] if name in _HOLDS and rng.random() < 0.3]
    byzantine = () if protection == "homomorphic" else drawn.byzantine
    return replace(drawn, protection=protection, byzantine=byzantine, leaving=(*drawn.leaving, *gone))


def _draw_hospitals(seed: int) -> Cast:
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
