"""What an aggregator does in a study whose updates are encrypted: open the envelopes, check, add, and say the sum.

It sees ciphertexts and no key that opens them. Every survivor's ciphertexts are checked against what was committed to
before anything is added; the native library is not used at all. This module must never store a single hospital's
ciphertexts outside their envelope.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from hashlib import sha256 as new_sha256
from typing import ClassVar, Final

from medfed.errors import InvalidInput, Tampered, Unavailable
from medfed.homomorphic import EnvelopeReader, Layout, add_ciphertexts, envelope_size
from medfed.homomorphic.packing import unpack
from medfed.hospital.aggregation import manifest_of, plan_of
from medfed.hospital.duties.confirming import verify_survivors
from medfed.hospital.duties.encrypting import key_in_use
from medfed.hospital.site import Site
from medfed.hospital.work import Me, Work
from medfed.identifiers import Name, sha256
from medfed.ledger.contracts.ciphertexts import (
    PublishCiphertextSum,
    ReportCiphertexts,
    ciphertext_confirmation,
    ciphertext_context,
    ciphertext_sums,
)
from medfed.ledger.contracts.offices import is_encrypted, offices
from medfed.ledger.contracts.rounds import Round, round_record
from medfed.ledger.contracts.studies import Study, study_record
from medfed.ledger.contracts.updates import submission
from medfed.ledger.engine import StateView
from medfed.ledger.transaction import Body

__all__ = ["AddCiphertexts", "may_still_come"]

_REPORT_AFTER: Final = 0.5
"""The part of the phase after which a blob that cannot be had is reported."""


class AddCiphertexts:
    """Add what all survivors have confirmed, or report whose ciphertexts are bad."""

    name: ClassVar[str] = "add-ciphertexts"
    is_atomic: ClassVar[bool] = False

    def due(self, view: StateView, study: Study, current: Round | None, me: Me) -> Sequence[Work]:
        """Due to the study's aggregators that have not said their sum."""
        found = offices(view, study)
        if found is None or not is_encrypted(study) or me.name not in found.aggregators or study.phase != "running":
            return ()
        if current is None or current.phase != "sum":
            return ()
        if me.name in ciphertext_sums(view, study.study, current.number, current.attempt):
            return ()
        return (Work(self.name, study.study, current.number, current.attempt),)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Waits (`Unavailable`) for blobs that are not here, until half of the phase is over."""
        study, current = study_record(view, work.study), round_record(view, work.study, work.round)
        if study is None or current is None or current.survivors_digest is None:
            return ()
        verify_survivors(view, study, current)
        if current.confirmed != current.survivors:
            raise Tampered(f"round {current.number}: adding over survivors that not all have confirmed")
        plan = plan_of(view, study.study)
        opening = _Opening(site, view, study, current, manifest_of(view, plan, current).length)
        missing, bad = opening.check()
        if missing and may_still_come(site, study, current):
            raise Unavailable(f"round {current.number}: waiting for the updates of {', '.join(missing)}")
        if missing or bad:
            return (ReportCiphertexts(study.study, current.number, current.attempt, tuple(sorted(missing + bad))),)
        data = opening.sum()
        digest = site.blobs.put(memoryview(data))
        return (
            PublishCiphertextSum(
                study.study, current.number, current.attempt, current.survivors_digest, digest, len(data)
            ),
        )


def may_still_come(site: Site, study: Study, current: Round) -> bool:
    """Whether a blob that cannot be had is waited for still, rather than reported."""
    return site.clock() < current.deadline_ms - int(study.terms.deadlines.reveal * _REPORT_AFTER)


class _Opening:
    """The survivors' envelopes of one attempt."""

    def __init__(self, site: Site, view: StateView, study: Study, current: Round, length: int) -> None:
        self._site = site
        self._view = view
        self._study = study
        self._round = current
        self._layout = Layout(len(study.roster), length)
        self._key = key_in_use(view, study)

    def check(self) -> tuple[list[Name], list[Name]]:
        """Whose blobs are not here or damaged, and whose are not what they committed to."""
        missing: list[Name] = []
        bad: list[Name] = []
        for name in self._round.survivors:
            try:
                if not self._is_good(name):
                    bad.append(name)
            except (Unavailable, Tampered):  # this copy; another may be had
                missing.append(name)
        return missing, bad

    def sum(self) -> bytearray:
        """The packed ciphertexts of the sum; every envelope is open at once, a text of each in memory."""
        data = bytearray()
        with ExitStack() as stack:
            readers = [stack.enter_context(self._reading(name)) for name in self._round.survivors]
            for batch in add_ciphertexts(self._layout, readers):
                data += batch
        return data

    def _is_good(self, name: Name) -> bool:
        confirmed = ciphertext_confirmation(self._view, *self._place, name)
        submitted = submission(self._view, *self._place, name)
        if confirmed is None or submitted is None or submitted.length != envelope_size(self._layout):
            return False
        if self._site.blobs.size(submitted.blob) != submitted.length:
            return False
        digest = new_sha256()
        try:
            with self._reading(name) as reader:
                while batch := reader.read(1 << 24):
                    unpack(self._layout.parameters, batch)
                    digest.update(batch)
        except InvalidInput:
            return False
        return digest.digest() == confirmed.ciphertexts

    @contextlib.contextmanager
    def _reading(self, name: Name) -> Generator[EnvelopeReader]:
        confirmed = ciphertext_confirmation(self._view, *self._place, name)
        submitted = submission(self._view, *self._place, name)
        if confirmed is None or submitted is None:
            raise InvalidInput(f"round {self._round.number}: {name} has not confirmed")
        me = self._site.name
        sealed = next((entry.sealed for entry in confirmed.sealed_keys if entry.aggregator == me), b"")
        key = self._site.keys.sealing_key.open(sealed, self._context(f"key/{me}", name))
        if sha256(key) != confirmed.key:
            raise InvalidInput(f"round {self._round.number}: the key of {name}'s blob is not the one committed to")
        with self._site.blobs.open_stream(submitted.blob) as stream:
            yield EnvelopeReader(stream, key, self._context("blob", name), self._layout)

    def _context(self, purpose: str, owner: Name) -> bytes:
        return ciphertext_context(purpose, self._view.chain, *self._place, self._key, owner)

    @property
    def _place(self) -> tuple[bytes, int, int]:
        return self._study.study, self._round.number, self._round.attempt
