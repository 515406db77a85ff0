"""What goes wrong by itself: clocks, disks, blobs, hospitals that are away for a while or go for good."""

from __future__ import annotations

from medfed.ledger.contracts.membership import Leave
from medfed.ledger.contracts.studies import WithdrawFromStudy
from medfed.simulation.faults import Rates
from medfed.simulation.faults_blobs import spoil_newest
from medfed.simulation.faults_people import People
from medfed.simulation.faults_site import FaultySite
from medfed.simulation.faults_stage import Stage
from medfed.simulation.faults_study import STUDY

__all__ = ["Mishaps"]


class Mishaps:
    """Draws from the stage's chance and spoils what is on it."""

    def __init__(self, stage: Stage, people: People) -> None:
        self._stage = stage
        self._people = people

    def happen(self, tick: int) -> None:
        """One tick's chances."""
        rates = self._stage.cast.rates
        if self._stage.hits(rates.clock):
            name = self._stage.rng.choice((*self._stage.cast.honest, ""))
            jump = self._stage.rng.choice((-3_600_000, -30_000, 0, 30_000, 120_000))
            if name:
                self._stage.sites[name].skew_ms = jump
            else:
                self._stage.operator_skew = max(0, jump)
            self._stage.note(f"the clock of {name or 'the operator'} is off by {jump} ms")
        if self._stage.hits(rates.nap):
            name = self._stage.rng.choice(self._stage.cast.honest)
            self._stage.sites[name].away_until = tick + self._stage.rng.randint(5, 40)
            self._stage.note(f"{name} is away until tick {self._stage.sites[name].away_until}")
        if self._stage.hits(rates.disk):
            site = self._stage.sites[self._stage.rng.choice(self._stage.cast.honest)]
            site.disk_full = not site.disk_full
            self._stage.note(f"the disk of {site.name} is {'full' if site.disk_full else 'free'}")
        if self._stage.rng.random() < 0.08:
            self._stage.blobs.relay(self._stage.serves)
        self._spoil_blob(rates)
        self._part()
        if self._stage.rng.random() < 0.05:
            self._people.answer()

    def _spoil_blob(self, rates: Rates) -> None:
        blobs = self._stage.blobs
        if any(digest not in blobs.gone for digest in blobs.held) and self._stage.hits(rates.blob):
            self._stage.note(spoil_newest(blobs, self._stage.cast.names, self._stage.rng))

    def _part(self) -> None:
        """Hospitals that go for good do so at some time after the rounds have begun."""
        for name, how in self._stage.cast.leaving:
            site = self._stage.sites[name]
            if site.gone or not self._stage.study.roster or self._stage.rng.random() > 0.06:
                continue
            if how == "restored":
                self._restore(site)
                continue
            site.gone = how
            self._stage.note(f"{name} is gone: {how}")
            if how == "leave":
                self._people.ask(site, Leave())
            elif how == "withdraw":
                self._people.ask(site, WithdrawFromStudy(STUDY))
            elif how == "removed":
                self._people.vote_out(name)

    def _restore(self, site: FaultySite) -> None:
        if site.gone:
            return
        if not site.vault.has_copy:
            site.vault.make_copy()
        elif self._stage.rng.random() < 0.5:
            self._stage.corrupt.add(site.name)
            site.vault.go_back()
            site.restart()
            site.gone = "restored"
            self._stage.note(f"the vault of {site.name} is restored from a copy")
