from __future__ import annotations

import pytest

from medfed.alignment.blinding import elements_of
from medfed.alignment.inputs import (
    LEAST_LENGTH,
    MAX_ENTRIES,
    inputs_commitment,
    normalise,
    padded_length,
    prepare_list,
    run_domain,
)
from medfed.crypto import hash_to_element, is_element, multiply, new_scalar, seeded_entropy
from medfed.errors import InvalidInput

CHAIN = bytes(32)
DOMAIN = run_domain(CHAIN, bytes(16), "signatures", bytes(32))


def test_entries_are_listed_once_and_in_order() -> None:
    assert normalise([b"b", b"a", b"b"]) == (b"a", b"b")


@pytest.mark.parametrize("entry", [b"", b"x" * 4097])
def test_entries_of_another_length_are_refused(entry: bytes) -> None:
    with pytest.raises(InvalidInput, match="1 to 4096"):
        normalise([entry])


def test_a_padded_length_is_at_most_a_fifth_more_than_the_count() -> None:
    for count in [*range(LEAST_LENGTH, 3_000), 10_000, 123_456, MAX_ENTRIES]:
        assert count <= padded_length(count) <= 1.2 * count + 1


def test_neighbouring_counts_share_a_length() -> None:
    lengths = {padded_length(count) for count in range(10_000)}
    assert len(lengths) < 50
    assert padded_length(0) == padded_length(LEAST_LENGTH) == LEAST_LENGTH


@pytest.mark.parametrize("count", [-1, MAX_ENTRIES + 1])
def test_a_count_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(InvalidInput, match="expected 0 to"):
        padded_length(count)


def test_every_entry_stands_where_its_position_says_and_the_rest_is_padding() -> None:
    entropy = seeded_entropy(b"list")
    scalar = new_scalar(entropy)
    entries = normalise([b"entry %d" % n for n in range(30)])
    prepared = prepare_list(entries, 40, DOMAIN, scalar, entropy)
    listed = elements_of(prepared.elements)
    assert len(listed) == len(set(listed)) == 40
    assert all(is_element(element) for element in listed)
    assert [listed[at] for at in prepared.positions] == [
        multiply(scalar, hash_to_element(entry, DOMAIN)) for entry in entries
    ]


def test_the_order_of_a_list_tells_nothing_of_the_order_of_the_entries() -> None:
    """Every position is about equally often that of the first entry (chi-square over 16 positions)."""
    entropy = seeded_entropy(b"order")
    scalar = new_scalar(entropy)
    entries = (b"a", b"b")
    counts = [0] * 16
    for _ in range(800):
        counts[prepare_list(entries, 16, DOMAIN, scalar, entropy).positions[0]] += 1
    chi_square = sum((count - 50) ** 2 / 50 for count in counts)
    assert chi_square < 37.7  # 0.1 % point for 15 degrees of freedom


def test_more_entries_than_the_length_are_refused() -> None:
    entropy = seeded_entropy(b"many")
    with pytest.raises(InvalidInput, match="2 entries do not fit into 1"):
        prepare_list((b"a", b"b"), 1, DOMAIN, new_scalar(entropy), entropy)


def test_another_run_or_question_hashes_the_same_entry_elsewhere() -> None:
    domains = {
        DOMAIN,
        run_domain(b"\1" * 32, bytes(16), "signatures", bytes(32)),
        run_domain(CHAIN, b"\1" * 16, "signatures", bytes(32)),
        run_domain(CHAIN, bytes(16), "patients", bytes(32)),
        run_domain(CHAIN, bytes(16), "signatures", b"\1" * 32),
    }
    assert len(domains) == 5
    assert len({hash_to_element(b"entry", domain) for domain in domains}) == 5


def test_the_commitment_binds_the_entries_and_the_salt() -> None:
    salt, other = bytes(32), b"\1" * 32
    assert inputs_commitment(salt, (b"a",)) == inputs_commitment(salt, (b"a",))
    assert len({inputs_commitment(s, e) for s in (salt, other) for e in ((b"a",), (b"a", b"b"), (b"ab",))}) == 6
