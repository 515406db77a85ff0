"""From what was published to the sum and the next learning state. Anyone with the ledger and the blobs can do this.

Needs no secret: the survivors' blobs and the revealed seeds. So an auditor computes the same states as the hospitals.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from medfed.blobs import BlobStore, awaiting_good_copy
from medfed.encoding import decode
from medfed.errors import InvalidInput, Tampered, Unavailable
from medfed.federation.learning_state import LearningState
from medfed.federation.plan import Plan, TrainingNoise
from medfed.federation.sealed_aggregate import EXAMPLES
from medfed.federation.study import Outcome, absorb, absorb_implausible, initial_state, round_manifest
from medfed.hospital.votes_round import absorb_votes, votes_manifest
from medfed.identifiers import StudyId
from medfed.ledger.contracts.aggregates import aggregate
from medfed.ledger.contracts.ciphertexts import decryption
from medfed.ledger.contracts.offices import is_masked, is_sealed
from medfed.ledger.contracts.reveals import Seeds, seeds
from medfed.ledger.contracts.rounds import Round, round_record
from medfed.ledger.contracts.studies import Study, capped_examples, enrolment, proposed_plan, study_record
from medfed.ledger.contracts.updates import Submission, submission
from medfed.ledger.state import Reader
from medfed.secure_sum import Manifest, decode_sum, decode_update, implausible_entries, mask_sign, unmask_sum

__all__ = [
    "absorb_round",
    "manifest_of",
    "plan_of",
    "recompute_state",
    "released_sum",
    "unmasked_total",
    "weight_of",
    "weight_of_survivors",
]

CLOSED = ("released", "failed", "unreleased", "skipped")


def plan_of(reader: Reader, study: StudyId) -> Plan:
    """The plan that was proposed.

    Raises:
        Unavailable: no such study. InvalidInput: the plan's bytes are not a plan.
    """
    data = proposed_plan(reader, study)
    if data is None:
        raise Unavailable(f"study {study.hex()}: it is not on the ledger")
    return decode(data, Plan)


def weight_of(reader: Reader, study: Study, name: str) -> tuple[int, int]:
    """n_i and Σ n over the study roster, enrolled counts capped by the plan."""
    return capped_examples(reader, study, name), _all_examples(reader, study)


def weight_of_survivors(reader: Reader, study: Study, record: Round) -> tuple[int, int]:
    """Σ n over the survivors, and over the study roster."""
    return sum(capped_examples(reader, study, name) for name in record.survivors), _all_examples(reader, study)


def manifest_of(reader: Reader, plan: Plan, record: Round) -> Manifest:
    """What is summed in a round: it follows from the plan and, in a votes round, from its stage."""
    if record.kind == "votes":
        return votes_manifest(reader, plan, record)
    return round_manifest(plan, record.kind)


def unmasked_total(reader: Reader, study: Study, plan: Plan, record: Round, blobs: BlobStore) -> NDArray[np.uint32]:
    """Σ x_i over the survivors of a released round, modulo 2^32: uint32 [manifest length].

    Unmasked here, or as the key holder has decrypted it, or what the aggregator of sealed updates has made of them.

    Raises:
        Unavailable: a survivor's blob is not here, or its copy here is damaged. Tampered: the ledger lacks what a
            released round must have. InvalidInput: an office holder published something that is no such total.
    """
    if not is_masked(study):
        return _published_total(reader, study, plan, record, blobs)
    submissions: list[Submission] = []
    opened: list[Seeds] = []
    for name in record.survivors:
        place = (study.study, record.number, record.attempt, name)
        submitted, known = submission(reader, *place), seeds(reader, *place)
        if submitted is None or known is None:
            raise Tampered(f"round {record.number}: released without the update or the seeds of {name}")
        submissions.append(submitted)
        opened.append(known)
    leftover = [
        (pair.seed, mask_sign(name, pair.name))
        for name, known in zip(record.survivors, opened, strict=True)
        for pair in known.pair_seeds
    ]
    length = manifest_of(reader, plan, record).length
    with awaiting_good_copy(f"round {record.number}"):
        return unmask_sum(_streams(submissions, blobs), [known.self_seed for known in opened], leftover, length)


def released_sum(reader: Reader, study: Study, plan: Plan, record: Round, blobs: BlobStore) -> dict[str, NDArray[Any]]:
    """The decoded sum of a released round, by entry name.

    Raises:
        Unavailable: a survivor's blob is not here. Tampered: the ledger lacks what a released round must have.
    """
    total = unmasked_total(reader, study, plan, record, blobs)
    weights = weight_of_survivors(reader, study, record)
    manifest = manifest_of(reader, plan, record)
    if record.kind == "training" and isinstance(plan.noise, TrainingNoise):
        # The lattice is sized for the invited, whoever has enrolled.
        hospitals = len(plan.participation.hospitals)
        weights = (len(record.survivors), hospitals)
        return decode_sum(manifest, total, weights, hospitals, noise_bound=plan.noise.lattice.noise_bound)
    return decode_sum(manifest, total, weights, len(study.roster))


def absorb_round(
    reader: Reader, study: Study, plan: Plan, state: LearningState, record: Round, blobs: BlobStore
) -> Outcome:
    """What a closed round makes of the learning state; only a released one changes it."""
    if record.phase != "released":
        return Outcome(state, accepted=True, stop=False)
    try:
        sums = released_sum(reader, study, plan, record, blobs)
    except InvalidInput:
        if is_masked(study):  # under masks all survivors have checked every length
            raise
        return absorb_implausible(plan, state, record.kind, record.number)
    if record.kind == "votes":
        return absorb_votes(reader, plan, state, record, sums)
    weights = weight_of_survivors(reader, study, record)
    if isinstance(plan.noise, TrainingNoise):  # the noise may pass the clip
        return absorb(plan, state, record.kind, record.number, sums, weights)
    if is_sealed(study) and not _counts_all_examples(reader, study, record, sums):
        return absorb_implausible(plan, state, record.kind, record.number)
    if implausible_entries(round_manifest(plan, record.kind), sums, weights, len(study.roster)):
        return absorb_implausible(plan, state, record.kind, record.number)
    return absorb(plan, state, record.kind, record.number, sums, weights)


def recompute_state(reader: Reader, study: StudyId, blobs: BlobStore, before: int | None = None) -> LearningState:
    """The learning state after every closed round of a study, from published material alone.

    With `before`, after every closed round below that number.

    Raises:
        Unavailable: the study or a blob is not here.
    """
    record = study_record(reader, study)
    if record is None:
        raise Unavailable(f"study {study.hex()}: it is not on the ledger")
    plan = plan_of(reader, study)
    state = initial_state(plan)
    for number in range(record.next_round if before is None else min(before, record.next_round)):
        closed = round_record(reader, study, number)
        if closed is not None and closed.phase in CLOSED:
            state = absorb_round(reader, record, plan, state, closed, blobs).state
    return state


def _counts_all_examples(reader: Reader, study: Study, record: Round, sums: dict[str, NDArray[Any]]) -> bool:
    """Whether a statistics round is over as many rows as its survivors have enrolled with: nobody was left out."""
    if EXAMPLES not in sums:
        return True
    enrolled = [enrolment(reader, study.study, name) for name in record.survivors]
    return int(sums[EXAMPLES][0]) == sum(entry.examples for entry in enrolled if entry is not None)


def _published_total(reader: Reader, study: Study, plan: Plan, record: Round, blobs: BlobStore) -> NDArray[np.uint32]:
    published = aggregate if is_sealed(study) else decryption
    found = published(reader, study.study, record.number, record.attempt)
    length = round_manifest(plan, record.kind).length
    if found is None:
        raise Tampered(f"round {record.number}: released without a published total")
    with awaiting_good_copy(f"round {record.number}"):
        if found.length != 4 * length or blobs.size(found.total) != found.length:
            raise InvalidInput(f"round {record.number}: expected a total of {length} elements")
        return decode_update(blobs.get(found.total))


def _streams(submissions: list[Submission], blobs: BlobStore) -> Iterator[BinaryIO]:
    for submitted in submissions:
        with blobs.open_stream(submitted.blob) as stream:
            yield stream


def _all_examples(reader: Reader, study: Study) -> int:
    return sum(capped_examples(reader, study, name) for name in study.roster)
