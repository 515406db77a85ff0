"""Private set intersection by agents: it finds what plain sets have in common, and survives crashes and silence."""

from __future__ import annotations

import pytest
from tests.simulation.test_crashes import Bomb, Crash, ExplosiveBlobs
from tests.support.alignment import ID, AlignmentWorld, Entries, entries_of

from medfed.errors import InvalidInput
from medfed.hospital.alignment_state import alignment_key, approve_alignment
from medfed.hospital.consent import AlignmentPolicy, ConsentPolicy
from medfed.identifiers import Name
from medfed.ledger.verify import verify_ledger

FOUR = entries_of(alpha="a b c d", beta="b c e", delta="c x", gamma="d e y z")


def assert_right(world: AlignmentWorld, names: tuple[Name, ...]) -> None:
    """Every hospital has found exactly what the plain sets of `names` say."""
    for name in names:
        result = world.result(name)
        found = dict(zip(result.ids, result.holders, strict=True))
        expected = {
            tuple(ids): tuple(other for other in names if entry in world.entries[other])
            for entry, ids in world.entries[name].items()
        }
        assert found == {ids: holders for ids, holders in expected.items() if len(holders) > 1}


def test_four_agents_find_what_they_share_and_nothing_else() -> None:
    world = AlignmentWorld.build(FOUR)
    world.open()
    record = world.run()
    assert (record.phase, record.attempt) == ("completed", 0)
    assert_right(world, ("alpha", "beta", "delta", "gamma"))
    assert world.result("alpha").shared_with(2) == {"alpha-b", "alpha-c", "alpha-d"}
    assert world.result("alpha").shared_with(3) == {"alpha-c"}
    assert world.result("beta").kept_elsewhere("beta") == {"beta-b", "beta-c"}
    assert world.result("alpha").kept_elsewhere("alpha") == set()
    assert record.outcome == world.result("gamma").sizes.digest
    verify_ledger(world.engine.genesis, world.engine.blocks(), world.engine.genesis.digest)


def test_scalars_lists_and_inputs_are_deleted_after_the_run() -> None:
    world = AlignmentWorld.build(FOUR)
    world.open()
    world.run()
    world.tick()
    for name, vault in world.vaults.items():
        assert vault.keys_under("alignment/") == [alignment_key(ID, "result")], name


def test_a_hospital_without_entries_takes_part_and_learns_nothing() -> None:
    world = AlignmentWorld.build({**FOUR, "delta": {}})
    world.open()
    assert world.run().phase == "completed"
    assert_right(world, ("alpha", "beta", "delta", "gamma"))


@pytest.mark.parametrize("quiet", ["alpha", "delta"])
@pytest.mark.parametrize("since", ["committing", "blinding-0", "blinding-2", "matching"])
def test_it_goes_on_without_who_is_silent(quiet: Name, since: str) -> None:
    world = AlignmentWorld.build(FOUR)
    world.open()
    for _ in range(100):
        record = world.record
        if since in (record.phase, f"{record.phase}-{record.stage}"):
            break
        world.tick()
    world.silent.add(quiet)
    record = world.run()
    assert record.phase == "completed"
    others = tuple(name for name in sorted(FOUR) if name != quiet)
    if since == "matching":
        assert record.attempt == 0
        world.silent.clear()
        world.run()
        assert_right(world, tuple(sorted(FOUR)))
        return
    assert record.roster == others
    assert record.attempt == (0 if since == "committing" else 1)
    assert_right(world, others)


def test_a_new_attempt_draws_fresh_scalars_and_another_order() -> None:
    world = AlignmentWorld.build(FOUR)
    world.open()
    while world.record.phase != "blinding":
        world.tick()
    before = {name: vault.get(alignment_key(ID, "secret")) for name, vault in world.vaults.items()}
    lists = {name: vault.get(alignment_key(ID, "list")) for name, vault in world.vaults.items()}
    world.silent.add("gamma")
    while world.record.attempt == 0 or world.record.phase == "committing":
        if not world.tick():
            world.clock.advance(2_000)
    for name in ("alpha", "beta", "delta"):
        assert world.vaults[name].get(alignment_key(ID, "secret")) != before[name]
        again = world.vaults[name].get(alignment_key(ID, "list"))
        old = lists[name]
        assert again is not None
        assert old is not None
        assert not {again[at : at + 32] for at in range(0, len(again), 32)} & {
            old[at : at + 32] for at in range(0, len(old), 32)
        }


def test_a_person_decides_where_the_policy_asks() -> None:
    world = AlignmentWorld.build(FOUR, consent=ConsentPolicy())
    world.open()
    for _ in range(5):
        world.tick()
    assert world.record.lengths == ()
    for vault in world.vaults.values():
        approve_alignment(vault, world.record)
    assert world.run().phase == "completed"


def test_patients_are_not_compared_without_a_legal_basis_at_every_hospital() -> None:
    world = AlignmentWorld.build(FOUR)
    world.consent["beta"] = ConsentPolicy(alignment=AlignmentPolicy("approve", "approve", ""))
    world.restart("beta")
    world.open("patients")
    record = world.run()
    assert (record.phase, record.code) == ("ended", "no-legal-basis")
    assert record.published == ()


def test_an_approval_does_not_stand_for_a_legal_basis() -> None:
    world = AlignmentWorld.build(FOUR, consent=ConsentPolicy())
    world.open("patients")
    for vault in world.vaults.values():
        approve_alignment(vault, world.record)
    assert world.run().code == "no-legal-basis"


def test_entries_that_do_not_fit_into_the_bound_are_not_cut_but_declined() -> None:
    many: Entries = {b"entry %d" % n: (f"id{n}",) for n in range(200)}
    world = AlignmentWorld.build({**FOUR, "beta": many})
    world.open(bound=100)
    record = world.run()
    assert record.declined == ("beta",)
    assert_right(world, ("alpha", "delta", "gamma"))


def test_a_question_that_nobody_can_read_is_declined_and_a_site_in_disorder_waits_for_its_people() -> None:
    world = AlignmentWorld.build(FOUR)
    world.open("patients", question=b"no question")
    assert world.run().code == "invalid-question"

    world = AlignmentWorld.build(FOUR)
    world.open()

    def broken(kind: str, question: bytes) -> Entries:
        raise InvalidInput("people.csv: expected the columns patient, identifier")

    site = world.agents["beta"].site
    mended, site.entries = site.entries, broken
    for _ in range(3):
        world.tick()
    assert world.record.phase == "committing"
    assert any("people.csv" in text for text in world.agents["beta"].problems.values())
    site.entries = mended
    assert world.run().phase == "completed"
    assert_right(world, tuple(sorted(FOUR)))


def run_with_crash(fuse: int | None) -> tuple[AlignmentWorld, Bomb]:
    bomb, quiet = Bomb(None), Bomb(None)
    victim = "beta"
    blobs = ExplosiveBlobs(quiet)
    small = {name: FOUR[name] for name in ("alpha", "beta", "gamma")}
    world = AlignmentWorld.build(small, effect=lambda name: bomb if name == victim else quiet, blobs=blobs)
    bomb.count, bomb.names, bomb.fuse = 0, [], fuse
    world.open()

    def step(name: Name) -> int:
        blobs._bomb = bomb if name == victim else quiet
        try:
            waiting = world.agents[name].prepare()
            if name == victim:
                bomb("before submit")
            receipts = world.engine.submit(*waiting) if waiting else []
            if name == victim:
                bomb("after submit")
            return world.agents[name].settle(receipts)
        except Crash:
            world.restart(name)
            return 1

    world.run(step)
    return world, bomb


def test_an_agent_that_is_killed_at_any_effect_ends_with_the_same_result_in_the_first_attempt() -> None:
    _, bomb = run_with_crash(None)
    assert bomb.count > 40
    for fuse in range(1, bomb.count + 1):
        world, _ = run_with_crash(fuse)
        where = f"crash at effect {fuse} ({bomb.names[fuse - 1]})"
        assert (world.record.phase, world.record.attempt) == ("completed", 0), where
        assert_right(world, ("alpha", "beta", "gamma"))


def test_a_vault_restored_from_before_the_commitment_does_not_stop_the_others() -> None:
    world = AlignmentWorld.build(FOUR)
    world.open()
    while world.record.phase != "blinding":
        world.tick()
    for part in ("secret", "list", "inputs"):
        world.vaults["beta"].delete(alignment_key(ID, part))
    record = world.run()
    assert (record.phase, record.roster) == ("completed", ("alpha", "delta", "gamma"))
    assert_right(world, ("alpha", "delta", "gamma"))
