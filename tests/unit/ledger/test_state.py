"""The state is a map that never changes under a reader; an overlay's writes are merged or dropped."""

from __future__ import annotations

import random

import pytest

from medfed.encoding import encode
from medfed.errors import Tampered
from medfed.identifiers import sha256
from medfed.ledger.state import Overlay, State, Table, writes_digest

NUMBERS: Table[int] = Table("number", int)


@pytest.mark.parametrize("slash", [b"", b"/"], ids=["each key its own table", "ten tables"])
def test_a_state_behaves_like_a_dictionary_through_many_writes(slash: bytes) -> None:
    """Beyond the number of writes after which it folds what is recent into what is large."""
    rng, state, oracle = random.Random(5), State(), dict[bytes, bytes]()
    older: list[tuple[State, dict[bytes, bytes]]] = []

    def key_of(number: int) -> bytes:
        return b"k%d" % (number // 50 if slash else number) + slash + b"%d" % (number % 50)

    for step in range(60):
        writes: dict[bytes, bytes | None] = {}
        for _ in range(rng.randrange(200)):
            key = key_of(rng.randrange(500))
            writes[key] = None if rng.random() < 0.3 else b"v%d" % rng.randrange(1000)
        state = state.with_writes(writes)
        for key, value in writes.items():
            oracle.pop(key, None)
            if value is not None:
                oracle[key] = value
        assert state.items() == oracle
        for prefix in (b"k1", b"k1" + slash, b"k12" + slash, key_of(12), b"k", b"l/"):
            assert list(state.scan(prefix)) == sorted((k, v) for k, v in oracle.items() if k.startswith(prefix))
        assert [key for key, _ in state.scan(b"")] == sorted(oracle)
        assert all(state.get(key_of(n)) == oracle.get(key_of(n)) for n in range(0, 500, 7))
        older.append((state, dict(oracle)))
        if step % 10 == 0:
            assert all(kept.items() == expected for kept, expected in older)


def test_no_writes_give_the_same_state() -> None:
    state = State({b"a": b"1"})
    assert state.with_writes({}) is state


def test_an_overlay_hides_what_is_under_it_until_it_is_merged() -> None:
    outer = Overlay(State({b"a": b"1", b"b": b"2"}))
    inner = Overlay(outer)
    inner.put(b"a", b"9")
    inner.delete(b"b")
    inner.put(b"c", b"3")
    assert [inner.get(key) for key in (b"a", b"b", b"c")] == [b"9", None, b"3"]
    assert list(inner.scan(b"")) == [(b"a", b"9"), (b"c", b"3")]
    assert list(outer.scan(b"")) == [(b"a", b"1"), (b"b", b"2")]
    outer.merge(inner)
    assert list(outer.scan(b"")) == [(b"a", b"9"), (b"c", b"3")]
    assert outer.writes == {b"a": b"9", b"b": None, b"c": b"3"}


def test_a_table_reads_what_it_has_written_and_lists_its_rows() -> None:
    overlay = Overlay(State())
    NUMBERS.put(overlay, 1, "x", 7)
    NUMBERS.put(overlay, 2, "y", b"bytes")
    NUMBERS.put(overlay, 3, "z", 0)
    NUMBERS.delete(overlay, "z", 0)
    assert (NUMBERS.get(overlay, "x", 7), NUMBERS.get(overlay, "z", 0), NUMBERS.get(overlay, "x")) == (1, None, None)
    assert NUMBERS.rows(overlay) == [(("x", 7), 1), (("y", b"bytes"), 2)]


def test_tables_whose_names_begin_alike_do_not_meet() -> None:
    overlay = Overlay(State())
    longer: Table[int] = Table("number-of", int)
    longer.put(overlay, 5, "x")
    NUMBERS.put(overlay, 6, "x")
    assert NUMBERS.rows(overlay) == [(("x",), 6)]
    assert longer.rows(overlay) == [(("x",), 5)]


def test_keys_of_different_parts_never_meet() -> None:
    parts: list[tuple[str | bytes | int, ...]] = [
        ("a", "b"), ("ab",), ("a", b"b"), (b"a", "b"), ("a",), (), (1,), ("1",), (b"1",), (1, 2), (12,),
    ]  # fmt: skip
    assert len({NUMBERS.key(*key) for key in parts}) == len(parts)


def test_a_stored_record_that_does_not_decode_is_tampered() -> None:
    state = State({NUMBERS.key("x"): encode("text")})
    with pytest.raises(Tampered, match="state table number"):
        NUMBERS.get(state, "x")


def test_the_digest_of_writes_covers_keys_values_and_tombstones_and_no_order() -> None:
    writes: dict[bytes, bytes | None] = {b"a": b"1", b"b": None}
    assert writes_digest(writes) == sha256(encode([(b"a", b"1"), (b"b", None)]))
    assert writes_digest(dict(reversed(writes.items()))) == writes_digest(writes)
    others: list[dict[bytes, bytes | None]] = [{}, {b"a": b"1"}, {b"a": b"1", b"b": b""}, {b"a": None, b"b": b"1"}]
    assert len({writes_digest(other) for other in [writes, *others]}) == 5


def test_a_record_read_twice_is_decoded_once_and_a_dictionary_is_each_readers_own() -> None:
    names: Table[tuple[str, ...]] = Table("names", tuple[str, ...])
    shares: Table[dict[str, int]] = Table("shares-of", dict[str, int])
    overlay = Overlay(State())
    names.put(overlay, ("alpha", "beta"), 1)
    shares.put(overlay, {"alpha": 1}, 1)
    assert names.get(overlay, 1) is names.get(overlay, 1)
    (mine := shares.get(overlay, 1) or {})["beta"] = 2
    assert mine == {"alpha": 1, "beta": 2}
    assert shares.get(overlay, 1) == {"alpha": 1}


def test_a_changed_entry_is_read_anew() -> None:
    names: Table[tuple[str, ...]] = Table("names", tuple[str, ...])
    overlay = Overlay(State())
    for value in (("alpha",), ("beta",), ("alpha",)):
        names.put(overlay, value, 1)
        assert names.get(overlay, 1) == value
