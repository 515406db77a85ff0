"""The people at the hospitals, who answer where an agent must not: they go on after a pause, or vote somebody out."""

from __future__ import annotations

from typing import Final

from medfed.hospital.requests import request
from medfed.identifiers import Name
from medfed.ledger.contracts.deadlines import ResumeStudy
from medfed.ledger.contracts.membership import ProposeRemoval, VoteOnRemoval, is_active
from medfed.ledger.contracts.offices import VoteOnSuccessor, offices
from medfed.ledger.contracts.studies import eligible
from medfed.ledger.transaction import Body
from medfed.simulation.faults_site import FaultySite
from medfed.simulation.faults_stage import Stage
from medfed.simulation.faults_study import STUDY

__all__ = ["People"]

_BY_PERSON: Final = (
    "survivors-refused",
    "three-rejections",
    "no-encryption-key",
    "no-ciphertext-sum",
    "no-decryption",
    "sums-differ",
    "sum-refused",
    "no-session-keys",
    "no-aggregate",
    "aggregate-disputed",
)


class People:
    """Everybody's people act alike; they know who is at fault."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._answered = -1

    def answer(self) -> None:
        """After a pause that needs a person, people vote to go on; after the second one they remove who is at fault."""
        study = self._stage.study
        if study.phase != "paused" or study.pauses == self._answered:
            return
        self._answered = study.pauses
        if self._replace_the_gone():
            return
        if len(eligible(self._stage.history.now, study)) >= study.terms.quorum and study.pause_code in _BY_PERSON:
            for site in self._staying():
                if site.name in self._stage.cast.names:
                    self.ask(site, ResumeStudy(STUDY))
        if study.pauses > 1 and study.pause_code == "survivors-refused":
            for name in self._at_fault():
                self.vote_out(name)

    def _replace_the_gone(self) -> bool:
        """Vote a successor in for an office holder that is gone; whether there was one."""
        held = offices(self._stage.history.now, self._stage.study)
        for name in held.holders if held is not None else ():
            if self._stage.sites[name].gone:
                for site in self._staying():
                    if site.name in self._stage.cast.names:
                        self.ask(site, VoteOnSuccessor(STUDY, name, f"{name}-2"))
                return True
        return False

    def _at_fault(self) -> list[Name]:
        lost = [name for name, site in self._stage.sites.items() if site.gone in ("absent", "removed", "withdraw")]
        faulty = [*self._stage.cast.byzantine, *lost]
        return [name for name in sorted(faulty) if is_active(self._stage.history.now, name)]

    def vote_out(self, target: Name) -> None:
        """Have a hospital removed from the consortium."""
        voters = [site for site in self._staying() if site.name != target and site.name in self._stage.cast.names]
        self.ask(voters[0], ProposeRemoval(target))
        for site in voters:
            self.ask(site, VoteOnRemoval(target, True))

    def _staying(self) -> list[FaultySite]:
        return [site for site in self._stage.sites.values() if site.gone not in ("absent", "leave", "removed")]

    def ask(self, site: FaultySite, body: Body) -> None:
        """Leave a request with a site's agent, as a person does."""
        full, site.disk_full, fuse, site.fuse = site.disk_full, False, site.fuse, None
        request(site.vault, body)
        site.disk_full, site.fuse = full, fuse
