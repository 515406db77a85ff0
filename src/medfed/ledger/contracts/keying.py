"""From enrolment to keys: who takes part, and which pairs share a secret.

Rules:
1. Only who approved enrols, once, with at least the least number of examples. A study key may be another's as well:
   who copies one opens nothing with it, and could otherwise stop its owner by being first.
2. Pair secrets go from the bytewise lower to every higher enrolled hospital; who posts none leaves the roster.
3. A complaint names a posted secret to the complainer that does not open; it deletes that edge. Counted once, when
   keying closes: who lost more than a third of its edges leaves, without cascade. Among three an edge that is lost
   aborts, also if there were more before: an escrow would have a single holder, and one share would open it.
4. Who does not confirm its keys in time leaves. Those that remain are the study roster, for good, and rounds begin.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from medfed.encoding import Record
from medfed.errors import Refused
from medfed.identifiers import Digest, Name, StudyId
from medfed.ledger.contracts.context import Call
from medfed.ledger.contracts.offices import is_masked
from medfed.ledger.contracts.rounds import open_round
from medfed.ledger.contracts.studies import (
    Enrolment,
    HybridPublicKey,
    PairSecrets,
    SealedSecret,
    Study,
    abort,
    need_study,
    put_enrolment,
    put_pair_secrets,
    put_study,
    with_name,
)
from medfed.ledger.state import Overlay

__all__ = ["ComplainAboutPair", "Enrol", "KeysReady", "SealPairSecrets"]


class Enrol(Record, tag_field="type", tag="enrol"):
    """Enrol with a number of examples, salted proof of them, and a fresh key for this study."""

    study: StudyId
    examples: Annotated[int, Meta(ge=1, le=10_000_000)]
    schema: Digest
    cases_root: Digest
    study_key: HybridPublicKey


class SealPairSecrets(Record, tag_field="type", tag="seal-pair-secrets"):
    """Post the pair secrets for every higher enrolled hospital; the highest posts an empty list."""

    study: StudyId
    secrets: Annotated[tuple[SealedSecret, ...], Meta(max_length=50)]


class ComplainAboutPair(Record, tag_field="type", tag="complain-about-pair"):
    """A posted secret to me does not open."""

    study: StudyId
    about: Name


class KeysReady(Record, tag_field="type", tag="keys-ready"):
    """My pair secrets are opened and in my vault."""

    study: StudyId


def apply_enrol(overlay: Overlay, call: Call, body: Enrol) -> None:
    """Rule 1."""
    study = need_study(overlay, body.study, "enrolling")
    if call.sender not in study.approved:
        raise Refused("not-approved", f"{call.sender} has not approved this study")
    if call.sender in study.enrolled:
        raise Refused("already-enrolled", f"{call.sender} is enrolled")
    if body.examples < study.terms.min_examples:
        raise Refused("too-few-examples", f"the plan asks for at least {study.terms.min_examples} examples")
    entry = Enrolment(body.examples, body.schema, body.cases_root, body.study_key)
    put_enrolment(overlay, study.study, call.sender, entry)
    study = replace(study, enrolled=with_name(study.enrolled, call.sender))
    put_study(overlay, study)
    if study.enrolled == study.approved:
        close_enrolment(overlay, call, study)


def apply_seal_pair_secrets(overlay: Overlay, call: Call, body: SealPairSecrets) -> None:
    """Rule 2."""
    study = need_study(overlay, body.study, "sealing")
    if call.sender not in study.enrolled:
        raise Refused("not-enrolled", f"{call.sender} is not enrolled")
    if call.sender in study.sealed:
        raise Refused("already-sealed", f"{call.sender} has posted its pair secrets")
    wanted = tuple(name for name in study.enrolled if name > call.sender)
    if tuple(entry.receiver for entry in body.secrets) != wanted:
        raise Refused("wrong-receivers", "pair secrets go to every higher enrolled hospital, in order")
    put_pair_secrets(overlay, study.study, call.sender, PairSecrets(body.secrets))
    study = replace(study, sealed=with_name(study.sealed, call.sender))
    put_study(overlay, study)
    if study.sealed == study.enrolled:
        close_sealing(overlay, call, study)


def apply_complain_about_pair(overlay: Overlay, call: Call, body: ComplainAboutPair) -> None:
    """Rule 3: only about a secret that was posted to the complainer."""
    study = _need_unready(overlay, call, body.study)
    if body.about not in study.sealed or body.about >= call.sender:
        raise Refused("no-such-secret", f"{body.about} has posted no pair secret for {call.sender}")
    edge = (body.about, call.sender)
    if edge in study.lost_edges:
        raise Refused("already-complained", "this pair was complained about")
    put_study(overlay, replace(study, lost_edges=tuple(sorted((*study.lost_edges, edge)))))


def apply_keys_ready(overlay: Overlay, call: Call, body: KeysReady) -> None:
    """Rule 4."""
    study = _need_unready(overlay, call, body.study)
    study = replace(study, ready=with_name(study.ready, call.sender))
    put_study(overlay, study)
    if study.ready == study.sealed:
        close_keying(overlay, call, study)


def close_enrolment(overlay: Overlay, call: Call, study: Study) -> None:
    """All who approved have enrolled, or the deadline has passed."""
    if len(study.enrolled) < study.terms.quorum:
        abort(overlay, study, "too-few-enrolled")
        return
    if not is_masked(study):  # no pair secrets: the key holder's or aggregator's keys are all that is awaited
        open_round(overlay, call, replace(study, phase="running", roster=study.enrolled, base=study.terms.initial))
        return
    deadline = call.block.time_ms + study.terms.deadlines.keying
    put_study(overlay, replace(study, phase="sealing", deadline_ms=deadline))


def close_sealing(overlay: Overlay, call: Call, study: Study) -> None:
    """Rule 2: no edge is deleted for silence, the silent leave."""
    if len(study.sealed) < study.terms.quorum:
        abort(overlay, study, "too-few-sealed")
        return
    deadline = call.block.time_ms + study.terms.deadlines.keying
    put_study(overlay, replace(study, phase="confirming", deadline_ms=deadline))


def close_keying(overlay: Overlay, call: Call, study: Study) -> None:
    """Rules 3 and 4: count the lost edges once, fix the study roster, and let the rounds begin."""
    members = study.sealed
    if len(members) == 3 and study.lost_edges:
        abort(overlay, study, "pair-complaint-among-three")
        return
    edges = len(members) - 1
    isolated = {name for name in members if 3 * sum(name in edge for edge in study.lost_edges) > edges}
    roster = tuple(name for name in members if name in study.ready and name not in isolated)
    if len(roster) < study.terms.quorum:
        abort(overlay, study, "too-few-with-keys")
        return
    lost = tuple(edge for edge in study.lost_edges if edge[0] in roster and edge[1] in roster)
    if len(roster) == 3 and lost:
        abort(overlay, study, "pair-complaint-among-three")
        return
    running = replace(study, phase="running", roster=roster, lost_edges=lost, base=study.terms.initial)
    open_round(overlay, call, running)


def _need_unready(overlay: Overlay, call: Call, study: StudyId) -> Study:
    record = need_study(overlay, study, "confirming")
    if call.sender not in record.sealed:
        raise Refused("not-in-study", f"{call.sender} has posted no pair secrets")
    if call.sender in record.ready:
        raise Refused("already-ready", f"{call.sender} has confirmed its keys")
    return record
