from __future__ import annotations

import itertools
from typing import Any

import pytest

from medfed.crypto import seeded_entropy
from medfed.encoding import decode, encode
from medfed.errors import InvalidInput
from medfed.secure_sum import (
    Attempt,
    Escrow,
    EscrowContents,
    is_share_of,
    make_escrow,
    open_escrow,
    open_share,
    share_key,
)

ATTEMPT = Attempt(bytes(32), bytes(16), 3, "training", 1)
NAMES = ("east", "north", "south", "west")
ENTROPY = seeded_entropy(b"escrow")
SECRETS = {name: ENTROPY(32) for name in NAMES}
INDEX = {name: i for i, name in enumerate(NAMES, start=2)}
CONTENTS = EscrowContents(ENTROPY(32), {"dropped-a": ENTROPY(32), "dropped-b": ENTROPY(32)})
BOUND: dict[str, Any] = {"attempt": ATTEMPT, "owner": "centre"}


def _holders() -> dict[str, tuple[int, bytes]]:
    return {name: (INDEX[name], share_key(SECRETS[name], holder=name, **BOUND)) for name in NAMES}


@pytest.fixture(scope="module")
def escrow() -> Escrow:
    return make_escrow(CONTENTS, 3, _holders(), entropy=seeded_entropy(b"x"), **BOUND)


def _share(escrow: Escrow, name: str) -> bytes:
    key = share_key(SECRETS[name], holder=name, **BOUND)
    return open_share(escrow.sealed_shares[name], key, holder=name, **BOUND)


def test_any_threshold_of_holders_opens_it(escrow: Escrow) -> None:
    for names in itertools.combinations(NAMES, 3):
        shares = {INDEX[name]: _share(escrow, name) for name in names}
        assert open_escrow(escrow.ciphertext, shares, 3, **BOUND) == CONTENTS


def test_fewer_do_not_even_with_a_lower_threshold_claimed(escrow: Escrow) -> None:
    shares = {INDEX[name]: _share(escrow, name) for name in NAMES[:2]}
    for threshold in (2, 3):
        with pytest.raises(InvalidInput):
            open_escrow(escrow.ciphertext, shares, threshold, **BOUND)


def test_every_share_matches_its_digest_and_no_other(escrow: Escrow) -> None:
    for name, other in itertools.product(NAMES, NAMES):
        share = _share(escrow, name)
        assert is_share_of(share, escrow.share_digests[other], holder=other, **BOUND) == (name == other)


@pytest.mark.parametrize(
    "change",
    [{"round": 4}, {"number": 2}, {"kind": "evaluation"}, {"study": b"\1" * 16}, {"chain": b"\1" * 32}],
)
def test_shares_keys_digests_and_escrow_hold_for_one_attempt_only(escrow: Escrow, change: dict[str, Any]) -> None:
    fields = {name: getattr(ATTEMPT, name) for name in ATTEMPT.__struct_fields__}
    other: dict[str, Any] = {"attempt": Attempt(**{**fields, **change}), "owner": "centre"}
    key = share_key(SECRETS["east"], holder="east", **BOUND)
    assert share_key(SECRETS["east"], holder="east", **other) != key
    with pytest.raises(InvalidInput):
        open_share(escrow.sealed_shares["east"], key, holder="east", **other)
    share = _share(escrow, "east")
    assert not is_share_of(share, escrow.share_digests["east"], holder="east", **other)
    shares = {INDEX[name]: _share(escrow, name) for name in NAMES}
    with pytest.raises(InvalidInput):
        open_escrow(escrow.ciphertext, shares, 3, **other)


def test_another_owner_or_holder_does_not_match(escrow: Escrow) -> None:
    share = _share(escrow, "east")
    digest = escrow.share_digests["east"]
    assert not is_share_of(share, digest, attempt=ATTEMPT, owner="other", holder="east")
    assert not is_share_of(share, digest, attempt=ATTEMPT, owner="centre", holder="west")
    with pytest.raises(InvalidInput):
        open_share(
            escrow.sealed_shares["east"], share_key(SECRETS["west"], holder="west", **BOUND), holder="west", **BOUND
        )


def test_a_wrong_share_does_not_open_it(escrow: Escrow) -> None:
    shares = {INDEX[name]: _share(escrow, name) for name in NAMES[:3]}
    shares[INDEX["east"]] = bytes(33)
    with pytest.raises(InvalidInput):
        open_escrow(escrow.ciphertext, shares, 3, **BOUND)


def test_a_changed_ciphertext_does_not_open(escrow: Escrow) -> None:
    shares = {INDEX[name]: _share(escrow, name) for name in NAMES}
    changed = bytearray(escrow.ciphertext)
    changed[20] ^= 1
    with pytest.raises(InvalidInput):
        open_escrow(bytes(changed), shares, 3, **BOUND)


def test_an_escrow_is_small_and_survives_encoding(escrow: Escrow) -> None:
    data = encode(escrow)
    assert decode(data, Escrow) == escrow
    assert len(data) < 300 + 150 * len(NAMES)


def test_no_secret_is_printed_or_in_clear(escrow: Escrow) -> None:
    assert repr(CONTENTS.self_seed)[2:12] not in repr(CONTENTS)
    assert CONTENTS.self_seed not in encode(escrow)
    assert CONTENTS.pair_seeds["dropped-a"] not in encode(escrow)


def test_misuse_is_refused() -> None:
    holders = _holders()
    one_index = {name: (1, key) for name, (_, key) in holders.items()}
    with_owner = {**holders, "centre": (1, bytes(32))}
    for threshold, given in ((5, holders), (1, holders), (2, one_index), (2, with_owner)):
        with pytest.raises(InvalidInput):
            make_escrow(CONTENTS, threshold, given, entropy=seeded_entropy(b"x"), **BOUND)
