"""What a labelling study's plan must satisfy beyond the types and bounds of its records, one rule a function.

A plan that passes here costs a patient no more than it says, whatever the data are, and its noise can be carried by its
voters. This module must never repair a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from medfed.errors import InvalidInput
from medfed.federation.plan import Labelling, Plan, StrategySettings, Words
from medfed.federation.word_study import word_guarantee
from medfed.ledger.contracts.labelling_terms import MOST_HISTOGRAMS, ConfidentNoise, stages_of
from medfed.privacy.account import EPSILON_STEP
from medfed.privacy.curve import Guarantee
from medfed.privacy.shares import Roster
from medfed.privacy.vote_noise import labelling_guarantee, vote_shares
from medfed.privacy.vote_reliability import noise_law, share_correct
from medfed.secure_sum.manifest import Entry, Manifest, check_hospitals

__all__ = ["cost_of", "labelling_problems", "voters_needed"]

_LEAST_RELIABILITY: Final = 0.9
"""Of votes that are all for one class: what even full agreement must survive."""
_MOST_VOTERS: Final = 1 << 22


class _Found(NamedTuple):
    path: str
    sentence: str


def labelling_problems(plan: Plan) -> Iterator[tuple[str, str]]:
    """Everything that is wrong with a plan's labelling section, as field and sentence; nothing in other plans."""
    labelling = plan.labelling
    if not isinstance(labelling, Labelling):
        if isinstance(plan.words, Words):
            yield "words", "hospitals vote on words in a labelling study; expected a section [labelling]"
        return
    problems = [found for rule in _SHAPES for found in rule(plan, labelling)]
    yield from problems
    if not problems:
        for rule in _NOISE:
            yield from rule(plan, labelling)


def voters_needed(plan: Plan, labelling: Labelling) -> int:
    """The fewest teachers, of all hospitals together, whose full agreement nearly always survives the noise."""
    law = noise_law(vote_shares(labelling.noise, _roster(plan, labelling), stages_of(labelling.noise) - 1))
    classes = _classes(plan)

    def is_enough(voters: int) -> bool:
        return share_correct(law, voters, classes, 1.0) >= _LEAST_RELIABILITY

    low, high = 0, 1
    while not is_enough(high) and high < _MOST_VOTERS:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def _task(plan: Plan, labelling: Labelling) -> Iterator[_Found]:
    if plan.task not in ("binary", "multiclass"):
        yield _Found("data.target", f"teachers vote for one class; expected binary or multiclass, found {plan.task}")
    if plan.training.rounds != 1 or plan.training.strategy != StrategySettings():
        yield _Found("training", "a labelling study has no training rounds; expected rounds 1 and no strategy")
    if labelling.accounting != "data-independent":
        yield _Found(
            "labelling.accounting",
            f"{labelling.accounting!r}; an ε that depends on the votes tells about them and is never published; "
            "expected 'data-independent'",
        )


def _words(plan: Plan, labelling: Labelling) -> Iterator[_Found]:
    if not isinstance(plan.words, Words):
        return
    if plan.task != "binary" or plan.inputs != 2 or len(plan.data.numbers) != 1 or plan.data.patient is None:
        yield _Found("words", "expected one number, the concept's place, a binary target and a patient column")
    if set(labelling.teachers) != {1}:
        yield _Found("labelling.teachers", "each hospital has one vote on a word; expected 1 for all")


def _batches(plan: Plan, labelling: Labelling) -> Iterator[_Found]:
    if labelling.queries % labelling.batch:
        yield _Found("labelling.batch", f"{labelling.queries} queries are not whole batches of {labelling.batch}")
        return
    is_confident = isinstance(labelling.noise, ConfidentNoise)
    if is_confident and not labelling.batches <= labelling.answers <= labelling.queries:
        yield _Found("labelling.answers", f"{labelling.answers}; expected {labelling.batches} to {labelling.queries}")
    elif is_confident and labelling.answers % labelling.batches:
        yield _Found("labelling.answers", f"{labelling.answers} do not divide into {labelling.batches} batches")
    elif not is_confident and labelling.answers:
        yield _Found("labelling.answers", "every query is answered with this mechanism; expected 0")
    if labelling.batch * (labelling.batches + labelling.spare) > MOST_HISTOGRAMS:
        yield _Found("labelling.spare", f"more than {MOST_HISTOGRAMS} histograms in all")


def _people(plan: Plan, labelling: Labelling) -> Iterator[_Found]:
    people = plan.participation
    invited = len(people.hospitals)
    if len(labelling.teachers) != invited:
        yield _Found("labelling.teachers", f"{len(labelling.teachers)} numbers for {invited} hospitals")
    if labelling.dropouts + labelling.colluding >= invited:
        yield _Found("labelling.dropouts", f"with {labelling.colluding} colluding, none of {invited} hospitals is left")
    elif people.quorum < invited - labelling.dropouts:
        yield _Found(
            "participation.quorum",
            f"{people.quorum}; the noise is sized for {labelling.dropouts} missing of {invited} hospitals, which needs "
            f"{invited - labelling.dropouts}",
        )
    if labelling.attended > invited:
        yield _Found("labelling.attended", f"{labelling.attended} of {invited} hospitals")


def _student(plan: Plan, labelling: Labelling) -> Iterator[_Found]:
    local, confidence = labelling.student.local, labelling.student.confidence
    if (local.steps > 0) == (local.epochs > 0):
        yield _Found("labelling.student.local", "expected exactly one of steps and epochs above 0")
    if confidence and confidence <= 1 / _classes(plan):
        yield _Found("labelling.student.confidence", f"{confidence:g}; expected 0, or above 1/{_classes(plan)}")


def _sizes(plan: Plan, labelling: Labelling) -> Iterator[_Found]:
    """Noise that can be drawn, and sums that cannot wrap."""
    most = max(labelling.teachers)
    for stage, size in enumerate(labelling.terms.sizes):
        length = size * _classes(plan)
        try:
            shares = vote_shares(labelling.noise, _roster(plan, labelling), stage)
            _ = shares.law
            entry = Entry("votes", "noisy", length, most + shares.share_bound(length))
            check_hospitals(Manifest((entry,)), len(plan.participation.hospitals))
        except InvalidInput as error:
            yield _Found("labelling.noise", str(error))


def _voters(plan: Plan, labelling: Labelling) -> Iterator[_Found]:
    """Voters enough for the noise."""
    largest_missing = sorted(labelling.teachers)[: len(labelling.teachers) - labelling.dropouts]
    needed = voters_needed(plan, labelling)
    if sum(largest_missing) < needed:
        yield _Found(
            "labelling.teachers",
            f"{sum(largest_missing)} voters when {labelling.dropouts} hospitals are missing; this noise needs {needed}",
        )
    if isinstance(labelling.noise, ConfidentNoise) and labelling.noise.threshold > sum(labelling.teachers):
        yield _Found("labelling.noise.threshold", f"above all {sum(labelling.teachers)} votes; no case would pass")


def _budget(plan: Plan, labelling: Labelling) -> Iterator[_Found]:
    """The plan's ε pays for every histogram of its budget."""
    try:
        found = cost_of(plan, labelling)
    except InvalidInput as error:
        yield _Found("labelling.noise", str(error))
        return
    stated = labelling.epsilon / EPSILON_STEP
    if found.epsilon > stated:
        yield _Found(
            "labelling.epsilon",
            f"the histograms of the budget cost ε {found.epsilon:.6f} at this delta; the plan says {stated:.6f}",
        )


def cost_of(plan: Plan, labelling: Labelling) -> Guarantee:
    """What everything that the plan allows costs a patient.

    Raises:
        InvalidInput: nobody is left to hold the noise, or it is too small for any bound.
    """
    hospitals = len(plan.participation.hospitals)
    if isinstance(plan.words, Words):
        return word_guarantee(labelling, plan.words, hospitals)
    return labelling_guarantee(labelling.terms, hospitals)


def _roster(plan: Plan, labelling: Labelling) -> Roster:
    return Roster(len(plan.participation.hospitals), labelling.dropouts, labelling.colluding)


def _classes(plan: Plan) -> int:
    return 2 if plan.task == "binary" else plan.outputs


_Rule = Callable[[Plan, Labelling], Iterator[_Found]]
_SHAPES: Final[tuple[_Rule, ...]] = (_task, _words, _batches, _people, _student)
_NOISE: Final[tuple[_Rule, ...]] = (_sizes, _voters, _budget)
