"""Blind tests and data requests of a consortium under faults, in one process and in the order that the seed decides.

First the hospitals make a model, undisturbed. While the faults last, each tick draws one thing that happens; then
everything is repaired and everybody takes turns until all has ended. `dealing_invariants` looks at everything.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from medfed.crypto import SiteKeys
from medfed.errors import InvalidInput, Refused, Unavailable
from medfed.hospital.blind_testing import serve_model
from medfed.hospital.requests import request
from medfed.identifiers import Digest, Name
from medfed.ledger.contracts.blind_test import OfferBlindTests, blind_tests, is_offered
from medfed.ledger.contracts.exchange import data_requests
from medfed.ledger.contracts.registry import artefacts
from medfed.ledger.engines.memory import MemoryEngine
from medfed.ledger.transition import Receipt
from medfed.ledger.verify import verify_ledger
from medfed.simulation.clock import ManualClock
from medfed.simulation.consortium import ORGANISER, make_consortium, seeded_site_entropy
from medfed.simulation.dealing_invariants import DealingWatch
from medfed.simulation.faults import Cast, Crash, Rates, generator
from medfed.simulation.faults_blobs import BlobFaults, spoil_newest
from medfed.simulation.faults_dealing_site import DealingSite
from medfed.simulation.faults_dealings import ARBITER, HOSPITALS, OWNER, REQUESTER, DealingCast, diagnose
from medfed.simulation.faults_errands import BlindErrand, DataErrand
from medfed.simulation.faults_ledger import History, Network, Window
from medfed.simulation.faults_study import STUDY, fault_patients, fault_plan
from medfed.simulation.witness import InvariantBroken
from medfed.simulation.world import propose_study

__all__ = ["DealingWorld", "run_dealings"]

CALM: Final = Rates()
_PASSES: Final = 200
_FOUND_AGAIN: Final = ("late", "damaged")
"""What may happen to a blob. One that is lost for good is the silence of its owner: see `ticks` and `deadline`."""
_MOST_EFFECTS: Final = 40
_EVERYBODY: Final = (*HOSPITALS, ARBITER)


class DealingWorld:
    """One seed's dealings."""

    def __init__(self, cast: DealingCast, note: Callable[[str], None], folder: Path) -> None:
        """`folder` is empty, and for the files that are offered and received."""
        self.cast = cast
        self._note = note
        self.rng = generator(cast.seed, "dealing schedule")
        self.clock = ManualClock()
        self.calm = True
        """Whether nothing is dealt with yet."""
        keys = {name: SiteKeys.generate(name, seeded_site_entropy(cast.seed, name, "keys")) for name in _EVERYBODY}
        organiser = SiteKeys.generate(ORGANISER, seeded_site_entropy(cast.seed, ORGANISER, "keys"))
        hospitals = [keys[name] for name in HOSPITALS]
        consortium = make_consortium("faults", hospitals, organiser, self.clock(), others=[(keys[ARBITER], "auditor")])
        self.engine = MemoryEngine(consortium.genesis, self.clock, *consortium.sealers())
        propose_study(self.engine, organiser, fault_plan(Cast(cast.seed, HOSPITALS, 1)), STUDY)
        self.history = History(self.engine)
        self.blobs = BlobFaults(_EVERYBODY)
        self.network = Network(self.history, self.rng, self._heard)
        self.data = [DataErrand(cast, number, folder) for number in range(len(cast.requests))]
        self.watch = DealingWatch(cast, self.blobs.under, self.data)
        self.sites = {name: self._site(keys[name], folder) for name in _EVERYBODY}
        self.tests: list[BlindErrand] = []
        self._quiet = 0

    def run(self) -> None:
        """Faults, repair, and the end.

        Raises:
            InvariantBroken: says what does not hold, or that something has not come to an end.
        """
        self._begin(self._make_model())
        self._say("the faults begin")
        self.calm = False
        first = self.network.tick + 1
        for tick in range(first, first + self.cast.ticks):
            self.network.tick = tick
            self._tick(tick)
            self.watch.look(self.history.now, self.sites, self.tests)
            if self._is_over():
                break
        self._repair()
        self._take_turns(self._is_over)
        self.watch.verify_end(self.history.now, self.sites, self.tests, self.data)
        verify_ledger(self.engine.genesis, self.engine.blocks(), self.engine.genesis.digest)

    def _site(self, keys: SiteKeys, folder: Path) -> DealingSite:
        table = fault_patients(keys.name) if keys.name in HOSPITALS else None
        return DealingSite(
            keys, self.cast.seed, table, Window(self.history), self.blobs, self.clock,
            lambda model: lambda cases: diagnose(self.cast, cases), folder / f"received-{keys.name}", self._looked_at,
        )  # fmt: skip

    def _make_model(self) -> Digest:
        self._take_turns(lambda: bool(artefacts(self.history.now)))
        found = [entry.artefact for entry in artefacts(self.history.now)]
        if not found:
            raise InvariantBroken("the study that the model is from has not ended")
        return found[0]

    def _begin(self, model: Digest) -> None:
        vault = self.sites[OWNER].vault
        serve_model(vault, model, 0.5)
        request(vault, OfferBlindTests(model, True))
        self._take_turns(lambda: is_offered(self.history.now, OWNER, model))
        self.tests = [BlindErrand(self.cast, number, model) for number in range(len(self.cast.tests))]

    def _is_over(self) -> bool:
        now = self.history.now
        if len(self.network) or not all(errand.is_done(now) for errand in (*self.tests, *self.data)):
            return False
        ended = [test.test for test in blind_tests(now)] + [one.request for one in data_requests(now)]
        two = (self.sites[OWNER].vault, self.sites[REQUESTER].vault)
        return all(vault.get(f"cleared/{identifier.hex()}") is not None for vault in two for identifier in ended)

    # --- one thing after the other --------------------------------------------------------------------------------

    def _tick(self, tick: int) -> None:
        rates = self.cast.rates
        self._spoil(tick, rates)
        roll = self.rng.random()
        if roll < 0.12:
            moved = self._person(self.rng.choice((*self.tests, *self.data)), rates)
        elif roll < 0.7 or not len(self.network):
            moved = self._act(self.rng.choice(_EVERYBODY), tick, rates)
        else:
            moved = self.network.deliver(rates)
        self._quiet = 0 if moved else self._quiet + 1
        if not self.cast.on_time and (self._quiet > 15 or self._hits(rates.deadline)):
            self.clock.advance(self.cast.phase_ms)
            self._quiet = 0
        else:
            self.clock.advance(self.rng.choice((1, 50, 500, 2_500)))

    def _spoil(self, tick: int, rates: Rates) -> None:
        if self._hits(rates.nap):
            self.sites[self.rng.choice(_EVERYBODY)].away_until = tick + self.rng.randint(5, 30)
        if self._hits(rates.disk):
            site = self.sites[self.rng.choice(_EVERYBODY)]
            site.disk_full = not site.disk_full
            self._say(f"the disk of {site.name} is {'full' if site.disk_full else 'free'}")
        if self._hits(rates.clock):
            site = self.sites[self.rng.choice(_EVERYBODY)]
            site.skew_ms = self.rng.choice((-3_600_000, -30_000, 0, 30_000, 3_600_000))
            self._say(f"the clock of {site.name} is off by {site.skew_ms} ms")
        if self._hits(rates.blob) and any(digest not in self.blobs.gone for digest in self.blobs.held):
            self._say(spoil_newest(self.blobs, _EVERYBODY, self.rng, _FOUND_AGAIN))
        if self.rng.random() < 0.08:
            self.blobs.relay(lambda name: True)

    def _act(self, name: Name, tick: int, rates: Rates) -> int:
        """One step of an agent."""
        site, sent = self.sites[name], 0
        if site.away_until > tick:
            return 0
        if self._hits(rates.stale):
            site.window.lag = self.rng.randint(0, 6)
        if self._hits(rates.crash):
            site.fuse = self.rng.randint(1, _MOST_EFFECTS)
        try:
            for signed in site.agent.prepare():
                site.effect("before submit")
                if not self.calm:
                    self.watch.sent(signed, self.history.now, site.vault)
                self.network.send((signed,), rates)
                sent += 1
                site.effect("after submit")
        except Crash as crash:
            self._say(f"{name} dies at {crash}")
            site.restart()
            sent += 1
        except Unavailable as error:
            self._say(f"{name} waits: {error}")
        for problem in site.agent.problems.values():
            self._say(f"{name}: {problem}")
        site.fuse, site.window.lag = None, 0
        return sent

    def _person(self, errand: BlindErrand | DataErrand, rates: Rates) -> int:
        """Somebody goes on with an errand, by a program of their own, which may die."""
        two = (self.sites[OWNER], self.sites[REQUESTER])
        if self._hits(rates.crash):
            for site in two:
                site.fuse = self.rng.randint(1, 2 * _MOST_EFFECTS)
        try:
            errand.act(self.history.now, self.sites)
        except Crash as crash:
            self._say(f"a person's program dies at {crash}")
            return 1
        except (Unavailable, InvalidInput, Refused) as error:
            self._say(f"a person is told: {error}")
        finally:
            for site in two:
                site.fuse = None
        return 0

    def _repair(self) -> None:
        self._say("the faults stop")
        for site in self.sites.values():
            site.skew_ms, site.disk_full, site.away_until, site.fuse = 0, False, 0, None

    def _take_turns(self, is_enough: Callable[[], bool]) -> None:
        """Everybody takes turns; where nobody has anything to do, time moves on."""
        for _ in range(_PASSES):
            self.network.tick += 1
            self.blobs.relay(lambda name: True)
            moved = self.network.deliver(CALM, everything=True)
            for errand in () if self.calm else (*self.tests, *self.data):
                moved += self._person(errand, CALM)
            for name in _EVERYBODY:
                moved += self._act(name, self.network.tick, CALM)
                moved += self.network.deliver(CALM, everything=True)
            if is_enough():
                return
            if not moved:
                self.clock.advance(2_500 if self.cast.on_time else self.cast.phase_ms // 4)

    # --- who is told ----------------------------------------------------------------------------------------------

    def _hits(self, thousandths: int) -> bool:
        return thousandths > 0 and self.rng.randrange(1000) < thousandths

    def _say(self, text: str) -> None:
        self._note(f"[{self.network.tick:4d}] {text}")

    def _heard(self, name: Name, receipts: list[Receipt]) -> None:
        self.sites[name].agent.settle(receipts)

    def _looked_at(self, name: Name, effect: str) -> None:
        if not self.calm and name in self.sites:
            self.watch.effect(effect, self.sites[name].vault)


def run_dealings(cast: DealingCast, note: Callable[[str], None]) -> DealingWorld:
    """Run one cast in a directory of its own, which is gone afterwards.

    Raises:
        InvariantBroken: says what does not hold.
    """
    with tempfile.TemporaryDirectory(prefix="medfed-dealings-") as folder:
        world = DealingWorld(cast, note, Path(folder))
        world.run()
        return world
