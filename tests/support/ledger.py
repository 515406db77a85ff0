"""A world for tests of the ledger: participants with seeded keys, a clock that stands still, an engine, and a study
that can be driven to any phase. Where a contract cannot tell (blobs, bases, sealed pair secrets) the digests are
arbitrary; keys, signatures, commitments and escrows are real."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from msgspec import Raw

from medfed.crypto import SigningKey, seeded_entropy
from medfed.crypto.escrow import Holder, make_escrow, open_share
from medfed.encoding import digest_of, encode
from medfed.identifiers import Digest, Name, StudyId, sha256
from medfed.ledger.contracts.agreement import Attest
from medfed.ledger.contracts.deadlines import Advance, due_at
from medfed.ledger.contracts.keying import ComplainAboutPair, Enrol, KeysReady, SealPairSecrets
from medfed.ledger.contracts.membership import ProposeParticipant, ReplaceKeys, Role, RotateKeys, key_proof_message
from medfed.ledger.contracts.reveals import OpenedShare, PairSeed, RevealSeeds, RevealShares, Seeds, escrow_context
from medfed.ledger.contracts.rounds import Round, current_round, dropped_of, escrow_threshold, holders_of
from medfed.ledger.contracts.studies import ApproveStudy, ProposeStudy, SealedSecret, Study, proposal_digest
from medfed.ledger.contracts.studies import study_record as read_study
from medfed.ledger.contracts.survivors import ConfirmSurvivors, ReportMissing, confirmation
from medfed.ledger.contracts.terms import Deadlines, RewardPolicy, Step, Terms
from medfed.ledger.contracts.updates import SubmitUpdate
from medfed.ledger.engine import Clock, Engine, Sealer, StateView
from medfed.ledger.engines.embedded import EmbeddedEngine
from medfed.ledger.engines.memory import MemoryEngine
from medfed.ledger.genesis import Founder, Genesis, Policy, found
from medfed.ledger.transaction import Anchor, Body, SignedTransaction, Transaction, sign
from medfed.ledger.transition import Receipt, anchor_of, next_sequence

START_MS = 1_700_000_000_000
FOUR: tuple[Name, ...] = ("alpha", "beta", "delta", "gamma")
SEVEN: tuple[Name, ...] = ("alpha", "beta", "delta", "epsilon", "eta", "gamma", "zeta")
OTHERS: Mapping[Name, Role] = {"organiser": "organiser", "auditor": "auditor", "user": "user", "server": "aggregator"}
STUDY: StudyId = b"a study for test"
INITIAL: Digest = sha256(b"initial learning state")
SECOND = 1_000
PHASE_MS = 60 * SECOND
DAY = 24 * 3600 * SECOND


def seed_of(name: str, generation: int = 0) -> bytes:
    """The signing seed of a participant's key of some generation."""
    return sha256(b"ledger world signing seed" + encode((name, generation)))


@cache
def key_of(name: str, generation: int = 0) -> SigningKey:
    """The signing key of a participant; the first has generation 0."""
    return SigningKey.from_seed(seed_of(name, generation))


def sealing_key_of(name: str, generation: int = 0) -> bytes:
    """1,216 bytes: contracts cannot tell whether somebody has the private part."""
    return seeded_entropy(b"sealing" + encode((name, generation)))(1216)


def founder(name: Name, role: Role, consortium: Name = "test") -> Founder:
    """A founder's entry with the seeded keys."""
    return found(consortium, name, role, key_of(name), sealing_key_of(name))


def make_genesis(hospitals: Iterable[Name] = FOUR, policy: Policy | None = None, consortium: str = "test") -> Genesis:
    """Hospitals, and one participant of every other role."""
    founders = [founder(name, "hospital", consortium) for name in hospitals]
    founders += [founder(name, role, consortium) for name, role in OTHERS.items()]
    founders.sort(key=lambda entry: entry.name)
    return Genesis(consortium, START_MS, tuple(founders), policy or Policy())


def sealer(name: Name, generation: int = 0) -> Sealer:
    """Somebody who seals with its seeded key."""
    return Sealer(name, seed_of(name, generation))


def embedded(path: Path) -> Callable[[Genesis, Clock, Sealer], Engine]:
    """What `World.build` takes to begin its ledger in a file."""

    def make(genesis: Genesis, clock: Clock, by: Sealer) -> Engine:
        return EmbeddedEngine.create(path, genesis, clock, by)

    return make


class HandClock:
    """Milliseconds that only the test moves, in either direction."""

    def __init__(self) -> None:
        self.now_ms = START_MS

    def __call__(self) -> int:
        return self.now_ms


@dataclass
class World:
    """An engine, its clock, and everybody's keys."""

    engine: Engine
    clock: HandClock
    generations: dict[Name, int] = field(default_factory=dict[Name, int])
    """Whose keys were changed, and how often."""

    @staticmethod
    def build(
        hospitals: Iterable[Name] = FOUR,
        *,
        policy: Policy | None = None,
        make: Callable[[Genesis, Clock, Sealer], Engine] = MemoryEngine,
        consortium: str = "test",
        sealed_by: Name = "organiser",
    ) -> World:
        """A new ledger."""
        clock = HandClock()
        return World(make(make_genesis(hospitals, policy, consortium), clock, sealer(sealed_by)), clock)

    @property
    def view(self) -> StateView:
        """The newest state."""
        return self.engine.view()

    def key(self, name: Name) -> SigningKey:
        """The key that the ledger knows for `name` now."""
        return key_of(name, self.generations.get(name, 0))

    def sign(
        self, who: Name, body: Body, *, ahead: int = 0, sequence: int | None = None, seen: Anchor | None = None
    ) -> SignedTransaction:
        """The transaction that `who` would send now; `ahead` of its next sequence, for batches."""
        view = self.view
        number = next_sequence(view, who) + ahead if sequence is None else sequence
        return sign(Transaction(view.chain, who, number, seen or anchor_of(view.tip), body), self.key(who))

    def send(self, who: Name, body: Body) -> Receipt:
        """Sign and submit."""
        return self.engine.submit(self.sign(who, body))[0]

    def accept(self, who: Name, *bodies: Body) -> None:
        """Sign and submit; every body must be accepted."""
        for body in bodies:
            receipt = self.send(who, body)
            assert receipt.accepted, f"{who}, {type(body).__name__}: {receipt.code}: {receipt.message}"

    def refuse(self, who: Name, body: Body) -> str:
        """Sign and submit; the contract must refuse, and nothing but the sender's sequence may change. The code."""
        before = self.view
        receipt = self.send(who, body)
        after = self.view
        assert receipt.height is not None, f"it entered no block: {receipt.code}"
        assert receipt.code, f"{who}, {type(body).__name__} was accepted"
        assert receipt.message
        assert next_sequence(after, who) == next_sequence(before, who) + 1
        assert changed_tables(before, after) <= {b"sequence", b"block"}
        return receipt.code

    def new_keys(self, name: Name, generation: int) -> RotateKeys:
        """A change of keys with its proof."""
        signing, sealing = key_of(name, generation), sealing_key_of(name, generation)
        message = key_proof_message(self.view.chain, name, signing.public, sealing)
        return RotateKeys(signing.public, sealing, signing.sign(message))

    def replacement(self, name: Name, generation: int) -> ReplaceKeys:
        """What others send to replace lost keys."""
        keys = self.new_keys(name, generation)
        return ReplaceKeys(name, keys.signing_key, keys.sealing_key, keys.proof)

    def candidate(self, name: Name, role: Role = "hospital", generation: int = 0) -> ProposeParticipant:
        """A proposal of a new participant, with its proof."""
        keys = self.new_keys(name, generation)
        return ProposeParticipant(name, role, keys.signing_key, keys.sealing_key, "", keys.proof)


def changed_tables(before: StateView, after: StateView) -> set[bytes]:
    """The names of the tables that differ."""
    old, new = before.state.items(), after.state.items()
    return {key.partition(b"/")[0] for key in old.keys() | new.keys() if old.get(key) != new.get(key)}


def make_terms(
    names: Iterable[Name] = FOUR,
    *,
    quorum: int | None = None,
    steps: Sequence[Step] = (Step("statistics"), Step("training", 2), Step("evaluation")),
    max_attempts: int | None = None,
    plan: bytes = b"\x90",
    study_ms: int = 20 * DAY,
    rewards: RewardPolicy | None = None,
) -> Terms:
    """Terms with the least quorum and phases of a minute."""
    invited = tuple(sorted(names))
    return Terms(
        plan=digest_of("medfed/plan", Raw(plan)),
        invited=invited,
        steps=tuple(steps),
        quorum=quorum or max(3, 2 * len(invited) // 3 + 1),
        min_examples=50,
        max_examples=1_000,
        max_attempts=max_attempts or len(invited),
        initial=INITIAL,
        deadlines=Deadlines(*([PHASE_MS] * 6), study=study_ms),
        rewards=rewards or RewardPolicy(),
    )


class StudyWorld:
    """One study, driven by hand."""

    def __init__(self, world: World, terms: Terms | None = None, study: StudyId = STUDY) -> None:
        self.world = world
        self.study = study
        self.terms = terms or make_terms()
        self.plan = b"\x90"
        self.names = self.terms.invited

    @property
    def record(self) -> Study:
        """Where the study stands."""
        found = read_study(self.world.view, self.study)
        assert found is not None
        return found

    @property
    def round(self) -> Round:
        """The current round."""
        found = current_round(self.world.view, self.record)
        assert found is not None
        return found

    def proposal(self) -> ProposeStudy:
        return ProposeStudy(self.study, self.terms, self.plan)

    def approval(self) -> ApproveStudy:
        return ApproveStudy(self.study, proposal_digest(self.study, self.terms, self.plan))

    def enrolment(self, who: Name, examples: int = 250) -> Enrol:
        return Enrol(self.study, examples, sha256(b"schema"), sha256(who.encode()), sealing_key_of(who, 99))

    def pair_secrets(self, who: Name) -> SealPairSecrets:
        entries = tuple(SealedSecret(other, b"sealed") for other in self.record.enrolled if other > who)
        return SealPairSecrets(self.study, entries)

    def update(self, who: Name, *, base: Digest | None = None, accepts: bool = True, blob: bytes = b"") -> SubmitUpdate:
        now = self.round
        content = blob or encode(("blob", who, now.number, now.attempt))
        commitment = sha256(self.self_seed(who))
        start = base or self.outcome
        return SubmitUpdate(self.study, now.number, now.attempt, start, accepts, sha256(content), 4, commitment)

    @property
    def outcome(self) -> Digest:
        """The base that honest hospitals name now."""
        record = self.record
        return record.base or sha256(encode(("outcome of round", record.base_round)))

    def self_seed(self, who: Name) -> bytes:
        now = self.round
        return sha256(encode(("self seed", who, now.number, now.attempt)))

    def seeds(self, who: Name) -> Seeds:
        now = self.round
        dropped = dropped_of(self.record, now, who)
        return Seeds(
            self.self_seed(who),
            tuple(PairSeed(name, sha256(encode(("pair", sorted((who, name)), now.number)))) for name in dropped),
        )

    def escrow_context(self, who: Name) -> bytes:
        now = self.round
        return escrow_context(self.world.view.chain, self.study, now.number, now.attempt, who)

    def confirmation(
        self, who: Name, *, contents: bytes | None = None, threshold: int | None = None
    ) -> ConfirmSurvivors:
        """A confirmation with a real escrow of the true seeds, or of `contents`."""
        record, now = self.record, self.round
        holders = tuple(
            Holder(name, record.roster.index(name) + 1, self.share_key(who, name)) for name in holders_of(record, who)
        )
        escrow = make_escrow(
            contents if contents is not None else encode(self.seeds(who)),
            threshold or escrow_threshold(record, who),
            holders,
            self.escrow_context(who),
            seeded_entropy(encode((who, now.number, now.attempt))),
        )
        digest = now.survivors_digest or bytes(32)
        return ConfirmSurvivors(self.study, now.number, now.attempt, digest, escrow.ciphertext, escrow.shares)

    @staticmethod
    def share_key(owner: Name, holder: Name) -> bytes:
        return sha256(encode(("share key", owner, holder)))

    def missing(self, *who: Name) -> ReportMissing:
        now = self.round
        return ReportMissing(self.study, now.number, now.attempt, who)

    def reveal(self, who: Name) -> RevealSeeds:
        now, mine = self.round, self.seeds(who)
        return RevealSeeds(self.study, now.number, now.attempt, mine.self_seed, mine.pair_seeds)

    def shares(self, holder: Name, *owners: Name) -> RevealShares:
        """`holder`'s shares, opened from the confirmations on the ledger."""
        now = self.round
        opened = tuple(OpenedShare(owner, self._open(holder, owner)) for owner in owners)
        return RevealShares(self.study, now.number, now.attempt, opened)

    def attestation(self, *, base: Digest | None = None, accepts: bool = True, stop: bool = False) -> Attest:
        return Attest(self.study, self.record.base_round, base or self.outcome, accepts, stop)

    def _open(self, holder: Name, owner: Name) -> bytes:
        now = self.round
        posted = confirmation(self.world.view, self.study, now.number, now.attempt, owner)
        assert posted is not None
        share = next((entry for entry in posted.shares if entry.holder == holder), None)
        assert share is not None
        return open_share(self.share_key(owner, holder), share, self.escrow_context(owner))

    def advance(self, who: Name = "user") -> None:
        """Let the present phase's deadline pass, and say so."""
        due = due_at(self.world.view, self.record)
        assert due is not None
        self.world.clock.now_ms = max(self.world.clock.now_ms, due + 1)
        self.world.accept(who, Advance(self.study))

    def to_enrolling(self) -> StudyWorld:
        self.world.accept("organiser", self.proposal())
        for name in self.names:
            self.world.accept(name, self.approval())
        return self

    def to_sealing(self) -> StudyWorld:
        self.to_enrolling()
        for name in self.names:
            self.world.accept(name, self.enrolment(name))
        return self

    def to_confirming(self) -> StudyWorld:
        self.to_sealing()
        for name in self.names:
            self.world.accept(name, self.pair_secrets(name))
        return self

    def to_running(self, *complaints: tuple[Name, Name]) -> StudyWorld:
        """With complaints (by whom, about whom) before all are ready."""
        self.to_confirming()
        for by, about in complaints:
            self.world.accept(by, ComplainAboutPair(self.study, about))
        for name in self.names:
            self.world.accept(name, KeysReady(self.study))
        return self

    def update_all(self, *, without: Iterable[Name] = ()) -> StudyWorld:
        """Everybody on the roster submits; where some are left out, the deadline passes."""
        silent = set(without)
        for name in self.round.roster:
            if name not in silent:
                self.world.accept(name, self.update(name))
        if silent:
            self.advance()
        return self

    def confirm_all(self, *, without: Iterable[Name] = ()) -> StudyWorld:
        for name in self.round.survivors:
            if name not in set(without):
                self.world.accept(name, self.confirmation(name))
        return self

    def reveal_all(self, *, without: Iterable[Name] = ()) -> StudyWorld:
        for name in self.round.survivors:
            if name not in set(without):
                self.world.accept(name, self.reveal(name))
        return self

    def run_round(self, *, without: Iterable[Name] = ()) -> StudyWorld:
        return self.update_all(without=without).confirm_all().reveal_all()

    def to_agreeing(self) -> StudyWorld:
        """From running to the end of the last round."""
        while self.record.phase == "running":
            self.run_round()
        assert self.record.phase == "agreeing"
        return self

    def to_completed(self) -> StudyWorld:
        """From agreeing on."""
        outcome = self.attestation()
        for name in self.record.base_voters[: len(self.record.base_voters) // 2 + 1]:
            self.world.accept(name, outcome)
        assert self.record.phase == "completed"
        return self
