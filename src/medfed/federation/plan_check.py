"""What a plan means for a hospital, before anyone approves it: whom it needs, how long, how much, and what it reveals.

Everything is worked out from the plan alone. This module must never print, and never promise more than the rounds keep.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from msgspec import UNSET

from medfed.federation.durations import duration_words
from medfed.federation.labelling_check import labelling_entries, labelling_reveals, labelling_warnings
from medfed.federation.noise_check import noise_reveals, noise_warnings
from medfed.federation.plan import Labelling, Plan, TrainingNoise, Weighing
from medfed.federation.plan_rules import update_elements, verify_plan
from medfed.federation.robust import RobustStrategy
from medfed.federation.study import round_manifest
from medfed.homomorphic import Layout, envelope_size
from medfed.identifiers import Digest
from medfed.secure_sum.manifest import Entry
from medfed.secure_sum.sealed import sealed_length

__all__ = ["PlanCheck", "RoundCost", "check_plan"]

Kind = Literal["statistics", "training", "evaluation", "votes"]
ELEMENT_BYTES: Final = 4
LARGE_UPDATE: Final = 100 * 2**20
"""Bytes of one update above which the plan warns."""
SMALL_COUNT: Final = 5
"""A plan that names categories of fewer patients than this is warned about."""
_ADAPTIVE: Final = frozenset({"fedadagrad", "fedadam", "fedyogi"})
_KINDS: Final[tuple[Literal["statistics", "training", "evaluation"], ...]] = ("statistics", "training", "evaluation")
_PHASES: Final = (
    ("approval", "to approve the plan"),
    ("enrolment", "to enrol once it is approved"),
    ("keying", "to exchange keys"),
    ("update", "to send an update, in each round"),
    ("confirm", "to confirm who takes part, in each round"),
    ("reveal", "to reveal the seeds, in each round"),
    ("study", "for the whole study"),
)

_ENCRYPTED_PHASES: Final = {
    "keying": "for the key holder to publish a key",
    "reveal": "to add what is encrypted, and as long again to open the sum, in each round",
}
_MADE: Final = {
    "fedavg": "weighted mean",
    "median": "median, coordinate by coordinate",
    "trimmed-mean": "mean without the largest and smallest, coordinate by coordinate",
    "multi-krum": "mean over those nearest to each other, with the names of the others",
    "norm-clipping": "weighted mean after long ones are shortened, with the names of those",
}
_SEALED_PHASES: Final = {
    "keying": "for the aggregator to issue session keys",
    "reveal": "for the aggregator to publish what it makes of the updates, in each round",
}


@dataclass(frozen=True)
class RoundCost:
    """The rounds of one kind."""

    kind: Kind
    count: int
    entries: tuple[Entry, ...]
    """Everything that is summed in such a round."""
    bytes_sent: int
    """One hospital's protected update, in one round."""
    bytes_received: int
    """Most that one hospital fetches, in one round: the others' masked updates, or the decrypted total."""


@dataclass(frozen=True)
class PlanCheck:
    """What `medfed study check` shows."""

    title: str
    digest: Digest
    task: str
    inputs: int
    outputs: int
    parameters: int
    """Coordinates of one training update."""
    hospitals: tuple[str, ...]
    quorum: int
    crashes_tolerated: int
    """Hospitals that may be silent in a round without voiding it for good: hospitals - quorum."""
    rounds: tuple[RoundCost, ...]
    bytes_sent: int
    """By one hospital, in the whole study."""
    bytes_received: int
    """By one hospital, in the whole study, at most."""
    deadlines: tuple[tuple[str, str], ...]
    """The field and what it says: ("update", "1 hour to send an update, in each round")."""
    reveals: tuple[str, ...]
    """In plain words, everything about its patients that leaves a hospital."""
    warnings: tuple[str, ...]


def check_plan(plan: Plan) -> PlanCheck:
    """Work out what a plan means.

    Raises:
        InvalidInput: the plan may not be proposed; see `plan_rules.verify_plan`.
    """
    verify_plan(plan)
    people = plan.participation
    others = len(people.hospitals) - 1
    labelling = plan.labelling if isinstance(plan.labelling, Labelling) else None
    rounds = _rounds(plan, others) if labelling is None else _votes_rounds(plan, labelling, others)
    return PlanCheck(
        title=plan.purpose.title,
        digest=plan.digest,
        task=plan.task,
        inputs=plan.inputs,
        outputs=plan.outputs,
        parameters=update_elements(plan),
        hospitals=tuple(sorted(people.hospitals)),
        quorum=people.quorum,
        crashes_tolerated=len(people.hospitals) - people.quorum,
        rounds=rounds,
        bytes_sent=sum(cost.count * cost.bytes_sent for cost in rounds),
        bytes_received=sum(cost.count * cost.bytes_received for cost in rounds),
        deadlines=tuple(
            (name, f"{duration_words(getattr(plan.deadlines, name))} {_what(plan, name, what)}")
            for name, what in _PHASES
        ),
        reveals=tuple(_revealed(plan)),
        warnings=tuple(_warned(plan, rounds)),
    )


def _revealed(plan: Plan) -> list[str]:
    if isinstance(plan.labelling, Labelling):
        return labelling_reveals(plan, plan.labelling)
    return noise_reveals(plan, plan.noise) if isinstance(plan.noise, TrainingNoise) else _reveals(plan)


def _warned(plan: Plan, rounds: tuple[RoundCost, ...]) -> list[str]:
    if isinstance(plan.labelling, Labelling):
        return labelling_warnings(plan, plan.labelling)
    return noise_warnings(plan, plan.noise) if isinstance(plan.noise, TrainingNoise) else _warnings(plan, rounds)


def _what(plan: Plan, phase: str, masked: str) -> str:
    others = {"masked": {}, "homomorphic": _ENCRYPTED_PHASES, "sealed": _SEALED_PHASES}
    return others[plan.protection.mode].get(phase, masked)


def _rounds(plan: Plan, others: int) -> tuple[RoundCost, ...]:
    count = plan.training.rounds
    if isinstance(plan.noise, TrainingNoise):
        return (_cost(plan, "training", count, others),)
    return tuple(_cost(plan, kind, count if kind == "training" else 1, others) for kind in _KINDS)


def _votes_rounds(plan: Plan, labelling: Labelling, others: int) -> tuple[RoundCost, ...]:
    costs: list[RoundCost] = []
    for entry in labelling_entries(plan, labelling):
        sent = entry.elements * ELEMENT_BYTES
        costs.append(RoundCost("votes", labelling.batches, (entry,), sent, sent * others))
    return tuple(costs)


def _cost(plan: Plan, kind: Literal["statistics", "training", "evaluation"], count: int, others: int) -> RoundCost:
    manifest = round_manifest(plan, kind)
    plain = manifest.length * ELEMENT_BYTES
    if plan.protection.mode == "homomorphic":
        return RoundCost(kind, count, manifest.entries, envelope_size(Layout(others + 1, manifest.length)), plain)
    if plan.protection.mode == "sealed":
        return RoundCost(kind, count, manifest.entries, sealed_length(manifest.length), plain)
    return RoundCost(kind, count, manifest.entries, plain, plain * others)


def _reveals(plan: Plan) -> list[str]:
    invited, quorum = len(plan.participation.hospitals), plan.participation.quorum
    # secure-sum: min(threshold - 1, quorum - 2) colluders, where the threshold is the quorum, but 2 of 3 hospitals.
    conspirators = min((2 if invited == 3 else quorum) - 1, quorum - 2)
    unless = f"more than {conspirators} of the others pool what they know"
    if plan.protection.key_holder is not UNSET and plan.protection.aggregators is not UNSET:
        adding = " or ".join(plan.protection.aggregators)
        others = f"more than {quorum - 2} of the others pool what they know"
        unless = f"{plan.protection.key_holder} and {adding} work together, or {others}"
    whom = f"Of everything below only sums over at least {quorum} hospitals become known, never one hospital's own "
    whom += f"numbers, unless {unless}."
    if plan.protection.mode == "sealed":
        whom = _sealed_words(plan)
    return [
        "To every participant, on enrolling: the number of its training rows, and a salted digest of their list.",
        whom,
        *_statistics_words(plan),
        f"In each of {plan.training.rounds} training rounds: the weighted mean change of "
        f"{update_elements(plan)} model coordinates, each at most {plan.training.clip:g}; how many coordinates "
        f"were cut off there; and, over validation patients, {_evaluation_words(plan)}.",
        f"Once, at the end, over test patients: {_evaluation_words(plan)}.",
        "The sums are exact: no noise is added. Counts of very few patients may point to persons.",
    ]


def _sealed_words(plan: Plan) -> str:
    aggregators = () if plan.protection.aggregators is UNSET else plan.protection.aggregators
    chosen = RobustStrategy() if plan.protection.aggregation is UNSET else plan.protection.aggregation
    return (
        f"To {' and '.join(aggregators)}: every hospital's own numbers of everything below, in each round. The others "
        f"learn sums over at least {plan.participation.quorum} hospitals, and of model changes their "
        f"{_MADE[chosen.kind]}."
    )


def _statistics_words(plan: Plan) -> list[str]:
    found: list[str] = ["how many rows there are"]
    if numbers := len(plan.data.numbers):
        found.append(
            f"for each of {numbers} numbers, how many rows have it, the sum and the sum of squares, how many "
            "lie in each of 64 steps between its low and high, and how many outside (no smallest or largest "
            "value)"
        )
    if categories := len(plan.data.categories):
        found.append(f"for each of {categories} categories, how many patients have each value or another one")
    found.append(
        {
            "binary": "how many rows are ill",
            "multiclass": f"how many rows are of each of {plan.outputs} classes",
            "multilabel": f"how many rows have each of {plan.outputs} labels",
            "survival": "how many events were seen",
            "detection": f"how many boxes are of each of {plan.outputs} classes",
        }[plan.task]
    )
    if isinstance(plan.weighing, Weighing):
        found.append(
            f"for each of {len(plan.weighing.sizes)} attributes, how many cases of each of {plan.weighing.outcomes} "
            "outcomes have each value; these counts are also in the model"
        )
    return [f"Once, at the start, over training patients: {'; '.join(found)}."]


def _evaluation_words(plan: Plan) -> str:
    scores = "the model's right and wrong answers, its scores in 256 steps, and its summed loss"
    return {
        "binary": scores,
        "multiclass": f"{scores} (for each class)",
        "multilabel": f"{scores} (for each label)",
        "survival": "how many there are, how many had an event, and how many pairs the model ranks rightly",
        "detection": "how many pictures and boxes there are, and how many boxes the model finds rightly and wrongly, "
        "by class, overlap and score in 256 steps",
    }[plan.task]


def _warnings(plan: Plan, rounds: tuple[RoundCost, ...]) -> list[str]:
    people, training, data = plan.participation, plan.training, plan.data
    found: list[str] = []
    if people.quorum == len(people.hospitals):
        found.append(
            f"the quorum is all {people.quorum} hospitals: one that is silent in a round stops the study until "
            "it is back"
        )
    if data.split is None and data.test_fraction == 0:
        found.append("test_fraction is 0: the last round has no test patients to judge the model by")
    if data.rare_category < SMALL_COUNT:
        found.append(f"categories of {data.rare_category} patients or more get an input of their own")
    if training.strategy.name in _ADAPTIVE and training.strategy.rate > 0.5:
        found.append(
            f"{training.strategy.name} with rate {training.strategy.rate:g} takes steps of about that size in "
            "every coordinate; 0.1 is steadier"
        )
    stopping = training.stopping
    if stopping.patience > 0 and stopping.min_rounds >= training.rounds:
        found.append(f"early stopping cannot act: min_rounds {stopping.min_rounds} is not below rounds")
    if any(cost.bytes_sent > LARGE_UPDATE for cost in rounds):
        found.append(f"an update has more than {LARGE_UPDATE >> 20} MiB")
    if _longest(plan) > plan.deadlines.study:
        found.append(
            "if every phase takes as long as it may, the study's deadline passes before the last round is done"
        )
    return found


def _longest(plan: Plan) -> int:
    """Milliseconds from proposal to the end if every phase is used up and no attempt is void."""
    limits = plan.deadlines
    reveals = 2 if plan.protection.mode == "homomorphic" else 1
    one_round = limits.update + limits.confirm + reveals * limits.reveal
    return limits.approval + limits.enrolment + limits.keying + one_round * (plan.training.rounds + 2)
