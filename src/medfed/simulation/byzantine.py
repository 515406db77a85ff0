"""A hospital that lies: it has real keys and does real duties, and now and then puts something else on the ledger.

It does what an honest agent would, through the same duties, so that it is there in every phase; what leaves it passes
through the deviations of `byzantine_acts`. It keeps no outbox and no promise.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from typing import Final

from medfed.crypto import Entropy
from medfed.errors import MedFedError
from medfed.hospital.agent import DUTIES
from medfed.hospital.progress import follow
from medfed.hospital.site import Site
from medfed.hospital.work import Me
from medfed.identifiers import Name, StudyId
from medfed.ledger.contracts.rounds import current_round
from medfed.ledger.contracts.studies import Study, study_record
from medfed.ledger.engine import StateView
from medfed.ledger.transaction import Anchor, Body, SignedTransaction, Transaction, sign
from medfed.ledger.transition import next_sequence
from medfed.simulation.byzantine_acts import ACTS, Scene
from medfed.simulation.byzantine_spam import SPAM
from medfed.simulation.faults_blobs import BlobFaults

__all__ = ["ByzantineHospital"]

_DEVIATES: Final = 0.35
_SPAMS: Final = 0.15
_MOST_HELD: Final = 16


class ByzantineHospital:
    """One liar."""

    def __init__(
        self,
        site: Site,
        study: StudyId,
        blobs: BlobFaults,
        rng: random.Random,
        entropy: Entropy,
        note: Callable[[str], None],
    ) -> None:
        self.site = site
        self._study = study
        self._blobs = blobs
        self._rng = rng
        self._entropy = entropy
        self._note = note
        self._done: set[str] = set()
        self._held: list[Body] = []
        self._said: list[Body] = []
        self.refused = 0
        """How often it has stopped the study with `RefuseSurvivors`."""

    @property
    def name(self) -> Name:
        """The participant's name."""
        return self.site.name

    def act(self, view: StateView) -> list[SignedTransaction]:
        """What it puts on the ledger now."""
        study = study_record(view, self._study)
        if study is None:
            return []
        with contextlib.suppress(MedFedError):  # it may lack a blob; it goes on lying
            follow(self.site, view, study)
        bodies = self._due(view, study)
        scene = self._scene(view, study)
        if self._held and self._rng.random() < 0.5:
            bodies.append(self._held.pop(self._rng.randrange(len(self._held))))
        if self._rng.random() < _SPAMS:
            name, act = self._rng.choice(SPAM)
            spam = act(scene)
            if spam:
                self._note(f"{self.name} spams: {name}")
            bodies += spam
        self._said += bodies
        return self._signed(view, bodies)

    def _due(self, view: StateView, study: Study) -> list[Body]:
        """The duties, each once, distorted by chance."""
        current = current_round(view, study)
        me = Me(self.name, self.site.clock(), self.site.started_ms)
        bodies: list[Body] = []
        for duty in DUTIES:
            for work in duty.due(view, study, current, me):
                if work.key in self._done:
                    continue
                try:
                    proper = duty.perform(work, self.site, view)
                except MedFedError:
                    continue
                if proper:
                    self._done.add(work.key)
                for body in proper:
                    bodies += self._distorted(view, study, body)
        return bodies

    def _distorted(self, view: StateView, study: Study, body: Body) -> Sequence[Body]:
        acts = ACTS.get(type(body), ())
        if not acts or self._rng.random() >= _DEVIATES:
            return (body,)
        name, act = self._rng.choice(acts)
        self._note(f"{self.name} deviates: {name}")
        return act(self._scene(view, study), body)

    def _scene(self, view: StateView, study: Study) -> Scene:
        return Scene(self.site, view, study, current_round(view, study), self._blobs, self._rng, self._hold, self._said)

    def _hold(self, body: Body) -> None:
        if len(self._held) < _MOST_HELD:
            self._held.append(body)

    def _signed(self, view: StateView, bodies: Sequence[Body]) -> list[SignedTransaction]:
        start = next_sequence(view, self.name)
        anchor = Anchor(view.tip.height, view.tip.block)
        key = self.site.keys.signing_key
        return [
            sign(Transaction(view.chain, self.name, start + at, anchor, body), key) for at, body in enumerate(bodies)
        ]
