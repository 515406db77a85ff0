"""What a plan must satisfy whose updates are sealed to an aggregator. This module must never repair a plan."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import UNSET

from medfed.federation.plan import Labelling, Plan, TrainingNoise
from medfed.federation.robust import RobustStrategy, least_hospitals

__all__ = ["sealed_problems"]


def sealed_problems(plan: Plan) -> Iterator[tuple[str, str]]:
    """(path, sentence) of everything that is wrong."""
    aggregators = plan.protection.aggregators
    if isinstance(plan.labelling, Labelling):
        yield "protection.mode", "histograms of votes are masked; a labelling study cannot be sealed"
    if isinstance(plan.noise, TrainingNoise):
        yield (
            "noise",
            "a hospital's share of the noise hides it in a sum only; the aggregator would open each update",
        )
    if aggregators is UNSET or len(aggregators) != 1:
        found = "missing" if aggregators is UNSET else f"{len(aggregators)} of them"
        yield "protection.aggregators", f"{found}; sealed protection needs exactly one, who opens every update"
        return
    if aggregators[0] in plan.participation.hospitals:
        yield "protection.aggregators", f"{aggregators[0]!r} is a hospital of the study and can hold no office in it"
    if isinstance(plan.protection.aggregation, RobustStrategy):
        yield from _aggregation(plan, plan.protection.aggregation)


def _aggregation(plan: Plan, chosen: RobustStrategy) -> Iterator[tuple[str, str]]:
    least, quorum = least_hospitals(chosen), plan.participation.quorum
    if quorum < least:
        yield (
            "protection.aggregation.faulty",
            f"{chosen.kind} with {chosen.faulty} poisoned needs {least} hospitals; a round may have {quorum}",
        )
    if chosen.largest_norm is not None and chosen.kind != "norm-clipping":
        yield "protection.aggregation.largest_norm", f"has no meaning with {chosen.kind}"
    if chosen.kind != "fedavg" and plan.training.strategy.name == "scaffold":
        yield "protection.aggregation.kind", f"scaffold's control variates are means; {chosen.kind} gives none"
