"""Whether a study ended as it must: an honest quorum that stays always finishes, but for one known case.

The case: sums are exact, so that what was released (or failed, which counts the same) over some survivors may never be
released over others. Where too few of those are left, the study can only stand still, and `is_held` says so.
"""

from __future__ import annotations

from medfed.federation.learning_state import LearningState
from medfed.hospital.progress import Release, load_progress, release_keys
from medfed.ledger.contracts.rounds import current_round
from medfed.ledger.contracts.studies import current_kind
from medfed.simulation.faults_stage import Stage
from medfed.simulation.faults_study import STUDY
from medfed.simulation.witness import InvariantBroken

__all__ = ["is_held", "verify_finished"]


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
    if is_held(stage):
        return False
    current = current_round(stage.history.now, study)
    where = f"round {current.number}, attempt {current.attempt}, {current.phase}" if current else "no round"
    raise InvariantBroken(
        f"{len(stay)} honest hospitals stay, the quorum is {study.terms.quorum}, and the study is {study.phase} "
        f"({study.pause_code}; {where})"
    )


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
