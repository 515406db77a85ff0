"""Sees everything that honest hospitals let out, and writes it down as facts for the solver (`opening`).

It stands outside: it looks into vaults to learn which masks a blob carries, and checks that claim against the blob's
own bytes, so the facts rest on what was really published. It must never tell an agent anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medfed.crypto import fill_keystream
from medfed.encoding import decode
from medfed.federation.acceptance import fallback_of
from medfed.federation.learning_state import LearningState
from medfed.federation.plan import Plan
from medfed.hospital.progress import AttemptRecord, PairSecretStore, load_progress, study_key, vector_key
from medfed.hospital.site import Site
from medfed.identifiers import Digest, Name, StudyId, sha256
from medfed.ledger.contracts import rounds
from medfed.ledger.contracts.reveals import RevealSeeds, RevealShares
from medfed.ledger.contracts.rounds import Round, round_record
from medfed.ledger.contracts.studies import Study, has_edge, study_record
from medfed.ledger.contracts.survivors import ConfirmSurvivors
from medfed.ledger.contracts.updates import SubmitUpdate
from medfed.ledger.engine import StateView
from medfed.ledger.transaction import Body, SignedTransaction, Transaction
from medfed.ledger.transition import SEEN_WINDOW
from medfed.secure_sum import decode_update, mask_sign, pair_seed
from medfed.simulation.opening import Escrowed, MaskedVector, Published, Release

__all__ = ["InvariantBroken", "Witness"]

Vector = NDArray[np.uint32]
Attempt = tuple[Name, int, int]


class InvariantBroken(Exception):
    """Something that must always hold did not. The message says what."""


@dataclass
class Witness:
    """The facts of one run. Only honest hospitals are watched; what others publish hides nothing of theirs."""

    study: StudyId
    plan: Plan
    is_honest: Callable[[Name], bool]
    published: Published = field(default_factory=Published)
    plains: dict[tuple[Name, Digest], Vector] = field(default_factory=dict[tuple[Name, Digest], Vector])
    masked: dict[Digest, Vector] = field(default_factory=dict[Digest, Vector])
    parts: dict[tuple[Name, int], tuple[Digest, ...]] = field(
        default_factory=dict[tuple[Name, int], tuple[Digest, ...]]
    )
    """What of a model or dataset a round's vector counts, by owner and round."""
    _views: dict[Name, StateView] = field(default_factory=dict[str, StateView])
    _signed: dict[tuple[Name, int], bytes] = field(default_factory=dict[tuple[Name, int], bytes])
    _blobs: dict[Attempt, Digest] = field(default_factory=dict[Attempt, Digest])
    _confirmed: dict[Attempt, Digest] = field(default_factory=dict[Attempt, Digest])
    _proposed: dict[tuple[int, int], tuple[Study, Round]] = field(
        default_factory=dict[tuple[int, int], tuple[Study, Round]]
    )

    def stored(self, site: Site, view: StateView, data: bytes) -> None:
        """An honest site is about to put a blob."""
        digest = sha256(data)
        plain = site.vault.get(vector_key(self.study))
        if plain is None:
            return
        if plain == data:
            raise InvariantBroken(f"{site.name} stores its plain vector")
        prefix = study_key(self.study, "attempt")
        for key in site.vault.keys_under(prefix):
            known = site.vault.load(key, AttemptRecord)
            if known is not None and known.blob == digest:
                number, attempt = (int(part) for part in key.rsplit("/", 2)[1:])
                self._note_vector(site, view, data, plain, known, (site.name, number, attempt))
                return

    def _note_vector(
        self, site: Site, view: StateView, data: bytes, stored: bytes, known: AttemptRecord, attempt: Attempt
    ) -> None:
        plain = np.frombuffer(stored, dtype="<u4").astype(np.uint32)
        masked = decode_update(data)
        pairs = self._pair_seeds(site, view, attempt)
        expected = plain + keystream(known.self_seed, plain.size)
        for seed, sign in pairs.values():
            expected = expected + keystream(seed, plain.size) if sign > 0 else expected - keystream(seed, plain.size)
        if not np.array_equal(expected, masked):
            raise InvariantBroken(f"{site.name}: the update of round {attempt[1]} is not masked as the protocol says")
        name = (site.name, sha256(stored))
        earlier = {v.plain for v in self.published.vectors.values() if v.attempt[:2] == attempt[:2]}
        if earlier - {name}:
            raise InvariantBroken(f"{site.name} masks two vectors in round {attempt[1]}")
        blob = sha256(data)
        self.plains[name], self.masked[blob] = plain, masked
        self.published.vectors[attempt, blob] = MaskedVector(attempt, name, known.self_seed, pairs, blob)
        self.parts[site.name, attempt[1]] = self._parts(site, view, attempt[1])

    def sent(self, signed: SignedTransaction, site: Site) -> None:
        """A transaction of an honest hospital left it, perhaps not for the first time."""
        sender, body = signed.transaction.sender, signed.transaction.body
        key = (sender, signed.transaction.sequence)
        earlier = self._signed.get(key)
        if earlier == signed.payload:
            return
        if earlier is not None and not _is_renewed(earlier, signed):
            raise InvariantBroken(f"{sender} signs two transactions under sequence {key[1]}")
        self._signed[key] = signed.payload
        if getattr(body, "study", None) == self.study:
            self._note_body(sender, body, site)

    def _note_body(self, sender: Name, body: Body, site: Site) -> None:
        if isinstance(body, SubmitUpdate):
            attempt = (sender, body.round, body.attempt)
            if (attempt, body.blob) not in self.published.vectors:
                raise InvariantBroken(
                    f"{sender} sends an update of round {body.round} that its vault did not know first"
                )
            self._once(self._blobs, attempt, body.blob, "two updates")
        elif isinstance(body, ConfirmSurvivors):
            self._once(self._confirmed, (sender, body.round, body.attempt), body.survivors, "two sets of survivors")
            self._note_escrow(sender, body)
        elif isinstance(body, RevealSeeds):
            self.published.seeds |= {body.self_seed, *(pair.seed for pair in body.pair_seeds)}
        elif isinstance(body, RevealShares):
            for share in body.shares:
                owner = (share.owner, body.round, body.attempt)
                self.published.shares.setdefault(owner, set()).add(sender)

    def ledger_moved(self, view: StateView) -> None:
        """Note what may be known from now on: the sum over survivors that all honest ones among them signed."""
        study = study_record(view, self.study)
        if study is None:
            return
        for number in range(max(0, study.next_round - 2), study.next_round):
            record = round_record(view, self.study, number)
            if record is not None and record.survivors:
                self._proposed[number, record.attempt] = (study, record)
                if record.phase in ("reveal", "decrypt", "released", "failed"):
                    self.note_release(record)

    def note_release(self, record: Round) -> None:
        """The survivors of a round that reached reveal."""
        if self._all_signed(record):
            survivors = frozenset(record.survivors)
            release = Release(record.number, record.attempt, survivors)
            self.published.releases[record.number, record.attempt, survivors] = release

    def _all_signed(self, record: Round) -> bool:
        return all(
            self._confirmed.get((name, record.number, record.attempt)) == record.survivors_digest
            for name in record.survivors
            if self.is_honest(name)
        )

    def _once(self, known: dict[Attempt, Digest], attempt: Attempt, value: Digest, what: str) -> None:
        if known.setdefault(attempt, value) != value:
            raise InvariantBroken(f"{attempt[0]} signs {what} in round {attempt[1]}, attempt {attempt[2]}")

    def _note_escrow(self, owner: Name, body: ConfirmSurvivors) -> None:
        blob = self._blobs.get((owner, body.round, body.attempt))
        mine = self.published.vectors.get(((owner, body.round, body.attempt), blob or b""))
        if mine is None or (body.round, body.attempt) not in self._proposed:
            raise InvariantBroken(f"{owner} confirms round {body.round}, attempt {body.attempt}, out of turn")
        study, record = self._proposed[body.round, body.attempt]
        dropped = {name for name in record.roster if name not in record.survivors}
        contents = {mine.self_seed, *(seed for name, (seed, _) in mine.pair_seeds.items() if name in dropped)}
        holders = frozenset(share.holder for share in body.shares)
        # Through the module, so that a rule that a test switches off is seen here as the agents see it.
        threshold = rounds.escrow_threshold(study, owner)
        escrow = Escrowed((owner, body.round, body.attempt), frozenset(contents), holders, threshold)
        if escrow not in self.published.escrows:
            self.published.escrows.append(escrow)

    def _pair_seeds(self, site: Site, view: StateView, attempt: Attempt) -> dict[Name, tuple[bytes, int]]:
        _, number, tries = attempt
        study, record = study_record(view, self.study), round_record(view, self.study, number)
        store = site.vault.load(study_key(self.study, "pairs"), PairSecretStore)
        if study is None or record is None or store is None or store.round != number or record.attempt != tries:
            raise InvariantBroken(f"{site.name} masks an update for round {number}, attempt {tries}, out of turn")
        found: dict[Name, tuple[bytes, int]] = {}
        for other in record.roster:
            if other != site.name and has_edge(study, site.name, other):
                low, high = min(site.name, other), max(site.name, other)
                seed = pair_seed(
                    store.secrets[other], chain=view.chain, study=self.study, round=number, kind=record.kind,
                    attempt=tries, lower=low, higher=high,
                )  # fmt: skip
                found[other] = (seed, mask_sign(site.name, other))
        return found

    def _parts(self, site: Site, view: StateView, number: int) -> tuple[bytes, ...]:
        record = round_record(view, self.study, number)
        state = LearningState.load(load_progress(site, self.study, self.plan).state)
        last, fallback = state.parameters.digest, fallback_of(self.plan, state).digest
        if record is None or record.kind == "statistics":
            return (b"statistics",)
        if record.kind == "training":
            return (b"validation" + last,)
        return (b"validation" + last, b"test" + last, b"test" + fallback)


def keystream(seed: bytes, length: int) -> Vector:
    """The mask of a seed, `length` words."""
    out = np.empty(length, dtype=np.uint32)
    fill_keystream(seed, out)
    return out


def _is_renewed(earlier: bytes, later: SignedTransaction) -> bool:
    """Whether the same body was signed again because its `seen` had gone stale."""
    before = decode(earlier, Transaction)
    stale = later.transaction.seen.height - before.seen.height >= SEEN_WINDOW
    return stale and before.body == later.transaction.body
