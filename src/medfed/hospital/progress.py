"""What a site remembers of one study, as records in its vault, and how it follows the rounds that have closed.

The learning state is a cache (anyone can recompute it); pair secrets, chosen vectors, signed survivors and releases are
not: they are written before anything that rests on them leaves the site.
"""

from __future__ import annotations

import logging
from typing import Final

from medfed.encoding import Record, digest_of
from medfed.errors import InvalidInput
from medfed.federation.acceptance import fallback_of
from medfed.federation.learning_state import LearningState
from medfed.federation.plan import Plan, TrainingNoise
from medfed.federation.prepared import cases_root
from medfed.federation.sealed_aggregate import own_numbers_doubt
from medfed.federation.strategies.memory import Memory
from medfed.federation.study import initial_local_memory
from medfed.hospital.aggregation import CLOSED, absorb_round, manifest_of, plan_of, unmasked_total
from medfed.hospital.code_consent import check_code
from medfed.hospital.initial_model import compute_initial
from medfed.hospital.site import Progress, Site
from medfed.identifiers import Code, Digest, Name, StudyId
from medfed.ledger.contracts.offices import is_sealed
from medfed.ledger.contracts.rounds import Round, round_record
from medfed.ledger.contracts.studies import Study
from medfed.ledger.contracts.terms import RoundKind
from medfed.ledger.engine import StateView
from medfed.models.parameters import Parameters
from medfed.secure_sum import decode_update, ratchet

__all__ = [
    "AggregateDoubt",
    "AttemptRecord",
    "ChosenVector",
    "OwnAttempt",
    "PairSecretStore",
    "Progress",
    "follow",
    "forget_study_keys",
    "load_local_memory",
    "load_progress",
    "release_keys",
    "study_key",
    "vector_key",
]

_SECRET_PARTS: Final = (
    "pairs",
    "drawn",
    "private",
    "vector",
    "attempt",
    "checkpoint",
    "encryption-key",
    "opened-sum",
    "session-keys",
    "doubt",
)
log: Final = logging.getLogger("medfed.hospital")


class PairSecretStore(Record):
    """Pair secrets by hospital, as they are for round `round`."""

    round: int
    secrets: dict[Name, bytes]


class ChosenVector(Record):
    """That the one vector x of a round is chosen, and what is kept if the round is released with it.

    The vector itself lies beside it under `vector_key`: it is long, and few steps need it.
    """

    round: int
    local_memory: bytes
    releases: tuple[str, ...]
    """What the round would release, as vault keys: see `release_keys`."""


class OwnAttempt(Record, kw_only=True):
    """What is kept of one attempt, however updates are protected."""

    blob: Digest | None = None
    """What was submitted."""
    survivors: Digest | None = None
    """The survivors that were signed; never two different ones."""


class AttemptRecord(OwnAttempt):
    """What was drawn for an update under masks."""

    self_seed: bytes


class AggregateDoubt(Record):
    """Why the aggregate of a round cannot be believed here."""

    round: int
    code: Code


class Release(Record):
    """The survivors over which something was released, or had to be taken as released; without this site, perhaps."""

    survivors: tuple[Name, ...]


def study_key(study: StudyId, *parts: str | int) -> str:
    """The vault key of something of one study."""
    return "/".join(("study", study.hex(), *map(str, parts)))


def vector_key(study: StudyId) -> str:
    """The vault key of the chosen vector, as little-endian uint32."""
    return study_key(study, "vector", "values")


def release_keys(site: Site, plan: Plan, kind: RoundKind, state: LearningState) -> tuple[str, ...]:
    """What a round releases that no other set of survivors may ever release again.

    The statistics of a dataset, and the counts of a model on validation and on test patients. A model is named by its
    parameters, not by the learning state: after a rejected aggregate the next round starts from the same model, and
    two exact counts of it over different survivors would give away the difference.
    """
    if kind == "votes" or isinstance(plan.noise, TrainingNoise):
        return ()  # every release carries fresh noise and is charged by itself
    if kind == "statistics":
        return (_release_key("statistics", cases_root(site.prepared(plan), site.keys.split_key)),)
    last = _model_digest(state, state.parameters)
    if kind == "training":
        return (_release_key("validation", last),)
    fallback = _model_digest(state, fallback_of(plan, state))
    return (_release_key("validation", last), _release_key("test", last), _release_key("test", fallback))


def load_progress(site: Site, study: StudyId, plan: Plan) -> Progress:
    """How far the study was followed; at first the plan's initial state.

    Raises:
        As the worker says, which makes that state.
    """
    found = _known_progress(site, study)
    return found if found is not None else Progress(0, compute_initial(site, study, plan).save())


def load_local_memory(site: Site, study: StudyId, plan: Plan) -> Memory:
    """The site's own strategy memory, which never leaves it."""
    data = site.vault.get(study_key(study, "local-memory"))
    return Memory.load(data) if data is not None else initial_local_memory(plan)


def follow(site: Site, view: StateView, study: Study) -> None:
    """Absorb every round that has closed since, and move the pair secrets on.

    Raises:
        Unavailable: a blob is not here yet; what could be followed is kept. Refused: the plan's code may not run here.
    """
    progress = _known_progress(site, study.study)
    start = progress.absorbed if progress is not None else 0
    if start >= study.next_round:
        return
    plan = plan_of(view, study.study)
    check_code(site.consent, plan)
    progress = load_progress(site, study.study, plan)
    for number in range(start, study.next_round):
        closed = round_record(view, study.study, number)
        if closed is None or closed.phase not in CLOSED:
            return
        progress = _close(site, view, study, plan, progress, closed)


def forget_study_keys(site: Site, study: StudyId) -> None:
    """Delete what a study that has ended leaves: pair secrets, vectors and attempts, not its model or releases."""
    for part in _SECRET_PARTS:
        site.vault.delete_under(study_key(study, part))
    site.forget(study)


def _known_progress(site: Site, study: StudyId) -> Progress | None:
    """From memory, else from the vault: a learning state is long, and asked for at every step."""
    known = site.followed.get(study) or site.vault.load(study_key(study, "progress"), Progress)
    if known is not None:
        site.followed[study] = known
    return known


def _release_key(what: str, of: Digest) -> str:
    return f"release/{digest_of('medfed/release', what, of).hex()}"


def _model_digest(state: LearningState, parameters: Parameters) -> Digest:
    standardisation = state.standardisation.digest if state.standardisation is not None else b""
    return digest_of("medfed/released-model", parameters.digest, standardisation)


def _close(site: Site, view: StateView, study: Study, plan: Plan, progress: Progress, closed: Round) -> Progress:
    state = site.state_of(study.study, progress)
    outcome = absorb_round(view, study, plan, state, closed, site.blobs)
    if closed.phase == "released":
        progress = Progress(closed.number + 1, outcome.state.save(), outcome.accepted, outcome.stop)
    else:
        progress = Progress(closed.number + 1, progress.state, progress.accepted, progress.stop)
    with site.vault.transaction(f"round-closed {closed.number}"):
        site.vault.store(study_key(study.study, "progress"), progress)
        if closed.phase in ("released", "failed"):
            for key in release_keys(site, plan, closed.kind, state):
                site.vault.store(key, Release(closed.survivors))
        _keep_local_memory(site, study, closed, outcome.accepted)
        _note_doubt(site, view, study, plan, closed)
        _ratchet_secrets(site, study, closed.number)
        site.vault.delete_under(study_key(study.study, "vector"))
        site.vault.delete_under(study_key(study.study, "attempt"))
    site.followed[study.study] = progress
    log.info("round closed", extra={"study": study.study.hex(), "round": closed.number, "phase": closed.phase})
    return progress


def _keep_local_memory(site: Site, study: Study, closed: Round, accepted: bool) -> None:
    chosen = site.vault.load(study_key(study.study, "vector"), ChosenVector)
    counted = closed.phase == "released" and accepted and site.name in closed.survivors
    if chosen is not None and chosen.round == closed.number and counted:
        site.vault.put(study_key(study.study, "local-memory"), chosen.local_memory)


def _note_doubt(site: Site, view: StateView, study: Study, plan: Plan, closed: Round) -> None:
    """Compare what the aggregator of sealed updates published with this hospital's own vector, before that is gone."""
    data = site.vault.get(vector_key(study.study))
    if not is_sealed(study) or closed.phase != "released" or site.name not in closed.survivors or data is None:
        return
    manifest = manifest_of(view, plan, closed)
    try:
        total = unmasked_total(view, study, plan, closed, site.blobs)
    except InvalidInput:  # everybody sees that, and rejects it
        return
    code = own_numbers_doubt(manifest, total, decode_update(data))
    if code is not None:
        site.vault.store(study_key(study.study, "doubt"), AggregateDoubt(closed.number, code))


def _ratchet_secrets(site: Site, study: Study, number: int) -> None:
    key = study_key(study.study, "pairs")
    store = site.vault.load(key, PairSecretStore)
    if store is not None and store.round <= number:
        moved = dict(store.secrets)
        for r in range(store.round, number + 1):
            moved = {name: ratchet(secret, r) for name, secret in moved.items()}
        site.vault.store(key, PairSecretStore(number + 1, moved))
