"""A whole consortium under faults, in one process and in one order that the seed decides.

Two parts: while the faults last, each tick draws one thing that happens; then everything is repaired and everybody who
is still there takes turns until the study ends. After every step `invariants` looks at everything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from medfed.errors import Tampered, Unavailable
from medfed.identifiers import Name
from medfed.ledger.contracts.deadlines import due_at
from medfed.ledger.contracts.membership import is_active
from medfed.ledger.contracts.rounds import current_round
from medfed.ledger.contracts.studies import Study
from medfed.ledger.transaction import Anchor
from medfed.simulation.faults import Cast, Crash, Rates
from medfed.simulation.faults_mishaps import Mishaps
from medfed.simulation.faults_people import People
from medfed.simulation.faults_site import FaultySite
from medfed.simulation.faults_stage import Stage
from medfed.simulation.invariants import Watch, verify_numbers, verify_privacy
from medfed.simulation.liveness import verify_finished
from medfed.simulation.witness import InvariantBroken

__all__ = ["FaultWorld"]

CALM: Final = Rates()
_LATE_MS: Final = 15_000
_PASSES: Final = 600
"""Most turns of everybody after the faults have stopped."""
_MOST_PAUSES: Final = 24
_MOST_EFFECTS: Final = 12


class FaultWorld(Stage):
    """One seed's consortium, set in motion."""

    def __init__(self, cast: Cast, note: Callable[[str], None]) -> None:
        super().__init__(cast, note)
        self.held = False
        """Whether an earlier release left too few hospitals for the next: the study may stand still."""
        self._watch = Watch(cast, self.witness, self.blobs.under)
        self._people = People(self)
        self._mishaps = Mishaps(self, self._people)
        self._quiet = 0
        self._place: tuple[object, ...] = ()
        self._opened = (0, 0, 0)

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
        is_new = self._watch.step(self.engine, self.corrupt)
        self._check_opened()
        if not is_new:
            return
        self._note_phase()
        self.given_up |= {
            name for name in self.cast.names if not is_active(self.history.now, name) or name in self.study.expelled
        }

    def _check_opened(self) -> None:
        """When seeds, shares or escrows came out: what one coalition can compute now; a different one each time."""
        if self.cast.protection != "masked":
            return
        facts = self.witness.published
        out = (len(facts.seeds), sum(map(len, facts.shares.values())), len(facts.escrows))
        if out != self._opened:
            self._opened = out
            verify_privacy(self.cast, self.witness, self.corrupt, self.given_up, only=sum(out))

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
        self._mishaps.happen(tick)
        roll = self.rng.random()
        if roll < 0.62 or not self.network:
            moved = self._act(self.rng.choice(self.cast.everybody), tick, rates)
        else:
            moved = self.network.deliver(rates)
        self._quiet = 0 if moved else self._quiet + 1
        if self._quiet > 3 * len(self.cast.everybody) or self.hits(rates.deadline):
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
        if self.hits(rates.stale):
            site.window.lag = self.rng.randint(0, 6)
        if self.hits(rates.crash):
            site.fuse = self.rng.randint(1, _MOST_EFFECTS)
        if self.hits(rates.old_history) and self._shows_old_history(site):
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
                    self.witness.sent(signed, site.agent.site)
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
            self.blobs.relay(self.serves)
            self._people.answer()
            moved = self.network.deliver(CALM, everything=True)
            self.check()
            for name in self.cast.everybody:
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
        verify_privacy(self.cast, self.witness, self.corrupt, self.given_up)
        if self.cast.seed % 4 == 0 and self.cast.protection == "masked":
            verify_numbers(self.witness, self.cast.names[: self.cast.bound])
        self.held = not verify_finished(self)

    def _pass_deadline(self) -> None:
        """Move on to late in the phase, so that all still have their say, and only then past its deadline."""
        due, now = due_at(self.history.now, self.study), self.clock()
        if due is None or self.study.phase == "paused":
            self.clock.advance(2_500)
        elif due - now > 2 * _LATE_MS:
            self.clock.advance(due - now - _LATE_MS)
        else:
            self.clock.advance(max(2_500, due + 1 - now))
