"""What a key holder does in a study whose updates are encrypted: publish a key, and open one sum a round.

It opens what all aggregators agree on, over survivors that all have confirmed, and tells the total only if the tags in
it are exactly the survivors'. Its vault remembers which sum it opened in a round. This module must never read a
hospital's blob, and never decrypt two different sums in one round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from medfed.blobs import awaiting_good_copy
from medfed.encoding import Record
from medfed.errors import InvalidInput, Refused, Tampered
from medfed.homomorphic import Layout, decrypt_sum
from medfed.hospital.aggregation import manifest_of, plan_of
from medfed.hospital.duties.confirming import verify_survivors
from medfed.hospital.duties.encrypting import key_in_use
from medfed.hospital.progress import study_key
from medfed.hospital.site import Site
from medfed.hospital.work import Me, Work
from medfed.identifiers import Digest, Name, sha256
from medfed.ledger.contracts.ciphertexts import (
    PublishDecryption,
    RefuseSum,
    ciphertext_confirmation,
    ciphertext_context,
    ciphertext_sums,
)
from medfed.ledger.contracts.offices import PublishEncryptionKey, is_encrypted, offices
from medfed.ledger.contracts.rounds import Round, round_record
from medfed.ledger.contracts.studies import Study, study_record
from medfed.ledger.engine import StateView
from medfed.ledger.transaction import Body
from medfed.secure_sum import encode_update

__all__ = ["OpenSum", "PublishKey"]


class OpenedSum(Record):
    """The sum that was opened in a round."""

    attempt: int
    sum: Digest


class PublishKey:
    """Make a key pair for the study; the secret is in the vault in the same commit as the transaction."""

    name: ClassVar[str] = "publish-encryption-key"
    is_atomic: ClassVar[bool] = True

    def due(self, view: StateView, study: Study, current: Round | None, me: Me) -> Sequence[Work]:
        """Due to the key holder while the study awaits its key."""
        found = offices(view, study)
        if found is None or not is_encrypted(study) or study.phase != "awaiting-key" or me.name != found.key_holder:
            return ()
        return (Work(self.name, study.study, study.next_round, detail=f"{len(found.earlier_keys)}"),)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """A fresh pair each time."""
        pair = site.cipher.generate()
        digest = sha256(pair.public)
        site.vault.put(_secret_key(work.study, digest), pair.secret)
        site.blobs.put(pair.public)
        return (PublishEncryptionKey(work.study, digest, len(pair.public)),)


class OpenSum:
    """Open the sum that the aggregators agree on, or refuse it."""

    name: ClassVar[str] = "open-sum"
    is_atomic: ClassVar[bool] = True

    def due(self, view: StateView, study: Study, current: Round | None, me: Me) -> Sequence[Work]:
        """Due to the key holder."""
        found = offices(view, study)
        if found is None or me.name != found.key_holder or study.phase != "running":
            return ()
        if current is None or current.phase != "decrypt":
            return ()
        return (Work(self.name, study.study, current.number, current.attempt),)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Nothing if the vault has lost the secret key: then the round fails, and a successor is voted in."""
        study, current = study_record(view, work.study), round_record(view, work.study, work.round)
        if study is None or current is None:
            return ()
        digest = _agreed_sum(view, study, current)
        _note_opened(site, study, current, digest)
        secret = site.vault.get(_secret_key(study.study, key_in_use(view, study)))
        if secret is None:
            return ()
        seeds, wrong = _tag_seeds(site, view, study, current)
        place = (study.study, current.number, current.attempt)
        if wrong:
            return (RefuseSum(*place, "wrong-seeds", wrong),)
        layout = Layout(len(study.roster), manifest_of(view, plan_of(view, study.study), current).length)
        try:
            total = _opened(site, secret, layout, digest, seeds)
        except InvalidInput:
            return (RefuseSum(*place, "not-a-sum"),)
        except Refused as refusal:
            return (RefuseSum(*place, refusal.code),)
        data = encode_update(total)
        return (PublishDecryption(*place, digest, site.blobs.put(data), len(data)),)


def _opened(site: Site, secret: bytes, layout: Layout, digest: Digest, seeds: dict[int, bytes]) -> NDArray[np.uint32]:
    with awaiting_good_copy("the sum"), site.blobs.open_stream(digest) as stream:
        return decrypt_sum(site.cipher, secret, layout, stream, seeds)


def _agreed_sum(view: StateView, study: Study, current: Round) -> Digest:
    """The one sum that may be opened, checked again here: this site may see another history than the others."""
    verify_survivors(view, study, current)
    found = offices(view, study)
    sums = ciphertext_sums(view, study.study, current.number, current.attempt)
    if current.confirmed != current.survivors:
        raise Tampered(f"round {current.number}: a sum over survivors that not all have confirmed")
    if found is None or len(set(sums.values())) != 1 or not set(found.aggregators) <= set(sums):
        raise Tampered(f"round {current.number}: a sum that not all aggregators agree on")
    return next(iter(sums.values()))


def _note_opened(site: Site, study: Study, current: Round, digest: Digest) -> None:
    key = study_key(study.study, "opened-sum", current.number)
    opening, known = OpenedSum(current.attempt, digest), site.vault.load(key, OpenedSum)
    if known is not None and known != opening:
        raise Tampered(f"round {current.number}: two sums to open in one round")
    site.vault.store(key, opening)


def _tag_seeds(site: Site, view: StateView, study: Study, current: Round) -> tuple[dict[int, bytes], tuple[Name, ...]]:
    """The survivors' tag seeds by place in the study roster, and who sealed something else."""
    found: dict[int, bytes] = {}
    wrong: list[Name] = []
    key = key_in_use(view, study)
    for name in current.survivors:
        confirmed = ciphertext_confirmation(view, study.study, current.number, current.attempt, name)
        if confirmed is None:
            raise Tampered(f"round {current.number}: {name} has not confirmed")
        context = ciphertext_context(
            f"seed/{site.name}", view.chain, study.study, current.number, current.attempt, key, name
        )
        try:
            seed = site.keys.sealing_key.open(confirmed.sealed_seed, context)
        except InvalidInput:
            seed = b""
        if len(seed) == 32 and sha256(seed) == confirmed.seed:
            found[study.roster.index(name)] = seed
        else:
            wrong.append(name)
    return found, tuple(wrong)


def _secret_key(study: bytes, public: Digest) -> str:
    return study_key(study, "encryption-key", public.hex())
