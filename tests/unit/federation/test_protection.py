"""Plans whose updates are encrypted: what their file says, what is wrong with them, and what a hospital is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from medfed.encoding import decode, encode
from medfed.errors import InvalidInput
from medfed.federation.plan import Plan, Protection
from medfed.federation.plan_check import check_plan
from medfed.federation.plan_file import format_plan, load_plan, parse_plan
from medfed.federation.plan_rules import plan_problems
from medfed.federation.robust import RobustStrategy
from medfed.federation.study import initial_state, local_rng
from medfed.ledger.contracts.terms import CiphertextTerms, SealedTerms

DATA = Path(__file__).parents[3] / "src" / "medfed" / "demo" / "data"
PLAN = load_plan(DATA / "heart.toml")
ENCRYPTED = replace(PLAN, protection=Protection("homomorphic", "keeper", ("second", "adder")))


def _with(**changes: Any) -> Plan:
    return replace(PLAN, protection=replace(ENCRYPTED.protection, **changes))


def test_a_masked_plan_has_the_bytes_that_it_always_had() -> None:
    for word in (b"key_holder", b"aggregators"):
        assert word not in encode(PLAN)
        assert word in encode(ENCRYPTED)


def test_an_encrypted_plan_survives_its_file_and_its_bytes() -> None:
    assert parse_plan(format_plan(ENCRYPTED), "plan.toml") == ENCRYPTED
    assert decode(encode(ENCRYPTED), Plan) == ENCRYPTED
    assert 'mode = "homomorphic"' in format_plan(ENCRYPTED)


def test_the_contract_is_told_who_holds_which_office() -> None:
    assert ENCRYPTED.terms(bytes(32)).ciphertexts == CiphertextTerms("keeper", ("adder", "second"))
    assert PLAN.terms(bytes(32)).ciphertexts is UNSET


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"key_holder": UNSET}, "protection.key_holder", "missing"),
        ({"aggregators": UNSET}, "protection.aggregators", "missing"),
        ({"aggregators": ("adder", "adder")}, "protection.aggregators", "named twice"),
        ({"key_holder": "adder"}, "protection.key_holder", "could open every update"),
        ({"key_holder": "hungary"}, "protection", "'hungary' is a hospital of the study"),
        ({"aggregators": ("cleveland",)}, "protection", "'cleveland' is a hospital of the study"),
        ({"mode": "masked"}, "protection.key_holder", "has no meaning where updates are masked"),
        ({"mode": "masked"}, "protection.aggregators", "has no meaning where updates are masked"),
        ({"aggregators": ()}, "protection.aggregators", "length >= 1"),
        ({"aggregators": ("a", "b", "c", "d")}, "protection.aggregators", "length <= 3"),
        ({"key_holder": "No Name"}, "protection.key_holder", "matching regex"),
    ],
)
def test_offices_that_do_not_hold_together_are_named(changes: dict[str, Any], path: str, words: str) -> None:
    problems = plan_problems(_with(**changes))
    assert any(problem.path == path and words in problem.sentence for problem in problems), problems


def test_the_files_line_of_a_wrong_office_is_named() -> None:
    text = format_plan(ENCRYPTED).replace('key_holder = "keeper"', 'key_holder = "adder"')
    with pytest.raises(InvalidInput, match=r"plan.toml, line \d+: protection.key_holder: 'adder' is an aggregator too"):
        parse_plan(text, "plan.toml")


def test_protection_changes_neither_the_start_nor_the_order_of_examples() -> None:
    assert initial_state(ENCRYPTED).digest == initial_state(PLAN).digest
    assert local_rng(ENCRYPTED, 3, "hungary").random() == local_rng(PLAN, 3, "hungary").random()


def test_a_hospital_is_told_what_it_sends_and_whom_it_trusts() -> None:
    masked, encrypted = check_plan(PLAN), check_plan(ENCRYPTED)
    for plain, cost in zip(masked.rounds, encrypted.rounds, strict=True):
        assert cost.bytes_received == plain.bytes_sent
        assert cost.bytes_sent == 49_152 + 28
    assert "unless keeper and second or adder work together, or more than 1 of the others" in encrypted.reveals[1]
    assert "keeper" not in " ".join(masked.reveals)
    said = dict(encrypted.deadlines)
    assert said["keying"].endswith("for the key holder to publish a key")
    assert "open the sum" in said["reveal"]


SEALED = replace(
    PLAN, protection=Protection("sealed", aggregators=("server",), aggregation=RobustStrategy("trimmed-mean"))
)


def _sealed(**changes: Any) -> Plan:
    return replace(PLAN, protection=replace(SEALED.protection, **changes))


def test_a_sealed_plan_survives_its_file_and_its_bytes_and_tells_the_contract_who_opens() -> None:
    assert parse_plan(format_plan(SEALED), "plan.toml") == SEALED
    assert decode(encode(SEALED), Plan) == SEALED
    assert plan_problems(SEALED) == []
    assert SEALED.terms(bytes(32)).sealed == SealedTerms("server", 0)
    krum = _sealed(aggregation=RobustStrategy("multi-krum", 2))
    assert krum.terms(bytes(32)).sealed == SealedTerms("server", 2)
    assert b"aggregation" not in encode(PLAN)
    assert b"aggregation" not in encode(ENCRYPTED)


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"aggregators": UNSET}, "protection.aggregators", "missing; sealed protection needs exactly one"),
        ({"aggregators": ("a", "b")}, "protection.aggregators", "2 of them"),
        ({"aggregators": ("cleveland",)}, "protection.aggregators", "'cleveland' is a hospital of the study"),
        ({"key_holder": "keeper"}, "protection.key_holder", "has no meaning where updates are sealed"),
        ({"mode": "masked"}, "protection.aggregation", "has no meaning where updates are masked"),
        ({"mode": "homomorphic"}, "protection.aggregation", "has no meaning where updates are homomorphic"),
        ({"aggregation": RobustStrategy("multi-krum")}, "protection.aggregation.faulty", "needs 5 hospitals"),
        ({"aggregation": RobustStrategy("trimmed-mean", 2)}, "protection.aggregation.faulty", "needs 5 hospitals"),
        ({"aggregation": RobustStrategy("median", 1, 2.0)}, "protection.aggregation.largest_norm", "no meaning"),
    ],
)
def test_what_does_not_hold_together_in_a_sealed_plan_is_named(changes: dict[str, Any], path: str, words: str) -> None:
    problems = plan_problems(_sealed(**changes))
    assert any(problem.path == path and words in problem.sentence for problem in problems), problems


def test_a_hospital_is_told_that_the_aggregator_sees_its_own_numbers() -> None:
    sealed = check_plan(SEALED)
    assert sealed.reveals[1].startswith("To server: every hospital's own numbers of everything below")
    assert "without the largest and smallest" in sealed.reveals[1]
    for plain, cost in zip(check_plan(PLAN).rounds, sealed.rounds, strict=True):
        assert plain.bytes_sent < cost.bytes_sent <= plain.bytes_sent + 64
        assert cost.bytes_received == plain.bytes_sent
    assert dict(sealed.deadlines)["keying"].endswith("for the aggregator to issue session keys")
