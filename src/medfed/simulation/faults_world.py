"""A whole consortium under faults, in one process and in one order that the seed decides.

Two parts: while the faults last, each tick draws one thing that happens; then everything is repaired and everybody who
is still there takes turns until the study ends. After every step `invariants` looks at everything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from medfed.crypto import SiteKeys
from medfed.errors import Tampered, Unavailable
from medfed.federation.learning_state import LearningState
from medfed.hospital.consent import APPROVE_ALL
from medfed.hospital.progress import Release, load_progress, release_keys
from medfed.hospital.requests import request
from medfed.hospital.vault import Vault
from medfed.identifiers import Name
from medfed.ledger.contracts.deadlines import ResumeStudy, due_at
from medfed.ledger.contracts.membership import Leave, ProposeRemoval, VoteOnRemoval, is_active
from medfed.ledger.contracts.rounds import current_round
from medfed.ledger.contracts.studies import Study, WithdrawFromStudy, current_kind, eligible, study_record
from medfed.ledger.engine import StateView
from medfed.ledger.engines.memory import MemoryEngine
from medfed.ledger.transaction import Anchor, Body
from medfed.ledger.transition import Receipt
from medfed.simulation.byzantine import ByzantineHospital
from medfed.simulation.clock import ManualClock
from medfed.simulation.consortium import ORGANISER, make_consortium, seeded_site_entropy
from medfed.simulation.faults import Cast, Crash, Rates, generator
from medfed.simulation.faults_blobs import BlobFaults, SiteBlobs
from medfed.simulation.faults_ledger import History, Network, Window
from medfed.simulation.faults_site import FaultySite
from medfed.simulation.faults_study import STUDY, fault_patients, fault_plan
from medfed.simulation.invariants import Watch, verify_numbers, verify_privacy
from medfed.simulation.witness import InvariantBroken, Witness
from medfed.simulation.world import make_site, propose_study

__all__ = ["FaultWorld"]

CALM: Final = Rates()
_LATE_MS: Final = 15_000
_PASSES: Final = 600
_MOST_PAUSES: Final = 24
"""Most turns of everybody after the faults have stopped."""
_BY_PERSON: Final = ("survivors-refused", "three-rejections")
_MOST_EFFECTS: Final = 12


class FaultWorld:
    """One seed's consortium."""

    def __init__(self, cast: Cast, note: Callable[[str], None]) -> None:
        self.cast = cast
        self.note = note
        self.rng = generator(cast.seed, "schedule")
        self.plan = fault_plan(cast)
        self.clock = ManualClock()
        self.operator_skew = 0
        self.corrupt: set[Name] = set()
        """Honest hospitals whose vault was restored: they count as corrupt."""
        self.given_up: set[Name] = set()
        keys = {name: SiteKeys.generate(name, seeded_site_entropy(cast.seed, name, "keys")) for name in cast.names}
        organiser = SiteKeys.generate(ORGANISER, seeded_site_entropy(cast.seed, ORGANISER, "keys"))
        consortium = make_consortium("faults", keys.values(), organiser, self.clock())
        self.engine = MemoryEngine(consortium.genesis, self._block_time, *consortium.sealers())
        propose_study(self.engine, organiser, self.plan, STUDY)
        self.history = History(self.engine)
        self.blobs = BlobFaults(cast.names)
        self.network = Network(self.history, self.rng, self._heard)
        self.witness = Witness(STUDY, self.plan, self.is_honest)
        self.watch = Watch(cast, self.witness, self.blobs.under)
        self.sites = {name: self._honest_site(keys[name]) for name in cast.honest}
        self.liars = {name: self._liar(keys[name]) for name in cast.byzantine}
        self._people_answered = -1
        self._quiet = 0
        self.held = False
        """Whether an earlier release left too few hospitals for the next: the study may stand still."""
        self._read: tuple[StateView, Study] | None = None
        self._place: tuple[object, ...] = ()

    def is_honest(self, name: Name) -> bool:
        """Whether a hospital follows the protocol and its vault is what it was."""
        return name in self.cast.honest and name not in self.corrupt

    @property
    def study(self) -> Study:
        """The study as it is now."""
        view = self.history.now
        if self._read is None or self._read[0] is not view:
            found = study_record(view, STUDY)
            if found is None:
                raise InvariantBroken("the study is gone")
            self._read = (view, found)
        return self._read[1]

    def run(self) -> Study:
        """Faults, repair, and the end.

        Raises:
            InvariantBroken: says what does not hold, or that an honest quorum did not finish.
        """
        if self.cast.quiet_setup:
            self._take_turns(lambda: bool(self.study.roster))
            self.note("the faults begin")
        first = self.network.tick + 1
        for tick in range(first, first + self.cast.ticks):
            self.network.tick = tick
            self._tick(tick)
            self.check()
            if self.study.phase in ("completed", "aborted"):
                break
        self._repair()
        self._take_turns(lambda: False)
        self._check_end()
        return self.study

    def where(self) -> str:
        """The tick, the round and the attempt, for the trace."""
        current = current_round(self.history.now, self.study)
        place = f"r{current.number}a{current.attempt} {current.phase}" if current else self.study.phase
        return f"[{self.network.tick:4d} {place:12s}] "

    def check(self) -> None:
        """Everything that must hold now."""
        if not self.watch.step(self.engine, self.corrupt):
            return
        self._note_phase()
        self.given_up |= {
            name for name in self.cast.names if not is_active(self.history.now, name) or name in self.study.expelled
        }

    def _note_phase(self) -> None:
        study, current = self.study, current_round(self.history.now, self.study)
        place = (study.phase, study.pause_code, current.number, current.attempt, current.phase) if current else ()
        if place != self._place:
            self._place = place
            if current is not None:
                self.note(f"{study.phase} {study.pause_code} roster {current.roster} survivors {current.survivors}")

    # --- while the faults last ------------------------------------------------------------------------------------

    def _tick(self, tick: int) -> None:
        rates = self.cast.rates
        self._happen(tick, rates)
        roll = self.rng.random()
        if roll < 0.62 or not self.network:
            moved = self._act(self.rng.choice(self.cast.names), tick, rates)
        else:
            moved = self.network.deliver(rates)
        self._quiet = 0 if moved else self._quiet + 1
        if self._quiet > 3 * len(self.cast.names) or self._hits(rates.deadline):
            self._pass_deadline()
            self._quiet = 0
        else:
            self.clock.advance(self.rng.choice((1, 50, 500, 2_500)))

    def _act(self, name: Name, tick: int, rates: Rates) -> int:
        if name in self.liars:
            sent = self.liars[name].act(self.history.now)
            self.network.send(sent, CALM)
            return len(sent)
        site = self.sites[name]
        if site.gone == "absent" or site.away_until > tick:
            return 0
        if self._hits(rates.stale):
            site.window.lag = self.rng.randint(0, 6)
        if self._hits(rates.crash):
            site.fuse = self.rng.randint(1, _MOST_EFFECTS)
        if self._hits(rates.old_history) and self._shows_old_history(site):
            return 0
        moved = self._step(site, rates)
        site.window.lag = 0
        return moved

    def _step(self, site: FaultySite, rates: Rates) -> int:
        """One step of an agent; what it sends is public, whatever becomes of it."""
        sent = 0
        try:
            for signed in site.agent.prepare():
                site.effect("before submit")
                if self.is_honest(site.name):
                    self.witness.sent(signed)
                self.network.send((signed,), rates)
                sent += 1
                site.effect("after submit")
        except Crash as crash:
            self.note(f"{site.name} dies at {crash}")
            site.restart()
            return sent + 1
        except Unavailable as error:
            self.note(f"{site.name} waits: {error}")
        site.fuse = None
        return sent

    def _shows_old_history(self, site: FaultySite) -> bool:
        """An honest agent that is shown less than it has seen must stop, and say nothing."""
        seen = site.vault.load("seen", Anchor)
        site.window.goes_back = True
        shown = site.window.view()
        try:
            if seen is None or shown.tip.height >= seen.height:
                return False
            site.fuse = None
            site.agent.prepare()
        except Tampered:
            self.note(f"{site.name} is shown block {shown.tip.height} after {seen.height if seen else 0} and stops")
            site.restart()
            return True
        finally:
            site.window.goes_back = False
        raise InvariantBroken(f"{site.name} acts on block {shown.tip.height} though it has seen {seen.height}")

    def _happen(self, tick: int, rates: Rates) -> None:
        """What goes wrong by itself."""
        if self._hits(rates.clock):
            name = self.rng.choice((*self.cast.honest, ""))
            jump = self.rng.choice((-3_600_000, -30_000, 0, 30_000, 120_000))
            if name:
                self.sites[name].skew_ms = jump
            else:
                self.operator_skew = max(0, jump)
            self.note(f"the clock of {name or 'the operator'} is off by {jump} ms")
        if self._hits(rates.nap):
            name = self.rng.choice(self.cast.honest)
            self.sites[name].away_until = tick + self.rng.randint(5, 40)
            self.note(f"{name} is away until tick {self.sites[name].away_until}")
        if self._hits(rates.disk):
            site = self.sites[self.rng.choice(self.cast.honest)]
            site.disk_full = not site.disk_full
            self.note(f"the disk of {site.name} is {'full' if site.disk_full else 'free'}")
        if self.rng.random() < 0.08:
            self.blobs.relay(self._serves)
        self._spoil_blob(rates)
        self._part(tick)
        if self.rng.random() < 0.05:
            self._people()

    def _spoil_blob(self, rates: Rates) -> None:
        fresh = [digest for digest in self.blobs.held if digest not in self.blobs.gone]
        if not fresh or not self._hits(rates.blob):
            return
        digest, name = fresh[-1], self.rng.choice(self.cast.names)
        kind = self.rng.choice(("late", "late", "damaged", "lost"))
        if kind == "damaged":
            self.blobs.damaged.add((digest, name))
        elif kind == "lost" and len(self.blobs.held[digest]) == 1:
            owner = next(iter(self.blobs.held[digest]))
            self.blobs.gone.add(digest)
            self.blobs.hide(digest, set(self.cast.names) - {owner})
        else:
            self.blobs.hide(digest, {name} - self.blobs.held[digest])
        self.note(f"blob {digest.hex()[:8]} is {kind} for {name if kind != 'lost' else 'all'}")

    def _part(self, tick: int) -> None:
        """Hospitals that go for good do so at some time after the rounds have begun."""
        for name, how in self.cast.leaving:
            site = self.sites[name]
            if site.gone or not self.study.roster or self.rng.random() > 0.06:
                continue
            if how == "restored":
                self._restore(site)
                continue
            site.gone = how
            self.note(f"{name} is gone: {how}")
            if how == "leave":
                self._ask(site, Leave())
            elif how == "withdraw":
                self._ask(site, WithdrawFromStudy(STUDY))
            elif how == "removed":
                self._vote_out(name)

    def _restore(self, site: FaultySite) -> None:
        if site.gone:
            return
        if not site.vault.has_copy:
            site.vault.make_copy()
        elif self.rng.random() < 0.5:
            self.corrupt.add(site.name)
            site.vault.go_back()
            site.restart()
            site.gone = "restored"
            self.note(f"the vault of {site.name} is restored from a copy")

    # --- people ---------------------------------------------------------------------------------------------------

    def _people(self) -> None:
        """After a pause that needs a person, people vote to go on; after the second one they remove who is at fault."""
        study = self.study
        if study.phase != "paused" or study.pauses == self._people_answered:
            return
        self._people_answered = study.pauses
        if len(eligible(self.history.now, study)) >= study.terms.quorum and study.pause_code in _BY_PERSON:
            for site in self._staying():
                self._ask(site, ResumeStudy(STUDY))
        if study.pauses > 1 and study.pause_code == "survivors-refused":
            for name in self._at_fault():
                self._vote_out(name)

    def _at_fault(self) -> list[Name]:
        lost = [name for name, site in self.sites.items() if site.gone in ("absent", "removed", "withdraw")]
        faulty = [*self.cast.byzantine, *lost]
        return [name for name in sorted(faulty) if is_active(self.history.now, name)]

    def _vote_out(self, target: Name) -> None:
        voters = [site for site in self._staying() if site.name != target]
        self._ask(voters[0], ProposeRemoval(target))
        for site in voters:
            self._ask(site, VoteOnRemoval(target, True))

    def _staying(self) -> list[FaultySite]:
        return [site for site in self.sites.values() if site.gone not in ("absent", "leave", "removed")]

    def _ask(self, site: FaultySite, body: Body) -> None:
        full, site.disk_full, fuse, site.fuse = site.disk_full, False, site.fuse, None
        request(site.vault, body)
        site.disk_full, site.fuse = full, fuse

    # --- repair and end -------------------------------------------------------------------------------------------

    def _repair(self) -> None:
        self.note("the faults stop")
        self.operator_skew = 0
        for site in self.sites.values():
            site.skew_ms, site.disk_full, site.away_until, site.fuse = 0, False, 0, None
            site.window.lag = 0

    def _take_turns(self, is_enough: Callable[[], bool]) -> None:
        """Everybody who is there takes turns; where nobody has anything to do, time moves to the next deadline."""
        for _ in range(_PASSES):
            self.network.tick += 1
            self.blobs.relay(self._serves)
            self._people()
            moved = self.network.deliver(CALM, everything=True)
            self.check()
            for name in self.cast.names:
                self._act(name, self.network.tick, CALM)
                moved += self.network.deliver(CALM, everything=True)
                self.check()
                if is_enough():
                    return
            if self.study.phase in ("completed", "aborted") and not moved:
                return
            if not moved:
                self._pass_deadline()
            if self.study.pauses > _MOST_PAUSES:
                break
        self.note(f"still {self.study.phase} after {_PASSES} passes")

    def _check_end(self) -> None:
        study, view = self.study, self.history.now
        verify_privacy(self.cast, self.witness, self.corrupt, self.given_up)
        if self.cast.seed % 4 == 0:
            verify_numbers(self.witness, self.cast.names[: self.cast.bound])
        stay = [name for name in study.roster if self.is_honest(name) and not self.sites[name].gone]
        if study.phase == "completed" or len(stay) < study.terms.quorum:
            return
        if self._is_held(stay):
            self.held = True
            return
        current = current_round(view, study)
        where = f"round {current.number}, attempt {current.attempt}, {current.phase}" if current else "no round"
        raise InvariantBroken(
            f"{len(stay)} honest hospitals stay, the quorum is {study.terms.quorum}, and the study is {study.phase} "
            f"({study.pause_code}; {where})"
        )

    def _is_held(self, stay: list[Name]) -> bool:
        """Whether what is due may only be released over survivors of whom too few are left, by an earlier release."""
        kind = current_kind(self.study)
        if kind is None:
            return False
        for name in stay:
            site = self.sites[name].agent.site
            state = LearningState.load(load_progress(site, STUDY, self.plan).state)
            for key in release_keys(site, self.plan, kind, state):
                earlier = site.vault.load(key, Release)
                wanted = set(earlier.survivors) - self.given_up if earlier else set(stay)
                if len(wanted) < self.cast.quorum or not wanted <= set(stay):
                    return True
        return False

    # --- parts ----------------------------------------------------------------------------------------------------

    def _pass_deadline(self) -> None:
        """Move on to late in the phase, so that all still have their say, and only then past its deadline."""
        due, now = due_at(self.history.now, self.study), self.clock()
        if due is None or self.study.phase == "paused":
            self.clock.advance(2_500)
        elif due - now > 2 * _LATE_MS:
            self.clock.advance(due - now - _LATE_MS)
        else:
            self.clock.advance(max(2_500, due + 1 - now))

    def _serves(self, name: Name) -> bool:
        return name in self.sites and self.sites[name].gone != "absent"

    def _block_time(self) -> int:
        return self.clock() + self.operator_skew

    def _heard(self, name: Name, receipts: list[Receipt]) -> None:
        if name in self.sites:
            self.sites[name].agent.settle(receipts)

    def _hits(self, thousandths: int) -> bool:
        return thousandths > 0 and self.rng.randrange(1000) < thousandths

    def _noticed(self, name: Name, data: bytes) -> None:
        if self.is_honest(name):
            site = self.sites[name]
            self.witness.stored(site.agent.site, site.window.last, data)

    def _honest_site(self, keys: SiteKeys) -> FaultySite:
        entropy = seeded_site_entropy(self.cast.seed, keys.name, "run")
        window, table = Window(self.history), fault_patients(keys.name)
        return FaultySite(keys, table, window, self.blobs, self.clock, entropy, self._noticed)

    def _liar(self, keys: SiteKeys) -> ByzantineHospital:
        entropy = seeded_site_entropy(self.cast.seed, keys.name, "run")
        vault = Vault(None, keys.vault_key, entropy)
        blobs = SiteBlobs(self.blobs, keys.name, _no_effect, _not_noticed)
        site = make_site(keys, vault, blobs, fault_patients(keys.name), APPROVE_ALL, self.clock, entropy)
        return ByzantineHospital(site, STUDY, self.blobs, generator(self.cast.seed, keys.name), entropy, self.note)


def _no_effect(name: str) -> None:
    """Liars do not crash."""


def _not_noticed(name: Name, data: bytes) -> None:
    """Nobody watches what a liar stores."""
