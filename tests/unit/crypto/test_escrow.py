from __future__ import annotations

import itertools

import pytest
from msgspec.structs import replace

from medfed.crypto import seeded_entropy
from medfed.crypto.escrow import Escrow, Holder, SealedShare, make_escrow, open_escrow, open_share, share_digest
from medfed.encoding import decode, encode
from medfed.errors import InvalidInput

NAMES = ("east", "north", "south", "west")
CONTEXT, OTHER = b"round 3, attempt 1, centre", b"round 3, attempt 2, centre"
CONTENTS = b"the seeds that the owner would reveal"
DRAW = seeded_entropy(b"escrow")
HOLDERS = tuple(Holder(name, index, DRAW(32)) for index, name in enumerate(NAMES, start=2))
KEYS = {holder.name: holder.key for holder in HOLDERS}
INDEX = {holder.name: holder.index for holder in HOLDERS}


@pytest.fixture(scope="module")
def escrow() -> Escrow:
    return make_escrow(CONTENTS, 3, HOLDERS, CONTEXT, seeded_entropy(b"x"))


def _sealed(escrow: Escrow, name: str) -> SealedShare:
    return next(share for share in escrow.shares if share.holder == name)


def _opened(escrow: Escrow, *names: str) -> dict[int, bytes]:
    return {INDEX[name]: open_share(KEYS[name], _sealed(escrow, name), CONTEXT) for name in names}


def test_any_threshold_of_holders_opens_it(escrow: Escrow) -> None:
    for names in itertools.combinations(NAMES, 3):
        assert open_escrow(escrow.ciphertext, _opened(escrow, *names), 3, CONTEXT) == CONTENTS
    assert open_escrow(escrow.ciphertext, _opened(escrow, *NAMES), 3, CONTEXT) == CONTENTS


def test_fewer_do_not_even_if_they_claim_a_lower_threshold(escrow: Escrow) -> None:
    for threshold in (2, 3):
        with pytest.raises(InvalidInput):
            open_escrow(escrow.ciphertext, _opened(escrow, "east", "north"), threshold, CONTEXT)


def test_a_share_matches_the_digest_of_its_holder_and_context_only(escrow: Escrow) -> None:
    opened = _opened(escrow, *NAMES)
    digests = {
        share_digest(context, holder, share)
        for context in (CONTEXT, OTHER)
        for holder in NAMES
        for share in opened.values()
    }
    assert len(digests) == 2 * len(NAMES) * len(NAMES)
    for name in NAMES:
        assert share_digest(CONTEXT, name, opened[INDEX[name]]) == _sealed(escrow, name).digest


def test_another_attempt_opens_neither_share_nor_escrow(escrow: Escrow) -> None:
    with pytest.raises(InvalidInput):
        open_share(KEYS["east"], _sealed(escrow, "east"), OTHER)
    with pytest.raises(InvalidInput):
        open_escrow(escrow.ciphertext, _opened(escrow, *NAMES), 3, OTHER)


def test_a_share_moved_to_another_holder_does_not_open(escrow: Escrow) -> None:
    moved = replace(_sealed(escrow, "east"), holder="west")
    for key in (KEYS["east"], KEYS["west"]):
        with pytest.raises(InvalidInput):
            open_share(key, moved, CONTEXT)


def test_a_share_that_its_digest_does_not_name_is_refused(escrow: Escrow) -> None:
    with pytest.raises(InvalidInput, match="does not match its digest"):
        open_share(KEYS["east"], replace(_sealed(escrow, "east"), digest=bytes(32)), CONTEXT)


def test_a_wrong_share_or_a_changed_ciphertext_does_not_open(escrow: Escrow) -> None:
    shares = _opened(escrow, *NAMES[:3])
    with pytest.raises(InvalidInput):
        open_escrow(escrow.ciphertext, {**shares, INDEX["east"]: bytes(33)}, 3, CONTEXT)
    for at in range(len(escrow.ciphertext)):
        changed = bytearray(escrow.ciphertext)
        changed[at] ^= 1
        with pytest.raises(InvalidInput):
            open_escrow(bytes(changed), shares, 3, CONTEXT)


def test_an_escrow_is_small_and_survives_encoding(escrow: Escrow) -> None:
    data = encode(escrow)
    assert decode(data, Escrow) == escrow
    assert len(data) < 150 + 150 * len(NAMES)


def test_no_key_is_printed_and_nothing_secret_is_in_clear(escrow: Escrow) -> None:
    assert repr(KEYS["east"])[2:12] not in repr(HOLDERS[0]) + repr(HOLDERS[0].__rich_repr__())
    assert CONTENTS not in encode(escrow)
    for share in _opened(escrow, *NAMES).values():
        assert share not in encode(escrow)


@pytest.mark.parametrize("threshold", [0, 5])
def test_a_threshold_that_the_holders_cannot_meet_is_refused(threshold: int) -> None:
    with pytest.raises(InvalidInput, match="threshold"):
        make_escrow(CONTENTS, threshold, HOLDERS, CONTEXT, DRAW)


def test_repeated_indices_and_short_keys_are_refused() -> None:
    with pytest.raises(InvalidInput, match="distinct"):
        make_escrow(CONTENTS, 2, tuple(replace(holder, index=1) for holder in HOLDERS), CONTEXT, DRAW)
    with pytest.raises(InvalidInput, match="key"):
        make_escrow(CONTENTS, 2, tuple(replace(holder, key=b"short") for holder in HOLDERS), CONTEXT, DRAW)
