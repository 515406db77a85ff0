"""What a hospital does in a study whose updates are encrypted: encrypt and submit, confirm, and note the release.

Order of effects: the vector is in the vault before anything is made of it (`choosing`); then the attempt's tag seed and
the blob's key; then the blob is stored, part by part, and its digests noted, and only then goes the transaction that
commits to all of them. A blob whose digests were not noted is made anew: it has not left, and nothing names it.
Nobody can open the blob before this hospital confirms, and it confirms one set of survivors in an attempt, never two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256 as new_sha256
from typing import ClassVar

from msgspec.structs import replace

from medfed.blobs import awaiting_good_copy
from medfed.crypto import seal
from medfed.errors import Tampered, Unavailable
from medfed.homomorphic import Layout, encrypt_vector, envelope_size, seal_envelope
from medfed.hospital.duties.choosing import ChosenUpdate, choose_update, is_update_due
from medfed.hospital.duties.confirming import Proposal, has_to_confirm, proposal_to_sign, sign_survivors
from medfed.hospital.progress import ChosenVector, OwnAttempt, Release, study_key
from medfed.hospital.site import Site
from medfed.hospital.work import Me, Work
from medfed.identifiers import Digest, Name, sha256
from medfed.ledger.contracts.ciphertexts import (
    ConfirmCiphertext,
    SealedKey,
    ciphertext_commitment,
    ciphertext_context,
)
from medfed.ledger.contracts.membership import participant
from medfed.ledger.contracts.offices import Offices, is_encrypted, offices
from medfed.ledger.contracts.rounds import Round, round_record
from medfed.ledger.contracts.studies import Study, study_record
from medfed.ledger.contracts.updates import SubmitUpdate
from medfed.ledger.engine import StateView
from medfed.ledger.transaction import Body

__all__ = ["ConfirmEncrypted", "NoteEncryptedRelease", "SubmitEncryptedUpdate", "key_in_use"]


class EncryptedAttempt(OwnAttempt):
    """What was drawn for an encrypted update."""

    tag_seed: bytes
    blob_key: bytes
    ciphertexts: Digest | None = None


class SubmitEncryptedUpdate:
    """Submit in every attempt whose roster one is on, also late."""

    name: ClassVar[str] = "submit-encrypted-update"
    is_atomic: ClassVar[bool] = False

    def due(self, view: StateView, study: Study, current: Round | None, me: Me) -> Sequence[Work]:
        """Due while the attempt awaits updates, and to the tardy while it is being confirmed."""
        if not is_encrypted(study) or current is None or not is_update_due(study, current, me):
            return ()
        return (Work(self.name, study.study, current.number, current.attempt),)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Waits (`Unavailable`) while the rounds before cannot be followed or the public key is not here."""
        study, current = study_record(view, work.study), round_record(view, work.study, work.round)
        if study is None or current is None:
            return ()
        key = key_in_use(view, study)
        chosen = choose_update(site, view, study, current)
        if chosen is None:
            return ()
        layout = Layout(len(study.roster), len(chosen.vector))
        attempt = self._encrypted(site, view, study, current, chosen, layout, key)
        if attempt.blob is None or attempt.ciphertexts is None:
            raise Tampered(f"round {current.number}: the vault has an update without its digests")
        return (
            SubmitUpdate(
                study=study.study,
                round=current.number,
                attempt=current.attempt,
                base=chosen.base,
                accepts=chosen.accepts,
                blob=attempt.blob,
                length=envelope_size(layout),
                seed_commitment=ciphertext_commitment(
                    sha256(attempt.tag_seed), sha256(attempt.blob_key), attempt.ciphertexts
                ),
            ),
        )

    def _encrypted(
        self,
        site: Site,
        view: StateView,
        study: Study,
        current: Round,
        chosen: ChosenUpdate,
        layout: Layout,
        key: Digest,
    ) -> EncryptedAttempt:
        """From the vault with its blob, or made now: encryption is never twice the same."""
        place = study_key(study.study, "attempt", current.number, current.attempt)
        known = site.vault.load(place, EncryptedAttempt)
        if known is not None and known.blob is not None and site.blobs.has(known.blob):
            return known
        with awaiting_good_copy("the encryption key"):
            public = site.blobs.get(key)
        made = EncryptedAttempt(site.entropy(32), site.entropy(32))
        site.vault.store(place, made)
        context = ciphertext_context("blob", view.chain, study.study, current.number, current.attempt, key, site.name)
        digest = new_sha256()
        mine = study.roster.index(site.name)

        def noted() -> Iterator[bytes]:
            for batch in encrypt_vector(site.cipher, public, layout, chosen.vector, mine, made.tag_seed):
                digest.update(batch)
                yield batch

        blob = site.blobs.put_parts(seal_envelope(made.blob_key, context, layout, noted(), site.entropy))
        made = replace(made, ciphertexts=digest.digest(), blob=blob)
        site.vault.store(place, made)
        return made


class ConfirmEncrypted:
    """Sign the proposed survivors, and give the aggregators and the key holder what each of them needs."""

    name: ClassVar[str] = "confirm-ciphertext"
    is_atomic: ClassVar[bool] = True

    def due(self, view: StateView, study: Study, current: Round | None, me: Me) -> Sequence[Work]:
        """Due to survivors that have not confirmed."""
        if not is_encrypted(study) or current is None or not has_to_confirm(study, current, me):
            return ()
        return (Work(self.name, study.study, current.number, current.attempt),)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """The signed survivors are in the vault in the same commit as the transaction that says so."""
        found = proposal_to_sign(site, view, work, EncryptedAttempt)
        if found is None or found.known.ciphertexts is None:
            return ()
        refusal = sign_survivors(site, view, found)
        return (refusal,) if refusal is not None else (_confirmation(site, view, found),)


class NoteEncryptedRelease:
    """Remember over which survivors a sum may be known from now on; sends nothing."""

    name: ClassVar[str] = "note-release"
    is_atomic: ClassVar[bool] = True

    def due(self, view: StateView, study: Study, current: Round | None, me: Me) -> Sequence[Work]:
        """Due to survivors once the key holder may open the sum."""
        if not is_encrypted(study) or current is None or current.phase != "decrypt":
            return ()
        return (Work(self.name, study.study, current.number, current.attempt),) if me.name in current.survivors else ()

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Once: it is asked for at every step while the sum is being opened."""
        current = round_record(view, work.study, work.round)
        chosen = site.vault.load(study_key(work.study, "vector"), ChosenVector)
        known = site.vault.load(study_key(work.study, "attempt", work.round, work.attempt), EncryptedAttempt)
        if current is None or chosen is None or known is None or known.survivors is None:
            return ()
        if known.survivors != current.survivors_digest or current.confirmed != current.survivors:
            raise Tampered(f"round {current.number}: a sum over survivors that not all have signed")
        for key in chosen.releases:
            if site.vault.load(key, Release) != Release(current.survivors):
                site.vault.store(key, Release(current.survivors))
        return ()


def key_in_use(view: StateView, study: Study) -> Digest:
    """The digest of the public key that rounds are encrypted under.

    Raises:
        Unavailable: there is none now.
    """
    found = offices(view, study)
    if found is None or found.key is None:
        raise Unavailable(f"study {study.study.hex()}: no encryption key is published")
    return found.key


def _confirmation(site: Site, view: StateView, proposal: Proposal[EncryptedAttempt]) -> ConfirmCiphertext:
    study, current, known = proposal
    found, key = offices(view, study), key_in_use(view, study)
    if found is None:
        raise Unavailable(f"study {study.study.hex()}: it has no offices")
    place = (view.chain, study.study, current.number, current.attempt, key, site.name)
    keys = tuple(
        SealedKey(name, seal(_sealing_key(view, name), known.blob_key, ciphertext_context(f"key/{name}", *place)))
        for name in found.aggregators
    )
    return ConfirmCiphertext(
        study=study.study,
        round=current.number,
        attempt=current.attempt,
        survivors=current.survivors_digest or b"",
        seed=sha256(known.tag_seed),
        key=sha256(known.blob_key),
        ciphertexts=known.ciphertexts or b"",
        sealed_seed=_sealed_seed(view, found, known, place),
        sealed_keys=keys,
    )


def _sealed_seed(
    view: StateView,
    found: Offices,
    known: EncryptedAttempt,
    place: tuple[Digest, bytes, int, int, Digest, Name],
) -> bytes:
    context = ciphertext_context(f"seed/{found.key_holder}", *place)
    return seal(_sealing_key(view, found.key_holder), known.tag_seed, context)


def _sealing_key(view: StateView, name: Name) -> bytes:
    found = participant(view, name)
    if found is None:
        raise Unavailable(f"{name} is not on the ledger")
    return found.sealing_key
