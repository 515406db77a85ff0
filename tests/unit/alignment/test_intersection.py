from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfed.alignment.blinding import blind_list
from medfed.alignment.inputs import normalise, padded_length, prepare_list
from medfed.alignment.intersection import holders_of_entries, sizes
from medfed.crypto import new_scalar, seeded_entropy
from medfed.errors import InvalidInput


def fully_blinded(
    owned: dict[str, list[bytes]],
) -> tuple[dict[str, bytes], dict[str, tuple[tuple[bytes, ...], tuple[int, ...]]]]:
    """What a run of honest hospitals publishes last, and what each keeps to itself."""
    entropy = seeded_entropy(b"run")
    scalars = {name: new_scalar(entropy) for name in owned}
    lists, own = {}, {}
    for name, entries in owned.items():
        normal = normalise(entries)
        prepared = prepare_list(normal, padded_length(len(normal)), b"test", scalars[name], entropy)
        elements = prepared.elements
        for other in sorted(owned):
            if other != name:
                elements = blind_list(scalars[other], elements, padded_length(len(normal)), workers=1)
        lists[name], own[name] = elements, (normal, prepared.positions)
    return lists, own


ENTRIES = st.lists(st.sampled_from([b"entry %d" % n for n in range(10)]), max_size=8)


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 4).flatmap(lambda n: st.fixed_dictionaries(dict.fromkeys("abcd"[:n], ENTRIES))))
def test_it_finds_what_plain_sets_have_in_common_and_nothing_else(owned: dict[str, list[bytes]]) -> None:
    lists, own = fully_blinded(owned)
    for me, (entries, positions) in own.items():
        expected = [tuple(sorted(name for name in owned if entry in owned[name])) for entry in entries]
        assert holders_of_entries(lists, me, positions) == expected
    found = sizes(lists)
    for one, other, count in found.pairs:
        assert count == len(set(owned[one]) & set(owned[other]))
    every = {entry for entries in owned.values() for entry in entries}
    holders = [sum(entry in entries for entries in owned.values()) for entry in every]
    assert dict(found.by_holders) == {n: holders.count(n) for n in set(holders) if n > 1}


def test_everybody_computes_the_same_digest_of_the_sizes() -> None:
    lists, _ = fully_blinded({"b": [b"x", b"y"], "a": [b"x"]})
    assert sizes(lists).digest == sizes(dict(reversed(lists.items()))).digest
    assert sizes(lists).pairs == (("a", "b", 1),)


def test_a_position_outside_of_the_list_is_refused() -> None:
    lists, _ = fully_blinded({"a": [b"x"], "b": [b"x"]})
    with pytest.raises(InvalidInput, match="position outside"):
        holders_of_entries(lists, "a", [16])
