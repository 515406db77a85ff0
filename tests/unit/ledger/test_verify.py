"""Whatever is changed in a ledger is found, and the message says where."""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.support.ledger import (
    FOUR,
    HandClock,
    StudyWorld,
    World,
    embedded,
    key_of,
    make_genesis,
    make_terms,
    sealer,
)

from medfed.encoding import decode, encode
from medfed.errors import InvalidInput, MedFedError, Tampered
from medfed.identifiers import Digest, sha256
from medfed.ledger.block import Block, Header, Seal, seal_block, transactions_root
from medfed.ledger.contracts.membership import ChangeAddress, Leave, ProposeRemoval
from medfed.ledger.contracts.terms import Step
from medfed.ledger.engines.memory import MemoryEngine
from medfed.ledger.genesis import Genesis, Policy
from medfed.ledger.store import LedgerStore
from medfed.ledger.transaction import Anchor, SignedTransaction, Transaction, sign
from medfed.ledger.transition import Receipt, anchor_of, genesis_tip, next_sequence, prepare_block
from medfed.ledger.verify import Verification, verify_ledger, verify_store

WHERE = re.compile(r"block \d+|genesis|state at block \d+|index")
"""What every message of a damaged ledger names."""
COLUMNS = ("id", "header", "seal", "transactions", "receipts")


def fill(world: World) -> StudyWorld:
    """A few dozen transactions, refused ones among them, and a block of several."""
    study = StudyWorld(world, make_terms(steps=(Step("training"),)))
    world.refuse("alpha", ProposeRemoval("nobody"))
    world.engine.submit(*(world.sign(name, ChangeAddress(f"host:{name}")) for name in FOUR))
    world.accept("organiser", study.proposal())
    for name in FOUR:
        world.accept(name, study.approval())
    return study


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Genesis, list[Block]]:
    """A small ledger file that was closed cleanly; tests work on copies."""
    path = tmp_path_factory.mktemp("pristine") / "ledger.db"
    world = World.build(make=embedded(path))
    fill(world)
    blocks = list(world.engine.blocks())
    world.engine.close()
    return path, world.engine.genesis, blocks


@pytest.fixture
def file(pristine: tuple[Path, Genesis, list[Block]], tmp_path: Path) -> Path:
    """A copy of the small ledger's file."""
    return Path(shutil.copy(pristine[0], tmp_path / "ledger.db"))


@pytest.fixture
def genesis(pristine: tuple[Path, Genesis, list[Block]]) -> Genesis:
    return pristine[1]


@pytest.fixture
def blocks(pristine: tuple[Path, Genesis, list[Block]]) -> list[Block]:
    return list(pristine[2])


def change(file: Path, statement: str, *parameters: object) -> int:
    connection = sqlite3.connect(file)
    with connection:
        changed = connection.execute(statement, parameters).rowcount
    connection.close()
    return changed


def rows(file: Path, statement: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(file)
    found = connection.execute(statement).fetchall()
    connection.close()
    return found


def flipped(data: bytes, bit: int) -> bytes:
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


def tampered(file: Path, expected: str | None = None, **given: object) -> str:
    with pytest.raises(Tampered) as caught:
        verify_store(file, **given)  # type: ignore[arg-type]
    message = str(caught.value)
    assert WHERE.search(message), message
    if expected is not None:
        assert expected in message
    return message


def test_an_untouched_file_is_valid_and_counted(file: Path, genesis: Genesis, blocks: list[Block]) -> None:
    found = verify_store(file, genesis.digest, Anchor(blocks[-1].header.height, blocks[-1].header.id))
    assert (found.chain, found.blocks, found.refused) == (genesis.digest, len(blocks), 1)
    assert found.transactions == sum(len(block.transactions) for block in blocks)
    assert found.tip.block == blocks[-1].header.id


def test_progress_names_every_height(file: Path, blocks: list[Block]) -> None:
    seen: list[int] = []
    verify_store(file, progress=seen.append)
    assert seen == list(range(1, len(blocks) + 1))


def test_progress_names_every_height_of_a_list_of_blocks(genesis: Genesis, blocks: list[Block]) -> None:
    seen: list[int] = []
    verify_ledger(genesis, blocks, progress=seen.append)
    assert seen == list(range(1, len(blocks) + 1))


@pytest.mark.parametrize("damaged", [False, True])
def test_verifying_changes_not_a_byte_and_leaves_nothing_open(
    file: Path, damaged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    if damaged:
        change(file, "DELETE FROM block WHERE height = 2")
    before, closed = file.read_bytes(), []
    close = LedgerStore.close
    monkeypatch.setattr(LedgerStore, "close", lambda store: closed.append(store) or close(store))
    with pytest.raises(Tampered) if damaged else nullcontext():
        verify_store(file)
    assert len(closed) == 1
    assert file.read_bytes() == before
    assert sorted(path.name for path in file.parent.iterdir()) == [file.name]


def test_a_ledger_of_no_blocks_is_valid() -> None:
    genesis = make_genesis()
    found, state = verify_ledger(genesis, ())
    assert found.tip == genesis_tip(genesis)[1]
    assert state.items() == genesis_tip(genesis)[0].items()


# One bit


class Target:
    """One stored column of one block, and how to put something else in its place."""

    def __init__(self, file: Path) -> None:
        self._connection = sqlite3.connect(file)
        self._path = file

    def columns(self) -> Iterator[tuple[int, str, bytes]]:
        for column in COLUMNS:
            for height, data in self._connection.execute(f"SELECT height, {column} FROM block ORDER BY height"):
                yield height, column, data

    def put(self, height: int, column: str, data: bytes) -> None:
        with self._connection:
            self._connection.execute(f"UPDATE block SET {column} = ? WHERE height = ?", (data, height))

    def close(self) -> None:
        self._connection.close()


def sweep(file: Path, choose: Callable[[int, random.Random], list[int]]) -> int:
    """Flip bits one at a time, and put each back; every flip must be found at its height. How many were flipped."""
    target, rng, count = Target(file), random.Random(6962), 0
    for height, column, data in list(target.columns()):
        for bit in choose(len(data), rng):
            target.put(height, column, flipped(data, bit))
            with pytest.raises(Tampered) as caught:
                verify_store(file)
            assert f"block {height}" in str(caught.value), f"{column}, bit {bit}: {caught.value}"
            count += 1
        target.put(height, column, data)
    target.close()
    verify_store(file)
    return count


def test_a_flipped_bit_in_any_column_of_any_block_is_found_at_its_height(file: Path) -> None:
    assert sweep(file, lambda size, rng: [8 * rng.randrange(size) + rng.randrange(8) for _ in range(4)]) > 100


@pytest.mark.slow
def test_a_flipped_bit_at_every_byte_of_every_block_is_found_at_its_height(tmp_path: Path) -> None:
    path = tmp_path / "small.db"
    world = World.build(FOUR[:3], make=embedded(path))
    world.refuse("alpha", ProposeRemoval("nobody"))
    world.engine.submit(*(world.sign(name, ChangeAddress(f"host:{name}")) for name in FOUR[:3]))
    world.engine.close()
    assert sweep(path, lambda size, rng: [8 * n + rng.randrange(8) for n in range(size)]) > 1_000


def test_a_flipped_bit_in_the_genesis_is_found(file: Path, genesis: Genesis) -> None:
    rng, data = random.Random(1), encode(genesis)
    for _ in range(40):
        bit = rng.randrange(8 * len(data))
        change(file, "UPDATE genesis SET bytes = ?", flipped(data, bit))
        with pytest.raises(Tampered) as caught:
            verify_store(file, genesis.digest)
        assert "genesis" in str(caught.value)


# Blocks as a whole


def verify_fails(genesis: Genesis, blocks: list[Block], expected: str, **given: object) -> None:
    with pytest.raises(Tampered, match=re.escape(expected)):
        verify_ledger(genesis, blocks, **given)  # type: ignore[arg-type]


def test_two_blocks_that_changed_places_are_found(genesis: Genesis, blocks: list[Block]) -> None:
    for n in range(len(blocks) - 1):
        swapped = [*blocks[:n], blocks[n + 1], blocks[n], *blocks[n + 2 :]]
        verify_fails(genesis, swapped, f"block {n + 1}: it does not follow")


def test_a_dropped_block_is_found(genesis: Genesis, blocks: list[Block]) -> None:
    for n in range(len(blocks) - 1):
        verify_fails(genesis, [*blocks[:n], *blocks[n + 1 :]], f"block {n + 1}: it does not follow")


def test_a_repeated_block_is_found(genesis: Genesis, blocks: list[Block]) -> None:
    for n in range(len(blocks)):
        verify_fails(genesis, [*blocks[: n + 1], *blocks[n:]], f"block {n + 2}: it does not follow")


def test_a_block_of_another_ledger_is_found(genesis: Genesis, blocks: list[Block]) -> None:
    other = World.build(consortium="elsewhere")
    fill(other)
    verify_fails(genesis, [blocks[0], *list(other.engine.blocks())[1:]], "block 2: it belongs to another ledger")


def test_transactions_added_dropped_or_moved_within_a_block_are_found(genesis: Genesis, blocks: list[Block]) -> None:
    at = next(n for n, block in enumerate(blocks) if len(block.transactions) > 1)
    taken = blocks[at].transactions
    for other in (
        taken[1:],
        taken[:-1],
        tuple(reversed(taken)),
        (*taken, taken[0]),
        (*taken, blocks[0].transactions[0]),
    ):
        changed = [*blocks[:at], replace(blocks[at], transactions=other), *blocks[at + 1 :]]
        verify_fails(genesis, changed, f"block {at + 1}: the transactions are not those")


def test_a_block_without_transactions_is_found(genesis: Genesis, blocks: list[Block]) -> None:
    verify_fails(genesis, [replace(blocks[0], transactions=())], "block 1")


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("chain", "it belongs to another ledger"),
        ("height", "it does not follow block 2"),
        ("previous", "it does not follow block 2"),
        ("time_ms", "time goes backwards"),
        ("proposer", "do not lead to the state that the header commits to"),
        ("transactions_root", "are not those that the header commits to"),
        ("state_digest", "do not lead to the state that the header commits to"),
    ],
)
def test_every_field_of_a_header_is_checked_even_if_it_is_sealed_anew(
    genesis: Genesis, blocks: list[Block], field: str, expected: str
) -> None:
    """By the proposer itself, who has the key: what it cannot do is make the replay agree."""
    header = blocks[2].header
    other: dict[str, object] = {
        "chain": sha256(b"x"),
        "height": 7,
        "previous": sha256(b"x"),
        "time_ms": header.time_ms - 1,
        "proposer": "alpha",
        "transactions_root": sha256(b"x"),
        "state_digest": sha256(b"x"),
    }
    changed = replace(header, **{field: other[field]})
    key = key_of("alpha") if field == "proposer" else key_of("organiser")
    forged = Block(changed, seal_block(changed, key, 0), blocks[2].transactions)
    with pytest.raises(Tampered, match=f"block 3: .*{expected}"):
        verify_ledger(genesis, [*blocks[:2], forged, *blocks[3:]])


def test_a_block_of_a_proposer_who_is_nobody_or_has_left_is_found() -> None:
    world = World.build()
    world.accept("user", Leave())
    world.accept("alpha", ChangeAddress("host:1"))
    first, second = world.engine.blocks()
    for name in ("user", "nobody"):
        header = replace(second.header, proposer=name)
        forged = Block(header, seal_block(header, key_of(name), 0), second.transactions)
        expected = f"block 2: its proposer {name} is not an active participant"
        verify_fails(world.engine.genesis, [first, forged], expected)


@pytest.mark.parametrize(
    "seal",
    [Seal(), Seal(bytes(64)), Seal(b"\1" * 64), Seal(b"", 5)],
    ids=["none", "zeros", "ones", "a nonce"],
)
def test_a_seal_that_is_not_the_proposers_is_found(genesis: Genesis, blocks: list[Block], seal: Seal) -> None:
    verify_fails(genesis, [replace(blocks[0], seal=seal)], "block 1: the seal is not that of organiser")


def test_another_participants_seal_is_found(genesis: Genesis, blocks: list[Block]) -> None:
    seal = seal_block(blocks[0].header, key_of("alpha"), 0)
    verify_fails(genesis, [replace(blocks[0], seal=seal)], "block 1: the seal is not that of organiser")


def test_a_nonce_where_no_work_is_asked_for_is_found(genesis: Genesis, blocks: list[Block]) -> None:
    seal = replace(blocks[0].seal, nonce=1)
    verify_fails(genesis, [replace(blocks[0], seal=seal)], "block 1: it carries a nonce")


def test_a_seal_where_the_policy_asks_for_none_is_found() -> None:
    world = World.build(policy=Policy(seal="none"))
    world.accept("alpha", ChangeAddress("host:1"))
    (block,) = world.engine.blocks()
    sealed = replace(block, seal=seal_block(block.header, key_of("organiser"), 0))
    verify_fails(world.engine.genesis, [sealed], "block 1: it carries a seal")


def test_too_little_work_is_found() -> None:
    world = World.build(policy=Policy(difficulty=12))
    world.accept("alpha", ChangeAddress("host:1"))
    (block,) = world.engine.blocks()
    lazy = replace(block, seal=replace(block.seal, nonce=block.seal.nonce - 1))
    verify_fails(world.engine.genesis, [lazy], "block 1: the seal's work")


# Transactions as a whole: the block is made anew around them, by a proposer who has its key


def forge(genesis: Genesis, blocks: list[Block], *transactions: SignedTransaction) -> list[Block]:
    """The blocks and one more, sealed by the organiser, that holds `transactions` whatever they are."""
    _, state = verify_ledger(genesis, blocks)
    tip = verify_ledger(genesis, blocks)[0].tip
    header, _, _, _ = prepare_block(genesis, state, tip, list(transactions), tip.time_ms, "organiser")
    wires = tuple(signed.to_bytes() for signed in transactions)
    header = replace(header, transactions_root=transactions_root(wires))
    return [*blocks, Block(header, seal_block(header, key_of("organiser"), 0), wires)]


def transaction(genesis: Genesis, blocks: list[Block], **fields: object) -> SignedTransaction:
    found, state = verify_ledger(genesis, blocks)
    given = {
        "chain": genesis.digest,
        "sender": "alpha",
        "sequence": next_sequence(state, "alpha"),
        "seen": anchor_of(found.tip),
        "body": ChangeAddress("host:forged"),
        **fields,
    }
    return sign(Transaction(**given), key_of("alpha"))  # type: ignore[arg-type]


def test_a_block_that_is_made_by_the_rules_is_valid(genesis: Genesis, blocks: list[Block]) -> None:
    verify_ledger(genesis, forge(genesis, blocks, transaction(genesis, blocks)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"chain": bytes(32)}, "signed for another ledger"),
        ({"sender": "omega"}, "omega is not an active participant"),
        ({"sender": "beta"}, "the signature is not that of beta"),
        ({"sequence": 0}, "sequence 0 where"),
        ({"sequence": 99}, "sequence 99 where"),
        ({"seen": Anchor(1, bytes(32))}, "not on this chain"),
        ({"seen": Anchor(999, bytes(32))}, "not on this chain"),
    ],
)
def test_an_inadmissible_transaction_is_named_with_its_height_and_place(
    genesis: Genesis, blocks: list[Block], fields: dict[str, object], message: str
) -> None:
    good = transaction(genesis, blocks)
    bad = transaction(genesis, blocks, **({"sequence": good.transaction.sequence + 1} | fields))
    with pytest.raises(Tampered, match=rf"block {len(blocks) + 1}, transaction 1: .*{message}"):
        verify_ledger(genesis, forge(genesis, blocks, good, bad))


def test_a_transaction_whose_signature_was_exchanged_is_named(genesis: Genesis, blocks: list[Block]) -> None:
    """The Merkle root covers the payloads; the signatures are checked one by one."""
    good = transaction(genesis, blocks)
    bad = replace(good, signature=key_of("beta").sign(b"something"))
    verify_fails(genesis, forge(genesis, blocks, bad), f"block {len(blocks) + 1}, transaction 0: the signature")


def test_bytes_that_are_no_transaction_are_named(genesis: Genesis, blocks: list[Block]) -> None:
    good = transaction(genesis, blocks)
    for payload in (b"", b"\xc1", good.payload + b"\0", good.payload[:-1]):
        bad = replace(good, payload=payload)
        verify_fails(genesis, forge(genesis, blocks, bad), f"block {len(blocks) + 1}, transaction 0: ")


def test_more_transactions_than_the_policy_allows_are_found() -> None:
    world = World.build(policy=Policy(max_block_transactions=2, sender_quota=1))
    genesis = world.engine.genesis
    three = [world.sign(name, ChangeAddress("x")) for name in FOUR[:3]]
    verify_fails(genesis, forge(genesis, [], *three), "block 1, transaction 2: the block is full")
    two = [world.sign("alpha", ChangeAddress("x"), ahead=n) for n in range(2)]
    verify_fails(genesis, forge(genesis, [], *two), "block 1, transaction 1: the sender's share")


# The genesis


def test_another_genesis_is_found(genesis: Genesis, blocks: list[Block], file: Path) -> None:
    other = make_genesis(consortium="elsewhere")
    verify_fails(genesis, blocks, "genesis: expected", expected_genesis=other.digest)
    verify_fails(other, blocks, "block 1: it belongs to another ledger")
    change(file, "UPDATE genesis SET bytes = ?", encode(other))
    tampered(file, "block 1: it belongs to another ledger")
    tampered(file, "genesis: expected", expected_genesis=genesis.digest)


def test_a_genesis_with_a_forged_founder_is_found(genesis: Genesis) -> None:
    forged = replace(genesis.founders[0], role="hospital", sealing_key=bytes(1216))
    verify_fails(replace(genesis, founders=(forged, *genesis.founders[1:])), [], "genesis: the key proof")


def test_a_missing_genesis_is_found(file: Path) -> None:
    change(file, "DELETE FROM genesis")
    tampered(file, "genesis is missing")


# Rewritten history


def rewritten(blocks: list[Block], genesis: Genesis, at: int, body: ChangeAddress) -> MemoryEngine:
    """An operator who has the sealer's key and alpha's makes another block `at`, and replays what follows."""
    engine = MemoryEngine(genesis, HandClock(), sealer("organiser"))
    for block in blocks[: at - 1]:
        engine.submit(*(SignedTransaction.from_bytes(wire) for wire in block.transactions))
    view = engine.view()
    sequence = next_sequence(view, "alpha")
    forged = sign(Transaction(view.chain, "alpha", sequence, anchor_of(view.tip), body), key_of("alpha"))
    assert engine.submit(forged)[0].accepted
    return engine


def test_after_a_rewritten_block_nobody_elses_later_transaction_enters_any_more(
    genesis: Genesis, blocks: list[Block]
) -> None:
    """Each later sender has signed what it had seen: the operator would need all their keys again."""
    engine = rewritten(blocks, genesis, 3, ChangeAddress("host:forged"))
    later = [SignedTransaction.from_bytes(wire) for block in blocks[4:] for wire in block.transactions]
    receipts = engine.submit(*later)
    assert later
    assert {receipt.code for receipt in receipts} == {"stale-seen"}


def test_a_rewritten_history_is_valid_by_itself_and_found_by_whoever_has_seen_another(
    genesis: Genesis, blocks: list[Block]
) -> None:
    engine = rewritten(blocks, genesis, 3, ChangeAddress("host:forged"))
    other = list(engine.blocks())
    verify_ledger(genesis, other)
    seen = blocks[2].header
    verify_fails(
        genesis, other, "block 3: it is not the block that was seen", expected_tip=Anchor(seen.height, seen.id)
    )


def test_a_shortened_history_is_valid_by_itself_and_found_by_whoever_has_seen_more(
    genesis: Genesis, blocks: list[Block]
) -> None:
    last = blocks[-1].header
    for length in range(len(blocks)):
        verify_ledger(genesis, blocks[:length])
        verify_fails(
            genesis,
            blocks[:length],
            f"block {length + 1}: the ledger ends before it; block {last.height} has been seen",
            expected_tip=Anchor(last.height, last.id),
        )


def test_a_seen_genesis_is_part_of_every_history_of_that_genesis(genesis: Genesis, blocks: list[Block]) -> None:
    verify_ledger(genesis, blocks, expected_tip=Anchor(0, genesis.digest))
    verify_fails(genesis, blocks, "block 0", expected_tip=Anchor(0, sha256(b"another")))


# The other tables of a file


def test_a_block_row_that_is_missing_is_found(file: Path, blocks: list[Block]) -> None:
    for height in range(1, len(blocks)):
        copy = Path(shutil.copy(file, file.with_name(f"{height}.db")))
        change(copy, "DELETE FROM block WHERE height = ?", height)
        tampered(copy, f"block {height}: it is missing")


def test_rows_cut_from_the_end_leave_a_state_that_tells(file: Path, blocks: list[Block]) -> None:
    change(file, "DELETE FROM block WHERE height > 3")
    tampered(file, "index: 4 entries")
    change(file, "DELETE FROM located WHERE height > 3")
    tampered(file, "state at block 3")


def test_rows_cut_from_every_table_are_found_by_whoever_has_seen_more(
    file: Path, genesis: Genesis, blocks: list[Block]
) -> None:
    _, state = verify_ledger(genesis, blocks[:3])
    change(file, "DELETE FROM block WHERE height > 3")
    change(file, "DELETE FROM located WHERE height > 3")
    change(file, "DELETE FROM state")
    for key, value in state.items().items():
        change(file, "INSERT INTO state VALUES (?, ?)", key, value)
    assert verify_store(file).blocks == 3
    last = blocks[-1].header
    tampered(file, "block 4: the ledger ends before it", expected_tip=Anchor(last.height, last.id))


def test_rows_that_changed_heights_are_found(file: Path) -> None:
    change(file, "UPDATE block SET height = 1000 WHERE height = 2")
    change(file, "UPDATE block SET height = 2 WHERE height = 3")
    change(file, "UPDATE block SET height = 3 WHERE height = 1000")
    tampered(file, "block 2: it does not follow")


def test_a_row_before_the_first_block_is_found(file: Path) -> None:
    change(file, "INSERT INTO block SELECT 0, id, header, seal, transactions, receipts FROM block WHERE height = 1")
    tampered(file, "block 1")


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("value", [b"", b"\xc1", "text", 7], ids=["empty", "no MessagePack", "text", "a number"])
def test_a_column_of_another_kind_is_found(file: Path, column: str, value: object) -> None:
    change(file, f"UPDATE block SET {column} = ? WHERE height = 2", value)
    tampered(file, "block 2")


def test_changed_receipts_are_found(file: Path) -> None:
    (stored,) = rows(file, "SELECT receipts FROM block WHERE height = 1")
    (receipt,) = decode(bytes(stored[0]), list[Receipt])  # type: ignore[arg-type]
    assert receipt.code == "not-active"
    other = "block 1, transaction 0: the stored receipt is not what the replay gives"
    wrong: tuple[tuple[list[Receipt], str], ...] = (
        ([replace(receipt, code="", message="")], other),
        ([replace(receipt, message="another sentence")], other),
        ([replace(receipt, height=2)], other),
        ([], "block 1: 0 receipts for 1 transactions"),
        ([receipt, receipt], "block 1: 2 receipts for 1 transactions"),
    )
    for receipts, expected in wrong:
        change(file, "UPDATE block SET receipts = ? WHERE height = 1", encode(receipts))
        tampered(file, expected)


def test_an_entry_of_the_state_that_was_changed_added_or_removed_is_found(file: Path) -> None:
    for key, value in random.Random(3).sample(rows(file, "SELECT key, value FROM state"), 12):
        table = bytes(key).partition(b"/")[0].decode()  # type: ignore[arg-type]
        change(file, "UPDATE state SET value = ? WHERE key = ?", flipped(bytes(value), 5), key)  # type: ignore[arg-type]
        tampered(file, f"table {table}")
        change(file, "DELETE FROM state WHERE key = ?", key)
        tampered(file, f"table {table}")
        change(file, "INSERT INTO state VALUES (?, ?)", key, value)
    change(file, "INSERT INTO state VALUES (?, ?)", b"points/\x91\xa5alpha", encode(1_000_000))
    tampered(file, "table points")


def test_an_index_that_was_changed_is_found(file: Path) -> None:
    """From it a sender learns what became of its transaction."""
    for statement in (
        "UPDATE located SET place = place + 1 WHERE height = 2",
        "UPDATE located SET height = 3 WHERE height = 2",
        "DELETE FROM located WHERE height = 3",
        "INSERT INTO located VALUES (x'00', 1, 0)",
    ):
        copy = Path(shutil.copy(file, file.with_name("copy.db")))
        assert change(copy, statement)
        tampered(copy, "index")
        copy.unlink()


def test_a_file_that_is_written_to_meanwhile_is_verified_as_of_one_moment(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    world = World.build(make=embedded(path))
    fill(world)
    height = world.view.tip.height

    def go_on(_: int) -> None:
        world.accept("alpha", ChangeAddress(f"host:{world.view.tip.height}"))

    found = verify_store(path, progress=go_on)
    assert (found.blocks, world.view.tip.height) == (height, 2 * height)
    assert verify_store(path).blocks == 2 * height


# The file itself


def verify_fails_cleanly(path: Path) -> MedFedError:
    """Whatever is wrong with a file, it is one of our errors with one line, never a traceback of something else."""
    with pytest.raises(MedFedError) as caught:
        verify_store(path)
    assert str(path) in str(caught.value) or WHERE.search(str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_file_that_was_cut_off_is_never_valid(file: Path) -> None:
    whole = file.read_bytes()
    for cut in sorted({0, 1, 15, 16, 99, 100, 512, *range(4096, len(whole), 4096), len(whole) - 1}):
        if cut < len(whole):
            file.write_bytes(whole[:cut])
            error = verify_fails_cleanly(file)
            assert isinstance(error, Tampered | InvalidInput), f"cut at {cut}: {error!r}"


def outcome(file: Path) -> Verification | MedFedError:
    try:
        return verify_store(file)
    except MedFedError as error:
        return error


def test_damage_to_the_pages_of_a_file_is_found_or_changes_nothing(file: Path) -> None:
    """A byte may lie where nothing is stored; then the very same ledger is read. Never an alien error."""
    whole, rng, valid = file.read_bytes(), random.Random(4096), verify_store(file)
    found = 0
    for _ in range(150):
        at = rng.randrange(len(whole))
        file.write_bytes(whole[:at] + bytes([whole[at] ^ rng.randrange(1, 256)]) + whole[at + 1 :])
        result = outcome(file)
        assert result == valid or (isinstance(result, MedFedError) and "\n" not in str(result)), f"byte {at}: {result}"
        found += result != valid
    assert found > 25


def test_a_page_of_zeros_is_found_or_changes_nothing(file: Path) -> None:
    whole, valid = file.read_bytes(), verify_store(file)
    found = 0
    for start in range(0, len(whole), 4096):
        file.write_bytes(whole[:start] + bytes(4096) + whole[start + 4096 :])
        result = outcome(file)
        assert result == valid or isinstance(result, Tampered | InvalidInput), f"page {start // 4096}: {result!r}"
        found += result != valid
    assert found > len(whole) // 4096 // 2


def test_an_expected_tip_that_lies_in_the_middle_is_enough(genesis: Genesis, blocks: list[Block]) -> None:
    header: Header = blocks[1].header
    found, _ = verify_ledger(genesis, blocks, genesis.digest, Anchor(2, header.id))
    assert found.blocks == len(blocks)
    other: Digest = sha256(b"another block")
    verify_fails(genesis, blocks, "block 2", expected_tip=Anchor(2, other))
