"""What a labelling study's plan means for a hospital, before anyone approves it: rounds, bytes, what it reveals.

Everything is worked out from the plan alone. This module must never print.
"""

from __future__ import annotations

from medfed.federation.labelling_rules import cost_of
from medfed.federation.plan import Labelling, Plan, Words
from medfed.ledger.contracts.labelling_terms import GAMMA_STEP, ConfidentNoise, LaplaceNoise, VoteNoise
from medfed.privacy.account import DELTA_STEP, EPSILON_STEP
from medfed.privacy.shares import Roster
from medfed.privacy.vote_noise import vote_shares
from medfed.secure_sum.manifest import Entry

__all__ = ["describe_noise", "labelling_entries", "labelling_reveals", "labelling_warnings"]


def describe_noise(noise: VoteNoise) -> str:
    """A line about a noise."""
    match noise:
        case LaplaceNoise(gamma=gamma):
            return f"discrete Laplace, γ {gamma / GAMMA_STEP:g}"
        case ConfidentNoise(screen_variance=screen, threshold=threshold, variance=variance):
            return (
                f"Skellam, σ {screen**0.5:.4g} to screen with a threshold of {threshold} votes, "
                f"σ {variance**0.5:.4g} to answer"
            )
        case _:
            return f"Skellam, σ {noise.variance**0.5:.4g}"


def labelling_entries(plan: Plan, labelling: Labelling) -> list[Entry]:
    """What is summed in a round of each stage."""
    roster = Roster(len(plan.participation.hospitals), labelling.dropouts, labelling.colluding)
    entries: list[Entry] = []
    for stage, size in enumerate(labelling.terms.sizes):
        length = size * (2 if plan.task == "binary" else plan.outputs)
        bound = max(labelling.teachers) + vote_shares(labelling.noise, roster, stage).share_bound(length)
        entries.append(Entry("votes", "noisy", length, bound))
    return entries


def labelling_reveals(plan: Plan, labelling: Labelling) -> list[str]:
    """In plain words, everything about its patients that leaves a hospital."""
    people = plan.participation
    invited = len(people.hospitals)
    found = cost_of(plan, labelling)
    teachers = sum(labelling.teachers)
    if isinstance(plan.words, Words):
        asked = f"of {labelling.queries} concepts, whether it has recorded it of {plan.words.least_patients} patients"
        return [
            f"For each {asked}: how many of {invited} hospitals say yes and how many no, with noise "
            f"({describe_noise(labelling.noise)}) of which every hospital adds its share. No hospital's own word and "
            "no exact total become known.",
            f"Whatever the data are, that costs a patient at most ε {found.epsilon:.4f} at δ "
            f"{labelling.delta / DELTA_STEP:g}, who counts for at most {plan.words.most_concepts} concepts; that is "
            "charged to each patient's account at the hospital.",
        ]
    return [
        "To every participant, on enrolling: that it has at least as many rows as the plan asks for, and a salted "
        "digest "
        "of their list.",
        f"For each of {labelling.queries} public cases: how many of all hospitals' {teachers} teachers vote for each "
        f"class, with noise ({describe_noise(labelling.noise)}) of which every hospital adds its share. No "
        f"hospital's own "
        "counts, no single vote and no exact total become known.",
        f"Whatever the data are, that costs a patient at most ε {found.epsilon:.4f} at δ "
        f"{labelling.delta / DELTA_STEP:g}; "
        f"the plan says {labelling.epsilon / EPSILON_STEP:g}, which is charged to each patient's account at the "
        f"hospital.",
        f"The promise holds for a patient who has been at no more than {labelling.attended} of the hospitals, while no "
        f"more than {labelling.dropouts} are missing in a round and no more than {labelling.colluding} pool what they "
        "know of their own noise.",
        "In the end, a student: a model that was trained on the public cases with the noisy labels, and on nothing "
        "else.",
    ]


def labelling_warnings(plan: Plan, labelling: Labelling) -> list[str]:
    """What people should think about before they approve."""
    people = plan.participation
    found: list[str] = []
    if people.quorum == len(people.hospitals):
        found.append(f"the quorum is all {people.quorum} hospitals: one that is silent in a round stops the study")
    if labelling.spare == 0:
        found.append("spare is 0: after a round that failed the budget does not reach for the rest of the batches")
    if labelling.attended == 1:
        found.append(
            "attended is 1: the promise is for patients of one hospital only; without patient alignment, expect more"
        )
    if plan.data.patient is None:
        found.append("no patient column: rows of one patient may be with two teachers, and ε is then too small")
    return found
