"""What an agent does with proposals, requests, other programs' transactions and sizes of queues."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.support.study import NAMES, STUDY, TestWorld, small_plan

from medfed.encoding import encode
from medfed.errors import Unavailable
from medfed.federation.study import initial_state
from medfed.federation.tables import table_from
from medfed.hospital.consent import ConsentPolicy, ConsentRule
from medfed.hospital.requests import REQUESTS, request
from medfed.ledger.contracts.membership import ChangeAddress, participant
from medfed.ledger.contracts.studies import ApproveStudy, ProposeStudy, study_record
from medfed.ledger.transaction import Anchor, SignedTransaction, Transaction, sign
from medfed.ledger.transition import SEEN_WINDOW, next_sequence


def post(world: TestWorld, name: str, *bodies: object) -> list[str]:
    view = world.engine.view()
    keys = world.consortium.keys[name]
    start = next_sequence(view, name)
    signed = [
        sign(
            Transaction(view.chain, name, start + i, Anchor(view.tip.height, view.tip.block), body),  # type: ignore[arg-type]
            keys.signing_key,
        )
        for i, body in enumerate(bodies)
    ]
    return [receipt.code for receipt in world.engine.submit(*signed)]


def answered(world: TestWorld) -> tuple[tuple[str, ...], tuple[str, ...]]:
    study = study_record(world.engine.view(), STUDY)
    assert study is not None
    return study.approved, study.declined


def test_a_study_that_no_rule_names_waits_for_a_person_and_goes_on_after_the_request() -> None:
    world = TestWorld.build(small_plan(), consent=ConsentPolicy())
    world.propose()
    for _ in range(3):
        assert sum(agent.step() for agent in world.agents.values()) == 0
    assert answered(world) == ((), ())
    study = study_record(world.engine.view(), STUDY)
    assert study is not None
    for name in NAMES:
        request(world.vaults[name], ApproveStudy(STUDY, study.digest))
        request(world.vaults[name], ApproveStudy(STUDY, study.digest))
        assert len(world.vaults[name].keys_under(REQUESTS)) == 1
    world.run()
    assert answered(world)[0] == NAMES
    assert not any(world.vaults[name].keys_under(REQUESTS) for name in NAMES)


def test_a_policy_may_decline_and_the_code_is_on_the_ledger() -> None:
    world = TestWorld.build(small_plan(), consent=ConsentPolicy(rules=(ConsentRule("decline", code="no-thanks"),)))
    world.propose()
    for agent in world.agents.values():
        agent.step()
    study = study_record(world.engine.view(), STUDY)
    assert study is not None
    assert (study.phase, study.pause_code) == ("aborted", "too-few-approvals")
    assert any(b"no-thanks" in data for block in world.engine.blocks() for data in block.transactions)


def test_a_plan_whose_terms_differ_from_it_is_declined() -> None:
    world = TestWorld.build(small_plan())
    terms = world.plan.terms(initial_state(world.plan).digest)
    lying = replace(terms, min_examples=terms.min_examples + 1)
    assert post(world, "organiser", ProposeStudy(STUDY, lying, encode(world.plan))) == [""]
    for agent in world.agents.values():
        agent.step()
    assert answered(world) == ((), NAMES)


def test_a_site_with_too_few_examples_declines() -> None:
    world = TestWorld.build(small_plan())
    world.tables["beta"] = table_from({"age": [50.0], "dose": [0.0], "ward": ["north"], "ill": [1]})
    world.restart("beta")
    world.propose()
    assert world.run().phase == "completed"
    assert answered(world) == (("alpha", "delta", "gamma"), ("beta",))


def test_a_site_whose_table_does_not_fit_says_so_and_does_not_stop_the_others() -> None:
    world = TestWorld.build(small_plan())
    world.tables["beta"] = table_from({"age": ["old"], "dose": [0.0], "ward": ["north"], "ill": [1]})
    world.restart("beta")
    world.propose()
    assert world.run().phase == "completed"
    problems = " ".join(world.agents["beta"].problems.values())
    assert "'age'" in problems
    assert "old" not in problems


def test_the_agent_signs_what_another_process_requested() -> None:
    world = TestWorld.build(small_plan())
    request(world.vaults["alpha"], ChangeAddress("alpha.example:7000"))
    assert world.agents["alpha"].step() == 1
    found = participant(world.engine.view(), "alpha")
    assert found is not None
    assert found.address == "alpha.example:7000"
    assert world.agents["alpha"].step() == 0


def test_a_transaction_gone_stale_is_signed_anew_under_the_same_sequence() -> None:
    world = TestWorld.build(small_plan())
    request(world.vaults["alpha"], ChangeAddress("first"))
    (old,) = world.agents["alpha"].prepare()
    for number in range(SEEN_WINDOW + 1):
        assert post(world, "beta", ChangeAddress(f"{number}")) == [""]
    receipts = world.engine.submit(old)
    assert receipts[0].height is None
    assert receipts[0].code == "stale-seen"
    (new,) = world.agents["alpha"].prepare()
    assert new.transaction.sequence == old.transaction.sequence
    assert new.transaction.body == old.transaction.body
    assert new.transaction.seen != old.transaction.seen
    assert world.engine.submit(new)[0].accepted


def test_the_same_bytes_sent_twice_take_effect_once() -> None:
    world = TestWorld.build(small_plan())
    request(world.vaults["alpha"], ChangeAddress("once"))
    waiting = world.agents["alpha"].prepare()
    first = world.engine.submit(*waiting)
    second = world.engine.submit(*[SignedTransaction.from_bytes(signed.to_bytes()) for signed in waiting])
    assert first == second
    assert sum(len(block.transactions) for block in world.engine.blocks()) == 1


def test_an_agent_of_a_stranger_to_the_study_does_nothing() -> None:
    plan = small_plan(("alpha", "beta", "delta"))
    world = TestWorld.build(small_plan())
    world.plan = plan
    world.propose()
    assert world.agents["gamma"].step() == 0
    world.run()
    study = study_record(world.engine.view(), STUDY)
    assert study is not None
    assert "gamma" not in study.roster


def test_what_is_forgotten_at_the_end_are_the_keys_not_the_model_or_the_releases() -> None:
    world = TestWorld.build(small_plan())
    world.propose()
    world.run()
    for agent in world.agents.values():
        agent.step()
    for name in NAMES:
        keys = world.vaults[name].keys_under("study/")
        assert not [key for key in keys if any(part in key for part in ("/pairs", "/private", "/drawn", "/vector"))]
        assert [key for key in keys if key.endswith("/model")]
        assert world.vaults[name].keys_under("release/")


def test_a_request_that_does_not_decode_is_reported_not_sent() -> None:
    world = TestWorld.build(small_plan())
    world.vaults["alpha"].put(f"{REQUESTS}broken", b"\x01\x02")
    assert world.agents["alpha"].step() == 0
    assert "request in the vault" in " ".join(world.agents["alpha"].problems.values())
    assert world.vaults["alpha"].keys_under(REQUESTS) == []


def test_a_request_that_the_disk_had_no_room_for_is_not_sent_until_it_is_durable() -> None:
    full = [False]

    def effect(name: str) -> None:
        if full[0] and name == "before request-taken":
            raise Unavailable("no room on the disk")

    world = TestWorld.build(small_plan(), effect=lambda name: effect)
    request(world.vaults["alpha"], ChangeAddress("alpha.example:7000"))
    full[0] = True
    with pytest.raises(Unavailable, match="no room"):
        world.agents["alpha"].prepare()
    assert world.agents["alpha"]._outbox.waiting == []
    full[0] = False
    (sent,) = world.agents["alpha"].prepare()
    assert sent.transaction.sequence == 0


def test_a_clock_that_was_set_back_does_not_keep_work_waiting() -> None:
    world = TestWorld.build(small_plan())
    table = world.tables["beta"]
    world.tables["beta"] = table_from({"age": ["old"], "dose": [0.0], "ward": ["north"], "ill": [1]})
    world.restart("beta")
    world.propose()
    world.clock.advance(30_000)
    assert world.agents["beta"].step() == 0
    world.clock.advance(-30_000)
    world.agents["beta"].site.data = lambda plan: table
    assert world.agents["beta"].step() == 1


def test_what_an_agent_remembers_of_its_troubles_is_bounded() -> None:
    world = TestWorld.build(small_plan())
    agent = world.agents["alpha"]
    agent.problems.update({f"work/{number}": "waiting" for number in range(1_000)})
    agent._not_before.update({f"work/{number}": 1 for number in range(1_000)})
    agent.step()
    assert len(agent.problems) <= 64
    assert "work/999" in agent.problems
    assert agent._not_before == {}
