"""The witness of studies whose updates are encrypted or sealed: vectors leave under keys, not under masks.

It looks into vaults to learn which vector a blob holds. What masks promise is not asked of these modes: that the
aggregator of sealed updates opens them all is their plan. This module must never tell an agent anything.
"""

from __future__ import annotations

import numpy as np

from medfed.hospital.duties.encrypting import EncryptedAttempt
from medfed.hospital.duties.sealing import SealedAttempt
from medfed.hospital.progress import study_key, vector_key
from medfed.hospital.site import Site
from medfed.identifiers import Name, sha256
from medfed.ledger.contracts.aggregates import ConfirmSealed
from medfed.ledger.contracts.ciphertexts import ConfirmCiphertext
from medfed.ledger.contracts.updates import SubmitUpdate
from medfed.ledger.engine import StateView
from medfed.ledger.transaction import Body
from medfed.simulation.opening import MaskedVector
from medfed.simulation.witness import InvariantBroken, Witness

__all__ = ["UnmaskedWitness"]


class UnmaskedWitness(Witness):
    """The facts of one run without masks."""

    def stored(self, site: Site, view: StateView, data: bytes) -> None:
        """An honest site is about to put a blob: never one with its vector in it."""
        plain = site.vault.get(vector_key(self.study))
        if plain is not None and plain in data:
            raise InvariantBroken(f"{site.name} stores its plain vector")
        self._views[site.name] = view

    def _note_body(self, sender: Name, body: Body, site: Site) -> None:
        if isinstance(body, SubmitUpdate):
            self._note_update(sender, body, site)
        elif isinstance(body, (ConfirmSealed, ConfirmCiphertext)):
            attempt = (sender, body.round, body.attempt)
            if attempt not in self._blobs:
                raise InvariantBroken(f"{sender} confirms round {body.round}, attempt {body.attempt}, out of turn")
            self._once(self._confirmed, attempt, body.survivors, "two sets of survivors")

    def _note_update(self, sender: Name, body: SubmitUpdate, site: Site) -> None:
        attempt = (sender, body.round, body.attempt)
        self._once(self._blobs, attempt, body.blob, "two updates")
        if (attempt, body.blob) in self.published.vectors:
            return
        kind = SealedAttempt if self.plan.protection.mode == "sealed" else EncryptedAttempt
        known = site.vault.load(study_key(self.study, "attempt", body.round, body.attempt), kind)
        plain = site.vault.get(vector_key(self.study))
        if known is None or known.blob != body.blob or plain is None:
            raise InvariantBroken(f"{sender} sends an update of round {body.round} that its vault did not know first")
        name = (sender, sha256(plain))
        earlier = {v.plain for v in self.published.vectors.values() if v.attempt[:2] == attempt[:2]}
        if earlier - {name}:
            raise InvariantBroken(f"{sender} sends two vectors in round {body.round}")
        self.plains[name] = np.frombuffer(plain, dtype="<u4").astype(np.uint32)
        self.published.vectors[attempt, body.blob] = MaskedVector(attempt, name, b"", {}, body.blob)
        if sender in self._views:
            self.parts[sender, body.round] = self._parts(site, self._views[sender], body.round)
