"""Rules of `ledger.contracts.membership`, one by one."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.support.ledger import FOUR, World, key_of, sealing_key_of

from medfed.errors import Unavailable
from medfed.ledger.contracts.membership import (
    ChangeAddress,
    Leave,
    ProposeParticipant,
    ProposeRemoval,
    ProposeUpgrade,
    Role,
    RotateKeys,
    VoteOnParticipant,
    VoteOnRemoval,
    VoteOnUpgrade,
    active_hospitals,
    founding_proof_message,
    key_proof_message,
    open_votes,
    participant,
    participants,
    rules_at,
)
from medfed.ledger.contracts.voting import Ballot
from medfed.ledger.transition import RULES
from medfed.ledger.verify import verify_ledger


@pytest.fixture
def world() -> World:
    return World.build()


def admitted(world: World, name: str) -> bool:
    found = participant(world.view, name)
    return found is not None and found.status == "active"


def admit(world: World, name: str, role: Role = "hospital") -> None:
    world.accept("alpha", world.candidate(name, role))
    for voter in active_hospitals(world.view)[1:]:
        if not admitted(world, name):
            world.accept(voter, VoteOnParticipant(name, True))
    assert admitted(world, name)


def remove(world: World, name: str) -> None:
    others = [other for other in active_hospitals(world.view) if other != name]
    world.accept(others[0], ProposeRemoval(name))
    for voter in others[1:]:
        if admitted(world, name):
            world.accept(voter, VoteOnRemoval(name, True))
    assert not admitted(world, name)


def test_rule_1_more_than_two_thirds_of_the_hospitals_admit_a_participant(world: World) -> None:
    world.accept("alpha", world.candidate("omega"))
    world.accept("beta", VoteOnParticipant("omega", True))
    assert not admitted(world, "omega")
    world.accept("gamma", VoteOnParticipant("omega", True))
    assert admitted(world, "omega")
    assert active_hospitals(world.view) == (*FOUR, "omega")
    world.accept("omega", ChangeAddress("host:omega"))


def test_rule_1_a_proposal_by_one_who_has_no_vote_is_no_yes(world: World) -> None:
    world.accept("user", world.candidate("omega"))
    for voter in ("alpha", "beta"):
        world.accept(voter, VoteOnParticipant("omega", True))
    assert not admitted(world, "omega")
    world.accept("delta", VoteOnParticipant("omega", True))
    assert admitted(world, "omega")


def test_rule_1_a_proposal_that_cannot_be_carried_any_more_is_gone_and_may_be_made_again(world: World) -> None:
    world.accept("alpha", world.candidate("omega"))
    world.accept("beta", VoteOnParticipant("omega", False))
    world.accept("gamma", VoteOnParticipant("omega", False))
    assert world.refuse("delta", VoteOnParticipant("omega", True)) == "no-such-proposal"
    admit(world, "omega")


@pytest.mark.parametrize("role", ["hospital", "aggregator", "organiser", "auditor", "user"])
def test_rule_1_only_hospitals_join_the_electorate(world: World, role: Role) -> None:
    admit(world, "omega", role)
    assert ("omega" in active_hospitals(world.view)) == (role == "hospital")


def test_rule_1_a_participant_is_proposed_with_a_proof_of_its_key(world: World) -> None:
    good = world.candidate("omega")
    assert world.refuse("alpha", replace(good, proof=key_of("alpha").sign(b"something"))) == "bad-key-proof"
    assert world.refuse("alpha", replace(good, signing_key=key_of("someone").public)) == "bad-key-proof"
    assert world.refuse("alpha", replace(good, sealing_key=sealing_key_of("someone"))) == "bad-key-proof"
    assert world.refuse("alpha", replace(good, name="omikron")) == "bad-key-proof"


def test_rule_1_a_proof_for_another_ledger_is_none(world: World) -> None:
    other = World.build(consortium="elsewhere")
    assert world.refuse("alpha", other.candidate("omega")) == "bad-key-proof"


def test_rule_1_a_founders_proof_is_none_for_admission(world: World) -> None:
    key, sealing = key_of("omega"), sealing_key_of("omega")
    proof = key.sign(founding_proof_message("test", "omega", "hospital", key.public, sealing, ""))
    body = ProposeParticipant("omega", "hospital", key.public, sealing, "", proof)
    assert world.refuse("alpha", body) == "bad-key-proof"


def test_rule_2_a_name_that_is_proposed_or_given_is_taken(world: World) -> None:
    world.accept("alpha", world.candidate("omega"))
    assert world.refuse("beta", world.candidate("omega", generation=1)) == "name-taken"
    assert world.refuse("beta", world.candidate("gamma", generation=1)) == "name-taken"


def test_rule_2_a_name_is_not_given_again_after_leaving_or_removal(world: World) -> None:
    world.accept("delta", Leave())
    assert world.refuse("alpha", world.candidate("delta", generation=1)) == "name-taken"
    remove(world, "gamma")
    assert world.refuse("alpha", world.candidate("gamma", generation=1)) == "name-taken"


def test_rule_3_a_participant_changes_its_own_keys(world: World) -> None:
    old = world.sign("alpha", ChangeAddress("host:old"), ahead=1)
    world.accept("alpha", world.new_keys("alpha", 1))
    assert world.engine.submit(old)[0].code == "bad-signature"
    world.generations["alpha"] = 1
    world.accept("alpha", ChangeAddress("host:new"))
    found = participant(world.view, "alpha")
    assert found is not None
    assert (found.signing_key, found.sealing_key) == (key_of("alpha", 1).public, sealing_key_of("alpha", 1))


def test_rule_3_the_new_key_must_prove_itself_for_its_owner(world: World) -> None:
    good = world.new_keys("alpha", 1)
    assert world.refuse("beta", good) == "bad-key-proof"
    assert world.refuse("alpha", replace(good, proof=bytes(64))) == "bad-key-proof"
    assert world.refuse("alpha", replace(good, sealing_key=sealing_key_of("alpha"))) == "bad-key-proof"


def test_rule_3_no_key_is_used_twice_not_even_an_old_one_by_its_owner(world: World) -> None:
    def rotation(name: str, of: str, generation: int) -> RotateKeys:
        taken = world.new_keys(of, generation)
        message = key_proof_message(world.view.chain, name, taken.signing_key, taken.sealing_key)
        return RotateKeys(taken.signing_key, taken.sealing_key, key_of(of, generation).sign(message))

    assert world.refuse("alpha", rotation("alpha", "beta", 0)) == "key-taken"
    world.accept("alpha", world.new_keys("alpha", 1))
    world.generations["alpha"] = 1
    assert world.refuse("alpha", rotation("alpha", "alpha", 0)) == "key-taken"
    assert world.refuse("beta", rotation("beta", "alpha", 0)) == "key-taken"


def test_rule_3_of_two_candidates_with_one_key_only_the_first_comes_in(world: World) -> None:
    first = world.candidate("omega")
    message = key_proof_message(world.view.chain, "omikron", first.signing_key, first.sealing_key)
    second = replace(first, name="omikron", proof=key_of("omega").sign(message))
    world.accept("alpha", first, second)
    for voter in ("beta", "gamma"):
        world.accept(voter, VoteOnParticipant("omega", True), VoteOnParticipant("omikron", True))
    assert admitted(world, "omega")
    assert not admitted(world, "omikron")


def test_rule_4_more_than_two_thirds_of_the_others_replace_lost_keys(world: World) -> None:
    body = world.replacement("delta", 1)
    world.accept("alpha", body)
    assert world.refuse("alpha", body) == "already-voted"
    world.accept("beta", body)
    found = participant(world.view, "delta")
    assert found is not None
    assert found.signing_key == key_of("delta").public
    world.accept("gamma", body)
    world.generations["delta"] = 1
    world.accept("delta", ChangeAddress("host:new"))
    assert not [key for key in world.view.state.items() if key.startswith(b"key-replacement/")], "nothing is left open"
    assert world.refuse("alpha", body) == "key-taken"


def test_rule_4_neither_the_participant_itself_nor_one_without_a_vote_asks(world: World) -> None:
    body = world.replacement("delta", 1)
    assert world.refuse("delta", body) == "not-a-voter"
    assert world.refuse("user", body) == "not-a-voter"
    assert world.refuse("organiser", body) == "not-a-voter"
    assert world.refuse("user", replace(body, proof=bytes(64))) == "not-a-voter", "whatever it asks for"


def test_rule_4_keys_that_are_not_proven_or_were_in_use_replace_nothing(world: World) -> None:
    body = world.replacement("delta", 1)
    assert world.refuse("alpha", replace(body, proof=world.replacement("gamma", 1).proof)) == "bad-key-proof"
    assert world.refuse("alpha", replace(body, signing_key=key_of("beta").public)) == "key-taken"


def test_rule_4_askers_for_different_keys_do_not_add_up(world: World) -> None:
    for generation, asker in enumerate(("alpha", "beta", "gamma"), start=1):
        world.accept(asker, world.replacement("delta", generation))
    found = participant(world.view, "delta")
    assert found is not None
    assert found.signing_key == key_of("delta").public


def test_rule_4_a_user_without_a_vote_gets_its_keys_replaced_by_the_hospitals(world: World) -> None:
    body = world.replacement("user", 1)
    for asker in ("alpha", "beta", "gamma"):
        world.accept(asker, body)
    world.generations["user"] = 1
    world.accept("user", ChangeAddress("host:new"))


def test_rule_5_more_than_two_thirds_of_the_others_remove_a_participant(world: World) -> None:
    world.accept("alpha", ProposeRemoval("delta"))
    world.accept("beta", VoteOnRemoval("delta", True))
    assert admitted(world, "delta")
    world.accept("gamma", VoteOnRemoval("delta", True))
    assert not admitted(world, "delta")
    assert active_hospitals(world.view) == ("alpha", "beta", "gamma")
    assert world.send("delta", ChangeAddress("x")).code == "unknown-sender"
    found = participant(world.view, "delta")
    assert found is not None
    assert found.status == "removed"


def test_rule_5_the_target_is_on_neither_side_of_the_vote(world: World) -> None:
    assert world.refuse("delta", ProposeRemoval("delta")) == "own-removal"
    world.accept("alpha", ProposeRemoval("delta"))
    assert world.refuse("delta", VoteOnRemoval("delta", False)) == "not-a-voter"
    world.accept("beta", VoteOnRemoval("delta", False))
    assert world.refuse("gamma", VoteOnRemoval("delta", True)) == "no-such-proposal"


def test_rule_5_a_removal_is_proposed_once_at_a_time_and_of_active_participants(world: World) -> None:
    world.accept("alpha", ProposeRemoval("delta"))
    assert world.refuse("beta", ProposeRemoval("delta")) == "already-proposed"
    assert world.refuse("beta", ProposeRemoval("omega")) == "not-active"
    world.accept("delta", Leave())
    assert world.refuse("beta", VoteOnRemoval("delta", True)) == "no-such-proposal"
    assert world.refuse("beta", ProposeRemoval("delta")) == "not-active"


def test_rule_5_a_removal_that_was_lost_may_be_proposed_again(world: World) -> None:
    world.accept("alpha", ProposeRemoval("delta"))
    world.accept("beta", VoteOnRemoval("delta", False))
    remove(world, "delta")


def test_rule_5_a_vote_that_a_departure_has_decided_does_not_bar_the_next(world: World) -> None:
    """Five of six have voted, the sixth leaves: nobody is left to cast the vote that would settle it."""
    for name in ("epsilon", "zeta"):
        admit(world, name)
    world.accept("alpha", ProposeRemoval("delta"))
    for voter in ("beta", "gamma"):
        world.accept(voter, VoteOnRemoval("delta", True))
    world.accept("epsilon", VoteOnRemoval("delta", False))
    world.accept("zeta", Leave())
    assert admitted(world, "delta")
    world.accept("alpha", ProposeRemoval("delta"))
    assert not admitted(world, "delta")


def test_rule_1_an_admission_that_a_departure_has_decided_does_not_bar_the_name(world: World) -> None:
    admit(world, "epsilon")
    world.accept("alpha", world.candidate("omega"))
    for voter in ("beta", "gamma"):
        world.accept(voter, VoteOnParticipant("omega", True))
    world.accept("delta", VoteOnParticipant("omega", False))
    world.accept("epsilon", Leave())
    assert not admitted(world, "omega")
    world.accept("beta", world.candidate("omega"))
    assert admitted(world, "omega")


def test_rule_6_the_last_hospital_can_neither_leave_nor_be_removed(world: World) -> None:
    for name in ("beta", "delta", "gamma"):
        world.accept(name, Leave())
    assert world.refuse("alpha", Leave()) == "last-hospital"
    world.accept("organiser", ProposeRemoval("alpha"))
    assert admitted(world, "alpha")
    assert active_hospitals(world.view) == ("alpha",)


def test_rule_7_an_upgrade_is_decided_by_vote_for_a_height_ahead(world: World) -> None:
    ahead = world.view.tip.height + 20
    assert world.refuse("alpha", ProposeUpgrade(2, world.view.tip.height)) == "height-passed"
    assert world.refuse("alpha", ProposeUpgrade(2, world.view.tip.height + 1)) == "height-passed"
    world.accept("alpha", ProposeUpgrade(2, ahead))
    assert world.refuse("beta", ProposeUpgrade(2, ahead + 1)) == "already-proposed"
    assert world.refuse("user", VoteOnUpgrade(2, True)) == "not-a-voter"
    assert world.refuse("beta", VoteOnUpgrade(3, True)) == "no-such-proposal"
    world.accept("beta", VoteOnUpgrade(2, True))
    assert rules_at(world.view, ahead) == 1
    world.accept("gamma", VoteOnUpgrade(2, True))
    assert rules_at(world.view, ahead - 1) == 1
    assert rules_at(world.view, ahead) == 2
    assert world.refuse("beta", ProposeUpgrade(2, ahead + 1)) == "already-proposed"


def test_rule_7_a_node_that_lacks_the_rules_halts_with_one_clear_line(world: World) -> None:
    ahead = world.view.tip.height + 5
    world.accept("alpha", ProposeUpgrade(RULES + 1, ahead))
    world.accept("beta", VoteOnUpgrade(RULES + 1, True))
    world.accept("gamma", VoteOnUpgrade(RULES + 1, True))
    while world.view.tip.height < ahead - 1:
        world.accept("delta", ChangeAddress(f"host:{world.view.tip.height}"))
    with pytest.raises(Unavailable) as halted:
        world.send("delta", ChangeAddress("host:too-late"))
    assert str(halted.value) == f"block {ahead} needs rules {RULES + 1}; this program knows up to {RULES}: update it"
    assert world.view.tip.height == ahead - 1
    verify_ledger(world.engine.genesis, world.engine.blocks())


def test_rule_7_an_upgrade_decided_too_late_lapses_and_may_be_proposed_again(world: World) -> None:
    world.accept("alpha", ProposeUpgrade(2, 3))
    world.accept("delta", ChangeAddress("x"), ChangeAddress("y"))
    world.accept("beta", VoteOnUpgrade(2, True))
    world.accept("gamma", VoteOnUpgrade(2, True))
    assert rules_at(world.view, 2**52) == 1
    world.accept("alpha", ProposeUpgrade(2, world.view.tip.height + 10))


def test_rule_7_an_undecided_upgrade_whose_height_has_passed_does_not_bar_the_next(world: World) -> None:
    """Otherwise anybody could keep a version from ever being decided, by proposing it for the next block."""
    world.accept("user", ProposeUpgrade(2, world.view.tip.height + 2))
    world.accept("delta", ChangeAddress("x"))
    ahead = world.view.tip.height + 10
    world.accept("alpha", ProposeUpgrade(2, ahead))
    world.accept("beta", VoteOnUpgrade(2, True))
    world.accept("gamma", VoteOnUpgrade(2, True))
    assert rules_at(world.view, ahead) == 2


def test_rule_7_a_lost_upgrade_leaves_no_trace(world: World) -> None:
    world.accept("alpha", ProposeUpgrade(2, 100))
    world.accept("beta", VoteOnUpgrade(2, False))
    world.accept("gamma", VoteOnUpgrade(2, False))
    assert rules_at(world.view, 1000) == 1
    world.accept("alpha", ProposeUpgrade(2, 100))


def test_a_later_version_may_come_into_force_earlier_than_the_one_before(world: World) -> None:
    for rules, height in ((2, 100), (3, 50)):
        world.accept("alpha", ProposeUpgrade(rules, height))
        world.accept("beta", VoteOnUpgrade(rules, True))
        world.accept("gamma", VoteOnUpgrade(rules, True))
    assert [rules_at(world.view, height) for height in (49, 50, 99, 100, 1000)] == [1, 3, 3, 3, 3]


def test_participants_are_listed_by_name_with_those_who_have_left(world: World) -> None:
    world.accept("delta", Leave())
    assert [(entry.name, entry.status) for entry in participants(world.view) if entry.role == "hospital"] == [
        ("alpha", "active"),
        ("beta", "active"),
        ("delta", "left"),
        ("gamma", "active"),
    ]


def test_rule_1_a_name_whose_proposal_was_lost_may_be_proposed_anew_with_other_keys(world: World) -> None:
    world.accept("alpha", world.candidate("omega"))
    for voter in ("beta", "gamma"):
        world.accept(voter, VoteOnParticipant("omega", False))
    assert not admitted(world, "omega")
    world.accept("alpha", world.candidate("omega", generation=1))
    for voter in ("beta", "gamma"):
        world.accept(voter, VoteOnParticipant("omega", True))
    found = participant(world.view, "omega")
    assert found is not None
    assert found.signing_key == key_of("omega", 1).public


def test_what_is_being_voted_on_is_listed_with_the_votes_so_far(world: World) -> None:
    assert open_votes(world.view) == []
    world.accept("alpha", world.candidate("newbie"), ProposeRemoval("delta"), ProposeUpgrade(2, 1000))
    key = world.replacement("gamma", 1)
    world.accept("beta", key)
    assert open_votes(world.view) == [
        ("admit newbie as hospital", Ballot(("alpha",))),
        ("remove delta", Ballot(("alpha",))),
        (f"replace keys by {key.signing_key.hex()[:16]}", Ballot(("beta",))),
        ("rules 2 from block 1000", Ballot(("alpha",))),
    ]


def test_rule_1_a_proposal_that_a_departure_has_lost_may_be_made_anew_at_once(world: World) -> None:
    """Two of four could still have carried it; of three they cannot, and nobody has voted since."""
    world.accept("alpha", world.candidate("omega"))
    world.accept("beta", VoteOnParticipant("omega", False))
    world.accept("delta", Leave())
    world.accept("gamma", world.candidate("omega", generation=1))
    for voter in ("alpha", "beta"):
        world.accept(voter, VoteOnParticipant("omega", True))
    found = participant(world.view, "omega")
    assert found is not None
    assert found.signing_key == key_of("omega", 1).public


def test_rule_5_a_removal_that_a_departure_has_lost_may_be_proposed_anew_at_once(world: World) -> None:
    admit(world, "epsilon")
    world.accept("alpha", ProposeRemoval("delta"))
    world.accept("beta", VoteOnRemoval("delta", False))
    world.accept("gamma", Leave())
    world.accept("epsilon", ProposeRemoval("delta"))
    for voter in ("alpha", "beta"):
        world.accept(voter, VoteOnRemoval("delta", True))
    assert not admitted(world, "delta")


def test_rule_5_a_proposal_of_one_without_a_vote_is_no_yes_to_a_removal(world: World) -> None:
    world.accept("user", ProposeRemoval("delta"))
    for voter in ("alpha", "beta"):
        world.accept(voter, VoteOnRemoval("delta", True))
    assert admitted(world, "delta")
    world.accept("gamma", VoteOnRemoval("delta", True))
    assert not admitted(world, "delta")


def test_rule_7_an_upgrade_for_the_very_block_that_decides_it_lapses(world: World) -> None:
    for late, rules in ((0, 2), (1, 3)):
        height = world.view.tip.height + 4 + late
        world.accept("alpha", ProposeUpgrade(rules, height))
        world.accept("delta", ChangeAddress(f"host:{rules}"))
        world.accept("beta", VoteOnUpgrade(rules, True))
        world.accept("gamma", VoteOnUpgrade(rules, True))
        assert world.view.tip.height == height - late
        assert rules_at(world.view, height) == (rules if late else 1)


def test_rule_7_an_upgrade_proposed_for_this_block_does_not_bar_the_next(world: World) -> None:
    height = world.view.tip.height + 2
    world.accept("user", ProposeUpgrade(2, height))
    world.accept("alpha", ProposeUpgrade(2, height + 10))
    assert world.view.tip.height == height
    assert world.refuse("beta", ProposeUpgrade(2, height + 20)) == "already-proposed"


def test_rule_3_a_key_that_was_changed_to_is_taken_too(world: World) -> None:
    world.accept("alpha", world.new_keys("alpha", 1))
    world.generations["alpha"] = 1
    message = key_proof_message(world.view.chain, "beta", key_of("alpha", 1).public, sealing_key_of("beta", 1))
    stolen = RotateKeys(key_of("alpha", 1).public, sealing_key_of("beta", 1), key_of("alpha", 1).sign(message))
    assert world.refuse("beta", stolen) == "key-taken"
