"""Sharing a pair secret with every other enrolled hospital."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from medfed.crypto import SealingKey
from medfed.encoding import Record
from medfed.errors import InvalidInput, Unavailable
from medfed.hospital.duties.joining import PrivateStudyKey
from medfed.hospital.progress import PairSecretStore, study_key
from medfed.hospital.site import Site
from medfed.hospital.work import Me, Work
from medfed.identifiers import Name
from medfed.ledger.contracts.keying import ComplainAboutPair, KeysReady, SealPairSecrets
from medfed.ledger.contracts.rounds import Round
from medfed.ledger.contracts.studies import SealedSecret, Study, enrolment, pair_secrets, study_record
from medfed.ledger.engine import StateView
from medfed.ledger.transaction import Body
from medfed.secure_sum import draw_pair_secret, open_pair_secret, seal_pair_secret

__all__ = ["ConfirmKeys", "SealSecrets"]


class DrawnSecrets(Record):
    """The pair secrets that this hospital drew for the higher ones."""

    secrets: dict[Name, bytes]


class SealSecrets:
    """Draw a secret for every higher enrolled hospital and post them sealed."""

    name: ClassVar[str] = "seal-pair-secrets"
    is_atomic: ClassVar[bool] = True

    def due(self, view: StateView, study: Study, current: Round | None, me: Me) -> Sequence[Work]:
        """Due to the enrolled; the highest posts an empty list."""
        if study.phase != "sealing" or me.name not in study.enrolled or me.name in study.sealed:
            return ()
        return (Work(self.name, study.study),)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """The secrets go to the vault in the same commit as the transaction."""
        study = study_record(view, work.study)
        if study is None:
            return ()
        drawn: dict[Name, bytes] = {}
        sealed: list[SealedSecret] = []
        for other in (name for name in study.enrolled if name > site.name):
            entry = enrolment(view, study.study, other)
            if entry is None:
                raise Unavailable(f"study {study.study.hex()}: the enrolment of {other} is missing")
            drawn[other] = draw_pair_secret(site.entropy)
            sealed.append(SealedSecret(other, _seal(view, study, entry.study_key, drawn[other], site.name, other)))
        site.vault.store(study_key(study.study, "drawn"), DrawnSecrets(drawn))
        return (SealPairSecrets(study.study, tuple(sealed)),)


class ConfirmKeys:
    """Open what was posted, complain about what does not open, and delete the study's private key."""

    name: ClassVar[str] = "keys-ready"
    is_atomic: ClassVar[bool] = True

    def due(self, view: StateView, study: Study, current: Round | None, me: Me) -> Sequence[Work]:
        """Due to those who have posted their secrets."""
        if study.phase != "confirming" or me.name not in study.sealed or me.name in study.ready:
            return ()
        return (Work(self.name, study.study),)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Nothing if the vault has lost the study's key: then this hospital leaves the study by silence."""
        study = study_record(view, work.study)
        private = site.vault.load(study_key(work.study, "private"), PrivateStudyKey)
        drawn = site.vault.load(study_key(work.study, "drawn"), DrawnSecrets)
        if study is None or private is None or drawn is None:
            return ()
        key = SealingKey.from_bytes(private.sealing_seed)
        secrets = {name: secret for name, secret in drawn.secrets.items() if name in study.sealed}
        bodies: list[Body] = []
        for sender in (name for name in study.sealed if name < site.name):
            try:
                secrets[sender] = _open(view, study, key, sender, site.name)
            except InvalidInput:
                if (sender, site.name) not in study.lost_edges:
                    bodies.append(ComplainAboutPair(study.study, sender))
        site.vault.store(study_key(study.study, "pairs"), PairSecretStore(0, secrets))
        site.vault.delete(study_key(study.study, "private"))
        site.vault.delete(study_key(study.study, "drawn"))
        return (*bodies, KeysReady(study.study))


def _seal(view: StateView, study: Study, public: bytes, secret: bytes, me: Name, receiver: Name) -> bytes:
    return seal_pair_secret(public, secret, chain=view.chain, study=study.study, sender=me, receiver=receiver)


def _open(view: StateView, study: Study, key: SealingKey, sender: Name, me: Name) -> bytes:
    posted = pair_secrets(view, study.study, sender)
    sealed = next((entry.sealed for entry in posted.secrets if entry.receiver == me), b"") if posted else b""
    return open_pair_secret(key, sealed, chain=view.chain, study=study.study, sender=sender, receiver=me)
