"""The middle of a training round, kept in the vault: what a crash may cost is minutes, not the round.

It is a cache of this hospital's own work, encrypted as all of the vault is, and it is gone once the round's vector is
chosen. This module must never give back what was saved in another round or from another start.
"""

from __future__ import annotations

from medfed.encoding import Record
from medfed.hospital.progress import study_key
from medfed.hospital.vault import Vault
from medfed.identifiers import Digest, StudyId

__all__ = ["VaultCheckpoints", "checkpoint_key"]


class _Checkpoint(Record):
    round: int
    base: Digest
    """The learning state that the round starts from."""
    data: bytes


class VaultCheckpoints:
    """`models.course.Checkpoints` of one round of one study."""

    def __init__(self, vault: Vault, study: StudyId, number: int, base: Digest) -> None:
        self._vault, self._key, self._round, self._base = vault, checkpoint_key(study), number, base

    def load(self) -> bytes | None:
        """What was saved in this round from this start."""
        found = self._vault.load(self._key, _Checkpoint)
        return found.data if found is not None and (found.round, found.base) == (self._round, self._base) else None

    def save(self, data: bytes) -> None:
        """Durable when it returns."""
        self._vault.store(self._key, _Checkpoint(self._round, self._base, data))


def checkpoint_key(study: StudyId) -> str:
    """The vault key of a study's checkpoint."""
    return study_key(study, "checkpoint")
