from __future__ import annotations

from typing import Any

import pytest

from medfed.crypto import SealingKey, hkdf_sha256, seal, seeded_entropy
from medfed.encoding import encode
from medfed.errors import InvalidInput
from medfed.secure_sum import (
    draw_pair_secret,
    mask_sign,
    open_pair_secret,
    pair_info,
    pair_seed,
    ratchet,
    seal_pair_secret,
)

CHAIN, STUDY = bytes(32), bytes(16)
WHO: dict[str, Any] = {"chain": CHAIN, "study": STUDY, "sender": "east", "receiver": "north"}
SEED: dict[str, Any] = {
    "chain": CHAIN, "study": STUDY, "round": 1, "kind": "training", "attempt": 0, "lower": "east", "higher": "north"
}  # fmt: skip
KEY = SealingKey.generate(seeded_entropy(b"study key"))
SECRET = draw_pair_secret(seeded_entropy(b"pair"))


def test_the_receiver_opens_the_pair_secret() -> None:
    assert open_pair_secret(KEY, seal_pair_secret(KEY.public, SECRET, **WHO), **WHO) == SECRET


@pytest.mark.parametrize(
    "change", [{"chain": b"\1" * 32}, {"study": b"\1" * 16}, {"sender": "a"}, {"receiver": "south"}]
)
def test_it_opens_for_no_other_chain_study_sender_or_receiver(change: dict[str, Any]) -> None:
    sealed = seal_pair_secret(KEY.public, SECRET, **WHO)
    with pytest.raises(InvalidInput):
        open_pair_secret(KEY, sealed, **{**WHO, **change})


def test_a_sealed_text_that_is_no_secret_is_invalid_input() -> None:
    sealed = seal(KEY.public, b"short", pair_info(CHAIN, STUDY, "east", "north"))
    with pytest.raises(InvalidInput, match="pair secret"):
        open_pair_secret(KEY, sealed, **WHO)


def test_only_the_lower_name_sends() -> None:
    turned = {**WHO, "sender": "north", "receiver": "east"}
    with pytest.raises(InvalidInput, match="lower name first"):
        seal_pair_secret(KEY.public, SECRET, **turned)
    sealed = seal(KEY.public, SECRET, pair_info(CHAIN, STUDY, "north", "east"))
    with pytest.raises(InvalidInput, match="lower name first"):
        open_pair_secret(KEY, sealed, **turned)


def test_the_pair_seed_is_the_designs_formula() -> None:
    info = encode(("medfed/pair", CHAIN, STUDY, 1, "training", 0, "east", "north"))
    assert pair_seed(SECRET, **SEED) == hkdf_sha256(SECRET, info)


def test_every_part_of_the_attempt_changes_the_seed() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"chain": b"\1" * 32},
        {"study": b"\1" * 16},
        {"round": 2},
        {"kind": "evaluation"},
        {"attempt": 1},
        {"lower": "a"},
        {"higher": "south"},
    ]
    seeds = {pair_seed(SECRET, **{**SEED, **change}) for change in changes}
    seeds |= {pair_seed(ratchet(SECRET, 1), **SEED), SECRET, ratchet(SECRET, 1), ratchet(SECRET, 2)}
    assert len(seeds) == len(changes) + 4


def test_ratcheting_round_by_round_is_the_same_after_an_absence() -> None:
    present = SECRET
    for r in (1, 2, 3):
        present = ratchet(present, r)
    assert ratchet(ratchet(ratchet(SECRET, 1), 2), 3) == present


def test_the_lower_adds_and_the_higher_subtracts() -> None:
    assert mask_sign("east", "north") == 1
    assert mask_sign("north", "east") == -1
    assert mask_sign("a", "aa") == 1
    assert mask_sign("a-b", "a0") == 1
    with pytest.raises(InvalidInput):
        mask_sign("east", "east")


def test_malformed_secrets_and_orders_are_refused() -> None:
    for call in (
        lambda: pair_seed(bytes(31), **SEED),
        lambda: ratchet(bytes(33), 1),
        lambda: seal_pair_secret(KEY.public, b"", **WHO),
        lambda: pair_seed(SECRET, **{**SEED, "lower": "north", "higher": "east"}),
    ):
        with pytest.raises(InvalidInput):
            call()
