"""The application as CometBFT drives it: repeatable, writing only in Commit, and voting against what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.support.abci import Driver
from tests.support.ledger import FOUR, START_MS, key_of, make_genesis

from medfed.errors import InvalidInput, Tampered
from medfed.ledger.block import Block, seal_block
from medfed.ledger.contracts.membership import ChangeAddress, Leave, ProposeRemoval
from medfed.ledger.engines.cometbft.application import MAX_DRIFT_MS
from medfed.ledger.engines.cometbft.batches import encode_batches
from medfed.ledger.engines.cometbft.configuration import chain_id
from medfed.ledger.engines.cometbft.messages import (
    RECHECK,
    Empty,
    InitChainRequest,
    PublicKey,
    QueryRequest,
    Request,
    Text,
    ValidatorUpdate,
)
from medfed.ledger.engines.cometbft.proposal import decode_entries, encode_entries
from medfed.ledger.engines.cometbft.validators import POWER
from medfed.ledger.genesis import Policy
from medfed.ledger.transition import prepare_block
from medfed.ledger.verify import verify_store


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Driver]:
    driver = Driver(tmp_path / "alpha")
    yield driver
    driver.replica.close()


def founders() -> tuple[ValidatorUpdate, ...]:
    return tuple(ValidatorUpdate(PublicKey(key_of(name).public), POWER) for name in FOUR)


def test_it_answers_what_needs_no_state(node: Driver) -> None:
    answer = node.application.answer
    assert answer(Request(echo=Text("hello"))).echo == Text("hello")
    assert answer(Request(flush=Empty())).flush == Empty()
    offered = answer(Request(offer_snapshot=Empty())).offer_snapshot
    assert offered is not None
    assert offered.result == 3, "a snapshot was accepted"
    assert answer(Request(list_snapshots=Empty())).list_snapshots == Empty()
    with pytest.raises(InvalidInput, match="none of the kinds"):
        answer(Request())


def test_before_the_first_block_it_is_at_height_0(node: Driver) -> None:
    assert (node.info().last_block_height, node.info().last_block_app_hash) == (0, b"")


def test_the_genesis_of_cometbft_must_be_the_ledgers(node: Driver) -> None:
    good = InitChainRequest(None, chain_id(node.genesis), founders())
    for _ in range(2):
        response = node.application.answer(Request(init_chain=good)).init_chain
        assert response is not None
        assert response.app_hash == node.genesis.digest
    for bad in (
        InitChainRequest(None, "another", founders()),
        InitChainRequest(None, good.chain_id, founders()[1:]),
        InitChainRequest(None, good.chain_id, (*founders(), founders()[0])),
        InitChainRequest(None, good.chain_id, (ValidatorUpdate(founders()[0].pub_key, 11), *founders()[1:])),
        InitChainRequest(None, good.chain_id, (ValidatorUpdate(None, POWER), *founders()[1:])),
    ):
        with pytest.raises(InvalidInput, match="genesis"):
            node.application.answer(Request(init_chain=bad))


def test_a_ledger_with_blocks_refuses_to_begin_again(node: Driver) -> None:
    entries = node.propose(node.sign("beta", ChangeAddress("host:1")))
    node.finalize(entries)
    node.commit()
    with pytest.raises(Tampered, match="another's"):
        node.application.answer(Request(init_chain=InitChainRequest(None, chain_id(node.genesis), founders())))


def test_nothing_is_written_before_commit_and_everything_in_it(node: Driver) -> None:
    entries = node.propose(node.sign("beta", ChangeAddress("host:1")))
    assert node.accepts(entries)
    first = node.finalize(entries)
    assert verify_store(node.path).blocks == 0
    assert node.finalize(entries) == first, "it is not repeatable"
    node.commit()
    found = verify_store(node.path)
    assert (found.blocks, found.tip.block) == (1, first.app_hash)
    node.reopen()
    assert (node.info().last_block_height, node.info().last_block_app_hash) == (1, first.app_hash)


def test_a_restart_between_finalising_and_committing_gives_the_same_block_again(node: Driver) -> None:
    entries = node.propose(node.sign("beta", ChangeAddress("host:1")))
    first = node.finalize(entries)
    node.reopen()
    assert node.finalize(entries) == first
    node.commit()
    assert node.replica.now()[1].block == first.app_hash


def test_an_empty_block_makes_no_block_and_writes_nothing(node: Driver) -> None:
    before = node.path.read_bytes()
    for height in (1, 2, 3):
        assert node.propose(height=height) == ()
        assert node.accepts((), height=height)
        assert node.finalize((), height=height).app_hash == node.genesis.digest
        node.commit()
    assert node.path.read_bytes() == before
    entries = node.propose(node.sign("beta", ChangeAddress("host:1")), height=4)
    node.finalize(entries, height=4)
    node.commit()
    tip = node.replica.now()[1]
    node.finalize((), height=5)
    node.commit()
    assert node.replica.now()[1] == tip
    assert node.info().last_block_height == 4


def test_a_refused_transaction_has_a_code_in_the_results(node: Driver) -> None:
    entries = node.propose(node.sign("beta", ProposeRemoval("nobody")), node.sign("gamma", ChangeAddress("h:1")))
    assert [result.code for result in node.finalize(entries).tx_results] == [0, 1, 0]


def test_one_who_leaves_votes_no_more_and_the_last_one_cannot_take_the_vote_away(node: Driver) -> None:
    entries = node.propose(node.sign("beta", Leave()))
    updates = node.finalize(entries).validator_updates
    assert updates == (ValidatorUpdate(PublicKey(key_of("beta").public), 0),)


def test_a_follower_proposes_nothing(tmp_path: Path) -> None:
    follower = Driver(tmp_path / "follower", None)
    assert follower.propose(follower.sign("beta", ChangeAddress("host:1"))) == ()
    follower.replica.close()


def test_one_whose_keys_have_changed_proposes_nothing(node: Driver) -> None:
    entries = node.propose(node.sign("alpha", Leave()))
    node.finalize(entries)
    node.commit()
    assert node.propose(node.sign("beta", ChangeAddress("host:1")), height=2) == ()


def test_a_proposal_is_made_anew_for_another_height(node: Driver) -> None:
    signed = node.sign("beta", ChangeAddress("host:1"))
    stale = node.propose(signed, height=1)
    assert not node.accepts(stale, height=2)
    with pytest.raises(Tampered, match="another height"):
        node.finalize(stale, height=2)
    assert node.accepts(node.propose(signed, height=2), height=2)


def test_a_proposal_takes_no_more_bytes_than_there_are(node: Driver) -> None:
    batch = [node.sign("beta", ChangeAddress(f"host:{number}"), ahead=number) for number in range(50)]
    for most in (0, 2_000, 5_000, 1 << 20):
        entries = node.propose(*batch, most=most)
        assert sum(len(entry) + 6 for entry in entries) <= most
    assert len(entries) == 51


class TestOthersProposals:
    """What another validator proposes, seen by beta."""

    @pytest.fixture
    def other(self, tmp_path: Path) -> Iterator[Driver]:
        driver = Driver(tmp_path / "beta", "beta")
        yield driver
        driver.replica.close()

    @pytest.fixture
    def block(self, node: Driver) -> Block:
        found = decode_entries(node.propose(node.sign("gamma", ChangeAddress("host:1"))))
        assert found is not None
        return found

    def test_a_good_one_is_accepted(self, other: Driver, block: Block) -> None:
        assert other.accepts(encode_entries(block))

    def test_one_that_somebody_else_proposes_is_refused(self, other: Driver, block: Block) -> None:
        assert not other.accepts(encode_entries(block), by="gamma")

    def test_one_with_a_changed_header_or_seal_is_refused(self, other: Driver, block: Block) -> None:
        for changed in (
            replace(block, header=replace(block.header, time_ms=block.header.time_ms + 1)),
            replace(block, header=replace(block.header, state_digest=bytes(32))),
            replace(block, header=replace(block.header, proposer="beta")),
            replace(block, seal=seal_block(block.header, key_of("beta"), 0)),
        ):
            assert not other.accepts(encode_entries(changed))

    def test_one_with_a_gap_or_a_stranger_or_twice_the_same_is_refused(self, node: Driver, other: Driver) -> None:
        first, gap = (node.sign("gamma", ChangeAddress(f"host:{ahead}"), ahead=ahead) for ahead in (0, 2))
        state, tip = node.replica.now()
        header, taken, _, _ = prepare_block(node.genesis, state, tip, [first], START_MS, "alpha", 1)
        for transactions in ((*taken, gap.to_bytes()), (*taken, *taken), (*taken, b"x" * 100)):
            forged = Block(header, seal_block(header, key_of("alpha"), 0), transactions)
            assert not other.accepts(encode_entries(forged))

    def test_one_from_the_future_is_refused_until_its_time_has_come(self, node: Driver, other: Driver) -> None:
        node.clock.now_ms += MAX_DRIFT_MS + 1
        entries = node.propose(node.sign("gamma", ChangeAddress("host:1")))
        assert not other.accepts(entries)
        other.clock.now_ms += 1
        assert other.accepts(entries)
        other.clock.now_ms += 10**9
        assert other.accepts(entries), "what was good once is good for ever"

    def test_what_is_no_block_at_all_is_refused(self, other: Driver, block: Block) -> None:
        whole = encode_entries(block)
        for entries in (whole[:1], whole[1:], (b"", b""), (whole[0] + b"x", *whole[1:]), (whole[0][:-1], *whole[1:])):
            assert not other.accepts(entries)
            with pytest.raises((InvalidInput, Tampered)):
                other.finalize(entries)

    def test_what_was_only_proposed_leaves_no_trace(self, node: Driver, other: Driver) -> None:
        one = node.propose(node.sign("gamma", ChangeAddress("host:1")))
        two = node.propose(node.sign("gamma", ChangeAddress("host:2")))
        assert other.accepts(one)
        assert other.accepts(two)
        assert other.finalize(one).app_hash != other.finalize(two).app_hash
        other.commit()
        assert list(other.replica.readings.blocks()) == [decode_entries(two)]


class TestThePool:
    """What CheckTx keeps."""

    def entry(self, node: Driver, ahead: int = 0) -> bytes:
        (entry,) = encode_batches([node.sign("beta", ChangeAddress("host:1"), ahead=ahead)])
        return entry

    def test_what_has_just_arrived_may_be_a_little_ahead(self, node: Driver) -> None:
        assert [node.check(self.entry(node, ahead)) for ahead in (0, 1, 63, 64)] == [0, 0, 0, 1]

    def test_what_a_block_has_left_must_be_next(self, node: Driver) -> None:
        assert [node.check(self.entry(node, ahead), RECHECK) for ahead in (0, 1)] == [0, 1]

    def test_what_is_on_the_ledger_leaves_the_pool(self, node: Driver) -> None:
        signed = node.sign("beta", ChangeAddress("host:1"))
        (entry,) = encode_batches([signed])
        node.finalize(node.propose(signed))
        node.commit()
        assert [node.check(entry), node.check(entry, RECHECK)] == [1, 1]

    def test_a_batch_stays_while_a_part_of_it_may_enter(self, node: Driver) -> None:
        one, two = (node.sign("beta", ChangeAddress(f"host:{ahead}"), ahead=ahead) for ahead in (0, 1))
        (entry,) = encode_batches([one, two])
        node.finalize(node.propose(one))
        node.commit()
        assert node.check(entry, RECHECK) == 0

    @pytest.mark.parametrize(
        "entry", [b"", b"x", b"medfed/batch/1\0", b"medfed/batch/1\0\x92\x90\x00", b"\0" * 600_000]
    )
    def test_junk_is_refused(self, node: Driver, entry: bytes) -> None:
        assert node.check(entry) == 2

    def test_a_forged_signature_and_another_chain_are_refused(self, node: Driver, tmp_path: Path) -> None:
        signed = node.sign("beta", ChangeAddress("host:1"))
        forged = replace(signed, signature=bytes(64))
        elsewhere = Driver(tmp_path / "other", genesis=make_genesis(policy=Policy(sender_quota=9)))
        foreign = elsewhere.sign("beta", ChangeAddress("host:1"))
        elsewhere.replica.close()
        for bad in (forged, foreign):
            assert node.check(encode_batches([bad])[0]) == 1


def test_a_query_reads_the_state(node: Driver) -> None:
    state, _ = node.replica.now()
    key, value = next(iter(state.items().items()))
    found = node.application.answer(Request(query=QueryRequest(key))).query
    assert found is not None
    assert (found.code, found.value) == (0, value)
    absent = node.application.answer(Request(query=QueryRequest(b"nothing"))).query
    assert absent is not None
    assert absent.code == 1
