"""A ledger as one file: it comes back the same, or not at all."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.support.ledger import FOUR, HandClock, StudyWorld, World, embedded, make_genesis, make_terms, sealer

from medfed.encoding import encode
from medfed.errors import InvalidInput, MedFedError, Refused, Tampered, Unavailable
from medfed.ledger.archive import export_blocks, export_ledger, import_ledger, read_archive
from medfed.ledger.block import Block
from medfed.ledger.contracts.membership import ChangeAddress, ProposeRemoval
from medfed.ledger.contracts.terms import Step
from medfed.ledger.engines.embedded import EmbeddedEngine
from medfed.ledger.genesis import Genesis
from medfed.ledger.store import LedgerStore
from medfed.ledger.transaction import Anchor
from medfed.ledger.transition import Tip, genesis_tip
from medfed.ledger.verify import verify_ledger, verify_store

MAGIC = b"MEDFED-LEDGER-1\n"


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World.build(make=embedded(tmp_path / "ledger.db"))
    study = StudyWorld(world, make_terms(steps=(Step("training"),)))
    world.refuse("alpha", ProposeRemoval("nobody"))
    world.engine.submit(*(world.sign(name, ChangeAddress(f"host:{name}")) for name in FOUR))
    world.accept("organiser", study.proposal())
    return world


@pytest.fixture
def archive(world: World, tmp_path: Path) -> Path:
    path = tmp_path / "ledger.medfed"
    assert export_blocks(world.engine.genesis, world.engine.blocks(), path) == world.view.tip
    return path


def records(data: bytes) -> list[tuple[int, int]]:
    """Where each record with its length prefix begins and ends."""
    found, at = list[tuple[int, int]](), len(MAGIC)
    while at < len(data):
        end = at + 8 + int.from_bytes(data[at : at + 8], "big")
        found.append((at, end))
        at = end
    return found


def import_fails(archive: Path, *kinds: type[MedFedError], tip: Anchor | None = None) -> str:
    target = archive.with_name("imported.db")
    before = sorted(archive.parent.iterdir())
    with pytest.raises(MedFedError) as caught:
        import_ledger(archive, target, expected_tip=tip)
    assert isinstance(caught.value, kinds or (Tampered,)), repr(caught.value)
    assert sorted(archive.parent.iterdir()) == before, "something was left behind"
    return str(caught.value)


def test_what_was_exported_is_imported_the_same(world: World, archive: Path, tmp_path: Path) -> None:
    target = tmp_path / "imported.db"
    assert import_ledger(archive, target, world.engine.genesis.digest) == world.view.tip
    copy = EmbeddedEngine.open(target, HandClock(), sealer("alpha"))
    assert list(copy.blocks()) == list(world.engine.blocks())
    assert copy.view().state.items() == world.view.state.items()
    copy.close()
    assert verify_store(target) == verify_store(tmp_path / "ledger.db")
    again = tmp_path / "again.medfed"
    store = LedgerStore.open(target, read_only=True)
    assert export_ledger(store, again) == world.view.tip
    store.close()
    assert again.read_bytes() == archive.read_bytes()


def test_a_ledger_of_no_blocks_is_exported_and_imported(tmp_path: Path) -> None:
    genesis, path = make_genesis(), tmp_path / "empty.medfed"
    assert export_blocks(genesis, (), path) == genesis_tip(genesis)[1]
    assert import_ledger(path, tmp_path / "empty.db") == genesis_tip(genesis)[1]


def test_reading_gives_genesis_blocks_and_tip(world: World, archive: Path) -> None:
    genesis, blocks, tip = read_archive(archive)
    assert (genesis, tip) == (world.engine.genesis, world.view.tip)
    assert verify_ledger(genesis, blocks)[0].tip == tip


def test_an_export_never_overwrites(world: World, archive: Path) -> None:
    before = archive.read_bytes()
    with pytest.raises(Refused, match="exists"):
        export_blocks(world.engine.genesis, world.engine.blocks(), archive)
    assert archive.read_bytes() == before


@pytest.mark.parametrize(
    ("error", "kind"),
    [(Tampered("block 2: it does not decode"), Tampered), (OSError(28, "No space left on device"), Unavailable)],
    ids=["a damaged ledger", "a full disk"],
)
def test_an_export_that_fails_leaves_nothing_behind(
    world: World, tmp_path: Path, error: Exception, kind: type[MedFedError]
) -> None:
    def broken() -> Iterator[Block]:
        yield next(world.engine.blocks())
        raise error

    path = tmp_path / "broken.medfed"
    with pytest.raises(kind):
        export_blocks(world.engine.genesis, broken(), path)
    assert not path.exists()


def test_an_export_to_a_place_that_is_not_there_is_unavailable(world: World, tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        export_blocks(world.engine.genesis, (), tmp_path / "absent" / "ledger.medfed")


def test_an_import_never_overwrites(archive: Path, tmp_path: Path) -> None:
    target = tmp_path / "taken.db"
    target.write_bytes(b"something")
    with pytest.raises(Refused, match="exists"):
        import_ledger(archive, target)
    assert target.read_bytes() == b"something"


def test_another_ledger_than_the_expected_is_not_imported(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(Tampered, match="genesis: expected"):
        import_ledger(archive, tmp_path / "imported.db", make_genesis(consortium="elsewhere").digest)
    assert not (tmp_path / "imported.db").exists()


def test_an_archive_cut_at_any_record_is_not_imported(archive: Path) -> None:
    whole = archive.read_bytes()
    for start, end in records(whole):
        for cut in {start, start + 4, start + 8, (start + end) // 2, end - 1}:
            archive.write_bytes(whole[:cut])
            assert "cut short" in import_fails(archive) or cut == start


def test_an_archive_cut_at_any_byte_is_not_imported(archive: Path) -> None:
    whole, rng = archive.read_bytes(), random.Random(7)
    for cut in [*range(len(MAGIC) + 12), *(rng.randrange(len(whole)) for _ in range(60))]:
        archive.write_bytes(whole[:cut])
        import_fails(archive, Tampered, InvalidInput)


def test_an_archive_with_a_changed_byte_is_not_imported(archive: Path) -> None:
    whole, rng = archive.read_bytes(), random.Random(8)
    for at in [*range(len(MAGIC) + 8), *(rng.randrange(len(whole)) for _ in range(100))]:
        archive.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :])
        import_fails(archive, Tampered, InvalidInput)


def test_an_archive_with_bytes_after_the_end_is_not_imported(archive: Path) -> None:
    whole = archive.read_bytes()
    for more in (b"\0", bytes(8), b"trailing", whole[-60:], (1).to_bytes(8, "big") + b"\x90"):
        archive.write_bytes(whole + more)
        import_fails(archive)


def test_an_archive_with_a_length_beyond_all_bounds_is_not_read(archive: Path) -> None:
    whole = archive.read_bytes()
    for length in (2**30 + 1, 2**62, 2**64 - 1, 0):
        archive.write_bytes(whole[: len(MAGIC)] + length.to_bytes(8, "big") + whole[len(MAGIC) + 8 :])
        assert "cut short or damaged" in import_fails(archive)


def test_records_that_changed_places_were_dropped_or_doubled_are_not_imported(archive: Path) -> None:
    whole = archive.read_bytes()
    parts = [whole[start:end] for start, end in records(whole)]
    orders = [
        [0, 2, 1, *range(3, len(parts))],
        [0, *range(2, len(parts))],
        [0, 1, *range(1, len(parts))],
        [1, 0, *range(2, len(parts))],
        [0, 0, *range(1, len(parts))],
        [*range(len(parts)), len(parts) - 1],
    ]
    for order in orders:
        archive.write_bytes(MAGIC + b"".join(parts[n] for n in order))
        import_fails(archive)


def test_a_tip_that_the_blocks_do_not_lead_to_is_not_imported(archive: Path, world: World) -> None:
    whole = archive.read_bytes()
    start, _ = records(whole)[-1]
    tip = world.view.tip
    for wrong in (Tip(tip.height + 1, tip.block, tip.time_ms, tip.state_digest), genesis_tip(world.engine.genesis)[1]):
        data = encode(wrong)
        archive.write_bytes(whole[:start] + len(data).to_bytes(8, "big") + data)
        assert "declares block" in import_fails(archive)


def test_a_shortened_archive_with_a_fitting_tip_is_found_by_whoever_has_seen_more(world: World, tmp_path: Path) -> None:
    shorter = tmp_path / "shorter.medfed"
    blocks = list(world.engine.blocks())
    export_blocks(world.engine.genesis, blocks[:-1], shorter)
    message = import_fails(shorter, tip=Anchor(world.view.tip.height, world.view.tip.block))
    assert "has been seen" in message
    other = Anchor(1, world.view.tip.block)
    assert "not the block that was seen" in import_fails(shorter, tip=other)
    import_ledger(shorter, tmp_path / "imported.db", expected_tip=Anchor(1, blocks[0].header.id))


def test_what_is_no_archive_is_invalid_input(tmp_path: Path) -> None:
    path = tmp_path / "something"
    import_fails(path, InvalidInput)
    path.write_bytes(b"")
    import_fails(path, InvalidInput)
    path.write_bytes(b"MEDFED-LEDGER-2\n" + bytes(100))
    import_fails(path, InvalidInput)
    path.unlink()
    path.mkdir()
    import_fails(path, InvalidInput)


def test_a_genesis_with_a_forged_founder_is_not_imported(archive: Path) -> None:
    whole = archive.read_bytes()
    genesis, _, _ = read_archive(archive)
    founders = (replace(genesis.founders[0], sealing_key=bytes(1216)), *genesis.founders[1:])
    forged: Genesis = replace(genesis, founders=founders)
    data = encode(forged)
    rest = whole[records(whole)[0][1] :]
    archive.write_bytes(MAGIC + len(data).to_bytes(8, "big") + data + rest)
    assert "key proof" in import_fails(archive)
