"""The contracts, fed with any body that decodes, in every state of a study's life: each answers with a receipt.

A contract that raised anything but a refusal would stop the ledger for everybody, so here even our own errors are
failures. What follows must find the state in order too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

from tests.fuzz.target import Target
from tests.fuzz.targets_encoding import seeds_of
from tests.support.ledger import FOUR, StudyWorld, World, make_terms

from medfed.encoding import Record, decode, encode
from medfed.errors import MedFedError
from medfed.identifiers import Digest, sha256
from medfed.ledger.block import Block
from medfed.ledger.contracts.context import BlockContext
from medfed.ledger.contracts.deadlines import ResumeStudy, due_at
from medfed.ledger.contracts.membership import active_hospitals, participants
from medfed.ledger.contracts.registry import RegisterArtefact, artefacts
from medfed.ledger.contracts.rounds import current_round
from medfed.ledger.contracts.studies import proposed_plan, studies, study_record
from medfed.ledger.contracts.terms import Step
from medfed.ledger.genesis import Genesis
from medfed.ledger.state import Overlay, State, writes_digest
from medfed.ledger.transaction import Body, SignedTransaction, Transaction
from medfed.ledger.transition import Tip, anchor_of, apply_transaction, next_sequence
from medfed.ledger.verify import Replay

SENDERS = (*FOUR, "organiser", "auditor", "user", "server")
_FOLLOWING = 4


class Moment(NamedTuple):
    """A state of the story, and the transactions that follow in it."""

    genesis: Genesis
    state: State
    tip: Tip
    following: tuple[SignedTransaction, ...]
    block: Block | None
    """The story's next."""

    @property
    def chain(self) -> Digest:
        return self.genesis.digest


@cache
def moments() -> tuple[Moment, ...]:
    """Two studies from proposal to end: with a member that drops out and escrowed shares that open its escrow, with an
    attempt that fails, with a pause and a vote to go on."""
    return (*_moments(_dropping()), *_moments(_pausing()))


def _dropping() -> World:
    world = World.build(FOUR)
    study = StudyWorld(world, make_terms(steps=(Step("statistics"), Step("training", 2)))).to_running()
    study.update_all().confirm_all().reveal_all(without=["alpha"])
    study.advance()
    for name in ("beta", "delta", "gamma"):
        if study.round.number == 0:
            world.accept(name, study.shares(name, "alpha"))
    study.run_round(without=["delta"]).to_agreeing().to_completed()
    world.accept("alpha", RegisterArtefact(sha256(b"model"), "model", sha256(b"card"), study.study))
    return world


def _pausing() -> World:
    world = World.build(FOUR)
    study = StudyWorld(world, make_terms(steps=(Step("training", 4), Step("evaluation")))).to_running().run_round()
    study.update_all().confirm_all(without=["delta"]).advance()
    outcome = study.outcome
    for number, name in enumerate(study.round.roster):
        world.accept(name, study.update(name, base=outcome if number else sha256(b"wrong")))
    while study.record.phase == "running":
        study.advance()
    for name in study.names[: study.terms.quorum]:
        if study.record.phase == "paused":
            world.accept(name, ResumeStudy(study.study))
    return world


def _moments(world: World) -> list[Moment]:
    genesis, blocks = world.engine.genesis, list(world.engine.blocks())
    wires = [SignedTransaction.from_bytes(wire) for block in blocks for wire in block.transactions]
    replay = Replay(genesis, None)
    made: list[Moment] = []
    for number, block in enumerate([*blocks, None]):
        made.append(Moment(genesis, replay.state, replay.tip, tuple(wires[number : number + _FOLLOWING]), block))
        if block is not None:
            replay.apply(block)
    return made


def contract(data: bytes, folder: Path) -> None:
    """A state and a sender as one byte each, then a body."""
    moment = moments()[data[0] % len(moments())] if data else moments()[0]
    sender = SENDERS[data[1] % len(SENDERS)] if len(data) > 1 else SENDERS[0]
    body = cast(Body, decode(data[2:], cast("type[Any]", Body)))
    try:
        _apply(moment, sender, body)
    except MedFedError as error:
        raise AssertionError(f"{type(body).__name__} raised {type(error).__name__}: {error}") from error


def _apply(moment: Moment, sender: str, body: Body) -> None:
    overlay = Overlay(moment.state)
    signed = _signed(moment, overlay, sender, body)
    receipt = apply_transaction(overlay, signed, _context(moment), 0)
    if not receipt.accepted:
        assert receipt.message
        assert {key.partition(b"/")[0] for key in overlay.writes} == {b"sequence"}, "a refusal changed the state"
    assert encode(receipt)
    for number, honest in enumerate(moment.following, 1):
        again = _signed(moment, overlay, honest.transaction.sender, honest.transaction.body)
        apply_transaction(overlay, again, _context(moment), number)
    _read_everything(moment.state.with_writes(overlay.writes))
    assert len(writes_digest(overlay.writes)) == 32


def _signed(moment: Moment, overlay: Overlay, sender: str, body: Body) -> SignedTransaction:
    """Contracts run behind the check of signatures, so none is made."""
    transaction = Transaction(moment.chain, sender, next_sequence(overlay, sender), anchor_of(moment.tip), body)
    return SignedTransaction(bytes(64), encode(transaction), transaction)


def _context(moment: Moment) -> BlockContext:
    return BlockContext(moment.chain, moment.tip.height + 1, moment.tip.time_ms + 1_000, "organiser", 1)


def _read_everything(state: State) -> None:
    """What agents and commands read off the ledger."""
    assert participants(state)
    active_hospitals(state)
    artefacts(state)
    for identifier in studies(state):
        record = study_record(state, identifier)
        assert record is not None
        due_at(state, record)
        current_round(state, record)
        proposed_plan(state, identifier)


def _seeds() -> Sequence[bytes]:
    """The story's own transactions, each in its own state, and a made-up body of every kind."""
    own: dict[type, bytes] = {}
    for number, moment in enumerate(moments()):
        if not moment.following:
            continue
        body = moment.following[0].transaction.body
        sender = SENDERS.index(moment.following[0].transaction.sender)
        own.setdefault(type(body), bytes([number, sender]) + encode(body))
    kinds: Sequence[type[Record]] = get_args(Body)
    made = [bytes([7 * at % len(moments()), at % len(SENDERS)]) + seeds_of(f"{kind.__module__}.{kind.__qualname__}")[0]
            for at, kind in enumerate(kinds)]  # fmt: skip
    return [*own.values(), *made]


TARGETS = (Target("contract", contract, _seeds, "msgpack", offset=2, keep=False),)
