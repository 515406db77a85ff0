"""The genesis: its digest names the chain, its founders prove their keys."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace
from tests.support.ledger import FOUR, HandClock, World, founder, key_of, make_genesis, sealer, sealing_key_of

from medfed.encoding import decode, digest_of, encode
from medfed.errors import InvalidInput
from medfed.ledger.contracts.membership import ChangeAddress, active_hospitals, participants
from medfed.ledger.engines.memory import MemoryEngine
from medfed.ledger.genesis import Founder, Genesis, Policy, genesis_state, verify_genesis


def test_the_digest_covers_everything() -> None:
    genesis = make_genesis()
    others = (
        replace(genesis, consortium="other"),
        replace(genesis, created_ms=0),
        replace(genesis, founders=genesis.founders[1:]),
        replace(genesis, policy=Policy(seal="none")),
        replace(genesis, policy=Policy(difficulty=1)),
        replace(genesis, policy=Policy(sender_quota=1)),
    )
    assert len({other.digest for other in (genesis, *others)}) == 7
    assert genesis.digest == digest_of("medfed/genesis", genesis)
    assert decode(encode(genesis), Genesis) == genesis


def test_the_state_at_height_0_holds_the_founders() -> None:
    state, _ = genesis_state(make_genesis())
    assert active_hospitals(state) == FOUR
    assert [entry.name for entry in participants(state)] == sorted((*FOUR, "auditor", "organiser", "server", "user"))


def test_the_state_digest_depends_on_the_founders_alone() -> None:
    assert genesis_state(make_genesis())[1] == genesis_state(make_genesis())[1]
    assert genesis_state(make_genesis())[1] != genesis_state(make_genesis(FOUR[:3]))[1]


def _unsorted(founders: tuple[Founder, ...]) -> tuple[Founder, ...]:
    return (founders[1], founders[0], *founders[2:])


def _twice(founders: tuple[Founder, ...]) -> tuple[Founder, ...]:
    return (founders[0], *founders)


def _one_key_twice(founders: tuple[Founder, ...]) -> tuple[Founder, ...]:
    return (replace(founders[0], signing_key=founders[1].signing_key), *founders[1:])


def _no_hospital(founders: tuple[Founder, ...]) -> tuple[Founder, ...]:
    return tuple(entry for entry in founders if entry.role != "hospital")


def _proof_of_another(founders: tuple[Founder, ...]) -> tuple[Founder, ...]:
    return (replace(founders[0], proof=founders[1].proof), *founders[1:])


def _another_sealing_key(founders: tuple[Founder, ...]) -> tuple[Founder, ...]:
    return (replace(founders[0], sealing_key=sealing_key_of("mallory")), *founders[1:])


def _another_name(founders: tuple[Founder, ...]) -> tuple[Founder, ...]:
    return (replace(founders[0], name="aaaa"), *founders[1:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_unsorted, "sorted by name, each once"),
        (_twice, "sorted by name, each once"),
        (_one_key_twice, "the same signing key"),
        (_no_hospital, "at least one founder must be a hospital"),
        (_proof_of_another, "the key proof of alpha is not valid"),
        (_another_sealing_key, "the key proof of alpha is not valid"),
        (_another_name, "the key proof of aaaa is not valid"),
    ],
)
def test_a_genesis_that_does_not_hold_together_is_refused_everywhere(
    change: Callable[[tuple[Founder, ...]], tuple[Founder, ...]], message: str
) -> None:
    genesis = make_genesis()
    wrong = replace(genesis, founders=change(genesis.founders))
    with pytest.raises(InvalidInput, match=message):
        verify_genesis(wrong)
    with pytest.raises(InvalidInput, match=message):
        MemoryEngine(wrong, HandClock(), sealer("organiser"))


@pytest.mark.parametrize(
    "change",
    [
        {"consortium": "Not a Name"},
        {"created_ms": -1},
        {"policy": Policy(difficulty=33)},
        {"policy": Policy(sender_quota=0)},
        {"version": 2},
    ],
    ids=str,
)
def test_a_genesis_that_nobody_could_decode_founds_no_ledger(change: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="Genesis"):
        verify_genesis(replace(make_genesis(), **change))


def test_nobody_is_made_a_founder_without_its_key() -> None:
    mine, victim = key_of("mallory"), founder("victim", "hospital")
    forged = replace(victim, proof=mine.sign(b"anything"))
    with pytest.raises(InvalidInput, match="victim"):
        verify_genesis(Genesis("test", 0, (forged,)))


def test_a_transaction_for_one_ledger_is_none_for_another_with_the_same_founders() -> None:
    one, other = World.build(), World.build(consortium="other")
    receipt = other.engine.submit(one.sign("alpha", ChangeAddress("host:1")))[0]
    assert (receipt.height, receipt.code) == (None, "other-chain")


def test_a_founders_proof_is_good_for_one_consortium_role_and_address() -> None:
    genesis = make_genesis()
    first = genesis.founders[0]
    verify_genesis(genesis)
    stolen = (
        replace(genesis, consortium="elsewhere"),
        replace(genesis, founders=(replace(first, role="auditor"), *genesis.founders[1:])),
        replace(genesis, founders=(replace(first, address="somewhere:1"), *genesis.founders[1:])),
    )
    for made in stolen:
        with pytest.raises(InvalidInput, match="key proof"):
            verify_genesis(made)
