"""The splitter gives the entries that a JSON parser gives, wherever the chunks are cut."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfed.errors import InvalidInput
from medfed.records.fhir.split import split_entries

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
texts = st.text(alphabet=st.sampled_from('ab"\\{}[],:é\n entry'), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)
objects = st.dictionaries(texts, values, max_size=4)


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@settings(max_examples=150, deadline=None)
@given(
    before=objects,
    entries=st.lists(objects, max_size=5),
    after=objects,
    size=st.integers(1, 40),
    indent=st.sampled_from([None, 2]),
)
def test_entries_are_those_of_a_parser(
    before: dict[str, object], entries: list[object], after: dict[str, object], size: int, indent: int | None
) -> None:
    document = {**{f"b{k}": v for k, v in before.items()}, "entry": entries, **{f"a{k}": v for k, v in after.items()}}
    data = json.dumps(document, indent=indent).encode()
    *pieces, rest = split_entries(chunks(data, size))
    assert [json.loads(piece.data) for piece in pieces] == entries
    assert json.loads(rest.data) == {**document, "entry": []}
    assert all(piece.is_element for piece in pieces)
    assert not rest.is_element


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=80), size=st.integers(1, 20))
def test_any_bytes_end_in_pieces_or_in_bad_input(data: bytes, size: int) -> None:
    try:
        pieces = list(split_entries(chunks(data, size)))
    except InvalidInput:
        return
    assert not pieces[-1].is_element


def test_only_the_top_level_entry_is_split() -> None:
    document = {"x": {"entry": [{"a": 1}]}, "entry": [{"entry": [{"b": 2}]}], "y": [["entry"]], "z": '"entry": ['}
    *pieces, rest = split_entries([orjson.dumps(document)])
    assert [orjson.loads(piece.data) for piece in pieces] == document["entry"]
    assert orjson.loads(rest.data) == {**document, "entry": []}


@pytest.mark.parametrize(
    "data",
    [b'{"entry":[{}', b'{"entry":[{} {}]}', b'{"entry":[,{}]}', b'{"entry":[{},]}', b'{"entry":[5]}',
     b'{"entry":[{}]]}',
     b'{"entry":["a",{}]}'],
)  # fmt: skip
def test_what_is_no_list_of_objects_is_bad_input(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="document"):
        list(split_entries([data]))


def test_an_element_larger_than_its_bound_is_refused_before_it_is_held() -> None:
    def endless() -> Iterator[bytes]:
        yield b'{"entry":[{"a":"'
        while True:
            yield b"x" * 1000

    with pytest.raises(InvalidInput, match="larger than 50000 bytes"):
        list(split_entries(endless(), 50_000))


def test_real_bundles_are_split_as_a_parser_splits_them() -> None:
    folder = DATA / "fhir_hl7_r4_examples"
    if not folder.exists():
        pytest.skip("fhir_hl7_r4_examples absent")
    for path in sorted(folder.glob("Bundle-*.json")):
        data = path.read_bytes()
        for size in (1 << 20, 997):
            *pieces, _ = split_entries(chunks(data, size))
            assert [orjson.loads(piece.data) for piece in pieces] == orjson.loads(data).get("entry", [])
