"""Whether a study ended as it must: an honest quorum that stays always finishes, but for two known cases.

Sums are exact, so that what was released (or failed, which counts the same) over some survivors may never be released
over others. Where too few of those are left, the study can only stand still, and `is_held` says so. And where updates
are not masked, an office holder alone has the totals and keys that it published: if it never serves one, nobody can go
on, and `is_withheld` says so.
"""

from __future__ import annotations

from medfed.federation.learning_state import LearningState
from medfed.hospital.progress import Release, load_progress, release_keys
from medfed.ledger.contracts.aggregates import aggregate
from medfed.ledger.contracts.ciphertexts import decryption
from medfed.ledger.contracts.offices import offices
from medfed.ledger.contracts.rounds import current_round, round_record
from medfed.ledger.contracts.studies import current_kind
from medfed.simulation.faults_stage import Stage
from medfed.simulation.faults_study import STUDY
from medfed.simulation.witness import InvariantBroken

__all__ = ["is_held", "is_withheld", "verify_finished"]


def verify_finished(stage: Stage) -> bool:
    """Check that the study has completed, if it must; False if it is held by an earlier release.

    Raises:
        InvariantBroken: an honest quorum stays and did not finish.
    """
    study, stay = stage.study, stage.staying()
    undisturbed = stage.cast.live and stage.cast.quiet_setup and study.pause_code != "pair-complaint-among-three"
    if not study.roster and undisturbed:
        raise InvariantBroken(f"an honest quorum was there and the study ended before its rounds ({study.pause_code})")
    if study.phase == "completed" or len(stay) < study.terms.quorum:
        return True
    if is_held(stage) or is_withheld(stage):
        return False
    current = current_round(stage.history.now, study)
    where = f"round {current.number}, attempt {current.attempt}, {current.phase}" if current else "no round"
    raise InvariantBroken(
        f"{len(stay)} honest hospitals stay, the quorum is {study.terms.quorum}, and the study is {study.phase} "
        f"({study.pause_code}; {where})"
    )


def is_withheld(stage: Stage) -> bool:
    """Whether a blob that an office holder published can be had by nobody else."""
    view, study = stage.history.now, stage.study
    held = offices(view, study)
    if held is None:
        return False
    named = {key for key in (held.key, *held.earlier_keys) if key is not None}
    for number in range(study.next_round):
        record = round_record(view, STUDY, number)
        attempt = record.attempt if record is not None else 0
        for found in (aggregate(view, STUDY, number, attempt), decryption(view, STUDY, number, attempt)):
            if found is not None:
                named.add(found.total)
    return bool(named & stage.blobs.gone)


def is_held(stage: Stage) -> bool:
    """Whether what is due may only be released over survivors of whom too few are left, by an earlier release."""
    kind, stay = current_kind(stage.study), stage.staying()
    if kind is None:
        return False
    for name in stay:
        site = stage.sites[name].agent.site
        state = LearningState.load(load_progress(site, STUDY, stage.plan).state)
        for key in release_keys(site, stage.plan, kind, state):
            earlier = site.vault.load(key, Release)
            wanted = set(earlier.survivors) - stage.given_up if earlier else set(stay)
            if len(wanted) < stage.cast.quorum or not wanted <= set(stay):
                return True
    return False
