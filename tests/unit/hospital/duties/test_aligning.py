"""The duties of an alignment, each alone: when it is due, what it sends, and what it waits for or refuses."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.support.alignment import ID, AlignmentWorld, entries_of

from medfed.alignment.blinding import blind_list
from medfed.crypto import ELEMENT_BYTES, is_commitment_to
from medfed.errors import InvalidInput, Tampered, Unavailable
from medfed.hospital.alignment_state import AttemptSecret, KeptInputs, alignment_key, approve_alignment
from medfed.hospital.consent import AlignmentPolicy, ConsentPolicy
from medfed.hospital.duties.aligning import (
    ALIGNMENT_DUTIES,
    RANK_DELAY_MS,
    START_GRACE_MS,
    AdvanceAlignmentDeadline,
    AlignmentDuty,
    CommitOwnInputs,
    MatchLists,
    PublishOwnPart,
    SecondReports,
)
from medfed.hospital.work import Me, Work
from medfed.identifiers import Digest, Name
from medfed.ledger.contracts.alignment import (
    Alignment,
    AlignmentKind,
    CommitInputs,
    DeclineAlignment,
    list_owner,
    put_alignment,
)
from medfed.ledger.contracts.alignment_blinding import (
    AdvanceAlignment,
    CompleteAlignment,
    PublishBlinded,
    ReportBlinded,
    blinded,
    publisher_of,
)
from medfed.ledger.engine import StateView
from medfed.ledger.state import Overlay

NAMES = ("alpha", "beta", "gamma")
ENTRIES = entries_of(alpha="a b", beta="b c", gamma="a c")
STAGE_MS = 60_000


@pytest.fixture
def world() -> AlignmentWorld:
    world = AlignmentWorld.build(ENTRIES)
    world.open()
    return world


def due(duty: AlignmentDuty, world: AlignmentWorld, name: Name, **changed: Any) -> list[Work]:
    """What is due to `name`, of the alignment as it stands but for some fields."""
    record = replace(world.record, **changed)
    return list(duty.due(world.engine.view(), record, Me(name, world.clock(), 0)))


def perform(duty: AlignmentDuty, world: AlignmentWorld, name: Name, work: Work | None = None) -> list[Any]:
    if work is None:
        (work,) = due(duty, world, name)
    return list(duty.perform(work, world.agents[name].site, world.engine.view()))


def until(world: AlignmentWorld, phase: str, stage: int = 0, *silent: Name) -> None:
    """Everybody but `silent` steps, one at a time, until the alignment stands there."""
    for _ in range(50):
        for name in NAMES:
            if (world.record.phase, world.record.stage) == (phase, stage):
                return
            if name not in silent:
                world.agents[name].step()
    raise AssertionError(f"still {world.record.phase}, stage {world.record.stage}")


def consenting(kind: AlignmentKind, policy: AlignmentPolicy) -> AlignmentWorld:
    world = AlignmentWorld.build(ENTRIES, consent=ConsentPolicy(alignment=policy))
    world.open(kind)
    return world


@pytest.mark.parametrize("duty", ALIGNMENT_DUTIES[:-1], ids=lambda duty: duty.name)
def test_work_of_an_alignment_that_is_not_there_or_of_another_attempt_is_nothing_to_do(
    duty: AlignmentDuty, world: AlignmentWorld
) -> None:
    assert perform(duty, world, "alpha", Work(duty.name, b"another alignmen", 0, 0, "beta")) == []
    assert perform(duty, world, "alpha", Work(duty.name, ID, 0, 1, "beta")) == []


# Committing.


def test_a_commitment_is_due_once_to_whoever_is_expected(world: AlignmentWorld) -> None:
    duty = CommitOwnInputs()
    assert due(duty, world, "alpha") == [Work("commit-inputs", ID, 0, 0, "committing")]
    assert due(duty, world, "omega") == []
    assert due(duty, world, "alpha", phase="blinding") == []
    world.agents["alpha"].step()
    assert due(duty, world, "alpha") == []
    assert due(duty, world, "alpha", attempt=1) == [Work("commit-inputs", ID, 0, 1, "committing")]


def test_what_is_committed_to_is_in_the_vault_and_the_same_after_a_crash(world: AlignmentWorld) -> None:
    (body,) = perform(CommitOwnInputs(), world, "alpha")
    assert isinstance(body, CommitInputs)
    vault = world.vaults["alpha"]
    secret = vault.load(alignment_key(ID, "secret"), AttemptSecret)
    kept = vault.load(alignment_key(ID, "inputs"), KeptInputs)
    listed = vault.get(alignment_key(ID, "list"))
    assert secret is not None
    assert kept is not None
    assert listed is not None
    assert (body.length, len(listed)) == (16, 16 * ELEMENT_BYTES)
    assert kept.entries == (b"entry a", b"entry b")
    assert len(set(secret.positions)) == 2
    assert is_commitment_to(body.elements, secret.salt, world.agents["alpha"].site.blobs.put(listed))
    world.restart("alpha")
    assert perform(CommitOwnInputs(), world, "alpha") == [body]


def test_a_new_attempt_has_another_scalar_and_order_and_the_same_inputs(world: AlignmentWorld) -> None:
    until(world, "blinding", 0)
    for name in ("alpha", "beta"):
        world.agents[name].step()
    vault = world.vaults["alpha"]
    first = vault.load(alignment_key(ID, "secret"), AttemptSecret)
    world.clock.now_ms = world.record.deadline_ms + 1
    world.send("alpha", AdvanceAlignment(ID))
    assert (world.record.phase, world.record.attempt, world.record.roster) == ("committing", 1, ("alpha", "beta"))
    (body,) = perform(CommitOwnInputs(), world, "alpha")
    second = vault.load(alignment_key(ID, "secret"), AttemptSecret)
    assert first is not None
    assert second is not None
    assert (second.attempt, body.attempt) == (1, 1)
    assert len({first.scalar, second.scalar, first.salt, second.salt}) == 4
    assert world.send("alpha", body).accepted, "the inputs are those of the first attempt"


@pytest.mark.parametrize(
    ("kind", "policy", "code"),
    [
        ("signatures", AlignmentPolicy("decline", "approve", "a law"), "policy"),
        ("patients", AlignmentPolicy("approve", "decline", "a law"), "policy"),
        ("patients", AlignmentPolicy("approve", "approve", ""), "no-legal-basis"),
        ("patients", AlignmentPolicy("approve", "ask", ""), "no-legal-basis"),
    ],
)
def test_the_sites_policy_declines(kind: AlignmentKind, policy: AlignmentPolicy, code: str) -> None:
    world = consenting(kind, policy)
    assert perform(CommitOwnInputs(), world, "alpha") == [DeclineAlignment(ID, code)]
    assert world.vaults["alpha"].keys_under("alignment/") == []


@pytest.mark.parametrize("kind", ["signatures", "patients"])
def test_what_the_policy_leaves_to_a_person_waits_for_that_person(kind: AlignmentKind) -> None:
    world = consenting(kind, AlignmentPolicy("ask", "ask", "a law"))
    assert perform(CommitOwnInputs(), world, "alpha") == []
    other = replace(world.record, question=bytes(32))
    approve_alignment(world.vaults["alpha"], other)
    assert perform(CommitOwnInputs(), world, "alpha") == [], "another question was approved"
    approve_alignment(world.vaults["alpha"], world.record)
    assert isinstance(perform(CommitOwnInputs(), world, "alpha")[0], CommitInputs)


def test_a_site_that_cannot_answer_says_why_by_code() -> None:
    world = AlignmentWorld.build(ENTRIES)
    world.open(question=b"no question")
    assert perform(CommitOwnInputs(), world, "alpha") == [DeclineAlignment(ID, "invalid-question")]
    world = AlignmentWorld.build(ENTRIES)
    world.open()
    world.agents["alpha"].site.entries = None
    assert perform(CommitOwnInputs(), world, "alpha") == [DeclineAlignment(ID, "no-library")]


def test_a_list_that_is_too_long_with_its_padding_is_declined() -> None:
    many = entries_of(alpha=" ".join(map(str, range(17))), beta="b", gamma="c")
    world = AlignmentWorld.build(many)
    world.open(bound=18)
    assert perform(CommitOwnInputs(), world, "alpha") == [DeclineAlignment(ID, "list-too-long")]
    world = AlignmentWorld.build(many)
    world.open(bound=19)
    assert perform(CommitOwnInputs(), world, "alpha")[0].length == 19


def test_what_is_wrong_at_this_site_is_an_error_here_and_no_decline(world: AlignmentWorld) -> None:
    def broken(kind: AlignmentKind, question: bytes) -> Any:
        raise InvalidInput("identifiers: line 3")

    world.agents["alpha"].site.entries = broken
    with pytest.raises(InvalidInput, match="line 3"):
        perform(CommitOwnInputs(), world, "alpha")


# Publishing.


def test_publishing_is_due_in_every_stage_to_who_has_not(world: AlignmentWorld) -> None:
    duty = PublishOwnPart()
    assert due(duty, world, "alpha") == []
    until(world, "blinding")
    assert due(duty, world, "alpha") == [Work("publish-blinded", ID, 0, 0, "blinding")]
    assert due(duty, world, "omega") == []
    assert due(duty, world, "alpha", published=("alpha",)) == []
    assert due(duty, world, "alpha", phase="matching") == []
    until(world, "blinding", 1)
    assert due(duty, world, "alpha") == [Work("publish-blinded", ID, 1, 0, "blinding")]


def test_the_own_list_goes_out_first_with_its_salt_and_the_neighbours_blinded_then(world: AlignmentWorld) -> None:
    until(world, "blinding")
    (body,) = perform(PublishOwnPart(), world, "alpha")
    secret = world.vaults["alpha"].load(alignment_key(ID, "secret"), AttemptSecret)
    assert secret is not None
    assert (body.stage, body.salt) == (0, secret.salt)
    assert world.blobs.get(body.blob) == world.vaults["alpha"].get(alignment_key(ID, "list"))
    assert perform(PublishOwnPart(), world, "alpha", Work("publish-blinded", ID, 1, 0)) == [], "another stage"
    until(world, "blinding", 1)
    (body,) = perform(PublishOwnPart(), world, "alpha")
    assert isinstance(body, PublishBlinded)
    assert (body.stage, body.salt) == (1, None)
    owner = list_owner(world.record, 1, "alpha")
    theirs = blinded(world.engine.view(), world.record, 0, owner)
    assert theirs is not None
    assert world.blobs.get(body.blob) == blind_list(secret.scalar, world.blobs.get(theirs), 16)
    assert perform(PublishOwnPart(), world, "alpha") == [body], "the same bytes again"


def test_a_vault_without_the_scalar_of_this_attempt_publishes_nothing(world: AlignmentWorld) -> None:
    until(world, "blinding")
    (work,) = due(PublishOwnPart(), world, "alpha")
    vault = world.vaults["alpha"]
    secret = vault.load(alignment_key(ID, "secret"), AttemptSecret)
    assert secret is not None
    vault.store(alignment_key(ID, "secret"), replace(secret, attempt=1))
    assert perform(PublishOwnPart(), world, "alpha", work) == []
    vault.delete(alignment_key(ID, "secret"))
    assert perform(PublishOwnPart(), world, "alpha", work) == []


def _awaited(world: AlignmentWorld, who: Name) -> tuple[Name, Digest]:
    """Whose blob `who` has to blind in this stage, and which."""
    record = world.record
    before = publisher_of(record, record.stage - 1, list_owner(record, record.stage, who))
    blob = blinded(world.engine.view(), record, record.stage - 1, before)
    assert blob is not None
    return before, blob


def test_a_list_that_cannot_be_had_is_waited_for_half_of_the_stage_and_then_reported(world: AlignmentWorld) -> None:
    until(world, "blinding", 1)
    before, blob = _awaited(world, "alpha")
    world.blobs.delete(blob)
    world.clock.now_ms = world.record.deadline_ms - STAGE_MS // 2 - 1
    with pytest.raises(Unavailable, match=f"waiting for the list that {before} has published"):
        perform(PublishOwnPart(), world, "alpha")
    world.clock.now_ms += 1
    assert perform(PublishOwnPart(), world, "alpha") == [ReportBlinded(ID, 0, before)]


def test_a_damaged_copy_is_nobodys_fault_at_first(world: AlignmentWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    until(world, "blinding", 1)

    def damaged(digest: Digest) -> bytes:
        raise Tampered("blob: its bytes are not those of its digest")

    monkeypatch.setattr(world.blobs, "get", damaged)
    monkeypatch.setattr(world.blobs, "size", lambda digest: 16 * ELEMENT_BYTES)
    with pytest.raises(Unavailable, match="waiting for the list"):
        perform(PublishOwnPart(), world, "alpha")


def _put_in_place(world: AlignmentWorld, who: Name, data: bytes) -> StateView:
    """The view in which `who` has published `data` in the stage before."""
    from medfed.ledger.contracts import alignment_blinding

    view, record = world.engine.view(), world.record
    overlay = Overlay(view.state)
    alignment_blinding._BLOBS.put(overlay, world.blobs.put(data), ID, record.attempt, record.stage - 1, who)
    return StateView(view.genesis, view.state.with_writes(overlay.writes), view.tip)


@pytest.mark.parametrize("size", [0, ELEMENT_BYTES, 15 * ELEMENT_BYTES, 16 * ELEMENT_BYTES - 1, 17 * ELEMENT_BYTES])
def test_a_list_of_another_length_is_reported_at_once(world: AlignmentWorld, size: int) -> None:
    until(world, "blinding", 1)
    before, _ = _awaited(world, "alpha")
    (work,) = due(PublishOwnPart(), world, "alpha")
    view = _put_in_place(world, before, bytes(size))
    found = list(PublishOwnPart().perform(work, world.agents["alpha"].site, view))
    assert found == [ReportBlinded(ID, 0, before)]


def test_bytes_that_are_no_elements_are_reported_at_once(world: AlignmentWorld) -> None:
    until(world, "blinding", 1)
    before, _ = _awaited(world, "alpha")
    (work,) = due(PublishOwnPart(), world, "alpha")
    view = _put_in_place(world, before, b"\xff" * (16 * ELEMENT_BYTES))
    found = list(PublishOwnPart().perform(work, world.agents["alpha"].site, view))
    assert found == [ReportBlinded(ID, 0, before)]


def _altered(world: AlignmentWorld, **changed: Any) -> StateView:
    view = world.engine.view()
    overlay = Overlay(view.state)
    put_alignment(overlay, replace(world.record, **changed))
    return StateView(view.genesis, view.state.with_writes(overlay.writes), view.tip)


def test_what_was_reported_is_not_reported_again(world: AlignmentWorld) -> None:
    until(world, "blinding", 1)
    before, blob = _awaited(world, "alpha")
    (work,) = due(PublishOwnPart(), world, "alpha")
    world.blobs.delete(blob)
    world.clock.now_ms = world.record.deadline_ms
    view = _altered(world, reports=(("alpha", before),))
    with pytest.raises(Unavailable, match="is wrong or cannot be had"):
        PublishOwnPart().perform(work, world.agents["alpha"].site, view)


# Second reports.


def test_a_second_look_is_due_at_every_reported_hospital_but_the_own_reports_and_oneself(world: AlignmentWorld) -> None:
    until(world, "blinding", 1)
    reports = (("alpha", "beta"), ("beta", "gamma"), ("gamma", "alpha"))

    def about(name: Name, **changed: Any) -> list[str]:
        return [work.detail for work in due(SecondReports(), world, name, reports=reports, **changed)]

    assert about("alpha") == ["gamma"]
    assert about("beta") == ["alpha"]
    assert about("gamma") == ["beta"]
    assert about("omega") == []
    assert about("alpha", phase="matching") == ["gamma"]
    assert about("alpha", phase="committing") == []
    assert about("alpha", phase="completed") == []


def _second(world: AlignmentWorld, name: Name, about: Name) -> list[Any]:
    record = world.record
    return perform(SecondReports(), world, name, Work("second-report", ID, record.stage, record.attempt, about))


def test_who_is_reported_wrongly_is_cleared_once_for_every_stage(
    world: AlignmentWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    until(world, "blinding", 1)
    assert _second(world, "alpha", "gamma") == []
    cleared = alignment_key(ID, "cleared", 0, "gamma", 1)
    assert world.vaults["alpha"].get(cleared) == b""
    read: list[Digest] = []
    monkeypatch.setattr(world.blobs, "size", lambda digest: read.append(digest) or 0)
    assert _second(world, "alpha", "gamma") == []
    assert read == [], "it was looked at before"


def test_who_has_published_a_wrong_list_in_any_stage_is_reported_too(world: AlignmentWorld) -> None:
    until(world, "blinding", 1)
    work = Work("second-report", ID, 1, 0, "gamma")
    view = _put_in_place(world, "gamma", bytes(16 * ELEMENT_BYTES))
    found = list(SecondReports().perform(work, world.agents["alpha"].site, view))
    assert found == [ReportBlinded(ID, 0, "gamma")]


def test_a_reported_list_that_cannot_be_had_here_either_is_waited_for_first(world: AlignmentWorld) -> None:
    until(world, "blinding", 1)
    blob = blinded(world.engine.view(), world.record, 0, "gamma")
    assert blob is not None
    world.blobs.delete(blob)
    with pytest.raises(Unavailable, match="waiting for the list that gamma has published"):
        _second(world, "alpha", "gamma")
    world.clock.now_ms = world.record.deadline_ms
    assert _second(world, "alpha", "gamma") == [ReportBlinded(ID, 0, "gamma")]


# Matching.


def test_matching_is_due_once_to_the_whole_roster_also_after_completion(world: AlignmentWorld) -> None:
    duty = MatchLists()
    until(world, "matching", 2)
    assert due(duty, world, "alpha") == [Work("complete-alignment", ID, 2, 0, "matching")]
    assert due(duty, world, "alpha", phase="completed") == [Work("complete-alignment", ID, 2, 0, "completed")]
    assert due(duty, world, "alpha", phase="blinding") == []
    assert due(duty, world, "omega") == []
    assert due(duty, world, "alpha", results=(("alpha", bytes(32)),)) == []
    assert due(duty, world, "alpha", results=(("beta", bytes(32)),)) != []


def test_what_others_have_too_is_kept_and_its_sizes_are_said(world: AlignmentWorld) -> None:
    until(world, "matching", 2)
    (body,) = perform(MatchLists(), world, "alpha")
    result = world.result("alpha")
    assert body == CompleteAlignment(ID, 0, result.sizes.digest)
    assert (result.kind, result.roster, result.entries) == ("signatures", NAMES, 2)
    assert dict(zip(result.ids, result.holders, strict=True)) == {
        ("alpha-a",): ("alpha", "gamma"),
        ("alpha-b",): ("alpha", "beta"),
    }


def test_a_site_that_has_forgotten_its_entries_matches_nothing(world: AlignmentWorld) -> None:
    until(world, "matching", 2)
    vault = world.vaults["alpha"]
    for part in ("inputs", "secret"):
        kept = vault.get(alignment_key(ID, part))  # type: ignore[arg-type]
        assert kept is not None
        vault.delete(alignment_key(ID, part))  # type: ignore[arg-type]
        assert perform(MatchLists(), world, "alpha") == []
        vault.put(alignment_key(ID, part), kept)  # type: ignore[arg-type]


def test_a_last_list_that_cannot_be_had_is_reported_late_and_a_completed_run_reports_nobody(
    world: AlignmentWorld,
) -> None:
    until(world, "matching", 2)
    last = publisher_of(world.record, 2, "beta")
    blob = blinded(world.engine.view(), world.record, 2, last)
    assert blob is not None
    world.blobs.delete(blob)
    with pytest.raises(Unavailable, match=f"waiting for the list that {last} has published"):
        perform(MatchLists(), world, "beta")
    world.clock.now_ms = world.record.deadline_ms
    assert perform(MatchLists(), world, "beta") == [ReportBlinded(ID, 0, last)]
    completed = _altered(world, phase="completed")
    with pytest.raises(Unavailable, match="cannot be had"):
        MatchLists().perform(Work("complete-alignment", ID, 2, 0), world.agents["beta"].site, completed)


def test_a_last_list_of_another_length_is_reported(world: AlignmentWorld) -> None:
    from medfed.ledger.contracts import alignment_blinding

    until(world, "matching", 2)
    view = world.engine.view()
    overlay = Overlay(view.state)
    last = publisher_of(world.record, 2, "gamma")
    alignment_blinding._BLOBS.put(overlay, world.blobs.put(bytes(32)), ID, 0, 2, last)
    lied = StateView(view.genesis, view.state.with_writes(overlay.writes), view.tip)
    found = MatchLists().perform(Work("complete-alignment", ID, 2, 0), world.agents["alpha"].site, lied)
    assert list(found) == [ReportBlinded(ID, 0, last)]


# Deadlines.


def _says_so_at(record: Alignment, view: StateView, name: Name, now: int, started: int = 0) -> bool:
    return bool(AdvanceAlignmentDeadline().due(view, record, Me(name, now, started)))


@pytest.mark.parametrize("attempt", [0, 1, 2, 3])
def test_a_passed_deadline_is_said_by_one_after_another_and_every_attempt_by_another_first(
    world: AlignmentWorld, attempt: int
) -> None:
    record, view = replace(world.record, attempt=attempt), world.engine.view()
    for place, name in enumerate(NAMES):
        turn = record.deadline_ms + RANK_DELAY_MS * ((place - attempt) % 3)
        assert not _says_so_at(record, view, name, turn)
        assert _says_so_at(record, view, name, turn + 1)


def test_an_agent_that_has_just_started_waits_a_moment(world: AlignmentWorld) -> None:
    record, view = world.record, world.engine.view()
    started = record.deadline_ms + 10_000
    assert not _says_so_at(record, view, "alpha", started + START_GRACE_MS, started)
    assert _says_so_at(record, view, "alpha", started + START_GRACE_MS + 1, started)


def test_deadlines_are_said_by_the_invited_while_the_alignment_is_open(world: AlignmentWorld) -> None:
    record, view = world.record, world.engine.view()
    late = record.deadline_ms + 60_000
    for phase in ("committing", "blinding", "matching"):
        assert _says_so_at(replace(record, phase=phase), view, "gamma", late)
    for phase in ("completed", "ended"):
        assert not _says_so_at(replace(record, phase=phase), view, "gamma", late)
    assert not _says_so_at(record, view, "omega", late)
    world.clock.now_ms = late
    (work,) = due(AdvanceAlignmentDeadline(), world, "alpha")
    assert work.detail == f"{record.deadline_ms}"
    assert perform(AdvanceAlignmentDeadline(), world, "alpha") == [AdvanceAlignment(ID)]
