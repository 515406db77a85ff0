"""What one poisoned hospital does to the aggregation strategies of sealed studies, on the heart data.

`python -m benchmarks.poisoning [--quick]` prints a table: the AUC of the last model (not of the best round, which the
plan would release) over the honest hospitals' test patients. Six hospitals: the four of 1988, the two largest halved,
because Multi-Krum needs five. The first half of Cleveland is poisoned: the sign of its update is flipped, or it is
scaled, or both, or trained on flipped labels.
"""

from __future__ import annotations

import argparse
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from medfed.demo.heart import heart_plan, heart_tables
from medfed.federation.metrics import Proportion, auc_interval, bin_scores
from medfed.federation.plan import Plan, Protection
from medfed.federation.robust import RobustStrategy
from medfed.federation.strategies.strategy import UPDATE
from medfed.federation.study import datasets_of, learner_of
from medfed.federation.tables import Table, table_from
from medfed.hospital.duties import choosing
from medfed.identifiers import Name
from medfed.simulation.api import SimulatedStudy, simulate

VICTIM: Final = "cleveland-a"
STRATEGIES: Final = ("fedavg", "median", "trimmed-mean", "norm-clipping", "multi-krum")
FACTORS: Final[Mapping[str, float]] = {"sign flipped": -1.0, "× 100": 100.0, "sign flipped, × 100": -100.0}
POISONS: Final = ("none", "labels flipped", *FACTORS)
_BINS: Final = 256


def six_hospitals(flip: bool = False) -> dict[Name, Table]:
    """The heart data of six hospitals; with `flip`, the victim's ill and well are exchanged."""
    found: dict[Name, Table] = {}
    for name, table in heart_tables().items():
        halves = ("-a", "-b") if name in ("cleveland", "hungary") else ("",)
        for at, half in enumerate(halves):
            rows = np.arange(len(table)) % len(halves) == at
            cells: dict[str, NDArray[Any]] = {column: table.column(column)[rows] for column in table.columns}
            if flip and name + half == VICTIM:
                cells["num"] = np.where(cells["num"].astype(np.float64) > 0, "0", "1")
            found[name + half] = table_from(cells, name=name + half)
    return found


def sealed_plan(kind: Any, rounds: int | None = None) -> Plan:
    """The heart plan for six hospitals, sealed, with a strategy that reckons with one poisoned."""
    plan, names = heart_plan("sealed"), tuple(sorted(six_hospitals()))
    people = replace(plan.participation, hospitals=names, quorum=5, max_attempts=4)
    protection = Protection("sealed", aggregators=("aggregator",), aggregation=RobustStrategy(kind))
    training = plan.training if rounds is None else replace(plan.training, rounds=rounds)
    return replace(plan, participation=people, protection=protection, training=training)


@contextmanager
def scaled_updates(factor: float) -> Generator[None]:
    """The victim multiplies every model update before it is sealed."""
    honest = choosing._values

    def poisoned(site: Any, *others: Any) -> Any:
        values, after = honest(site, *others)
        if site.name == VICTIM and UPDATE in values:
            values = {**values, UPDATE: (values[UPDATE] * factor).astype(np.float32)}
        return values, after

    choosing._values = poisoned
    try:
        yield
    finally:
        choosing._values = honest


def poisoned_study(kind: str, poison: str, rounds: int | None = None) -> SimulatedStudy:
    """One study through the real agents; `poison` is one of `POISONS`."""
    with scaled_updates(FACTORS.get(poison, 1.0)):
        return simulate(sealed_plan(kind, rounds), six_hospitals(poison == "labels flipped"), progress=False)


def honest_auc(study: SimulatedStudy) -> Proportion:
    """The last model's AUC over the test patients of everybody but the victim."""
    negatives, positives = np.zeros(_BINS, dtype=np.int64), np.zeros(_BINS, dtype=np.int64)
    for name, prepared in study.prepared.items():
        if name == VICTIM:
            continue
        test = datasets_of(study.state, prepared)["test"]
        scores = learner_of(study.plan).predict(study.state.parameters, test.features)
        bins, ill = bin_scores(np.asarray(scores).ravel()), np.asarray(test.targets).ravel() > 0.5
        negatives += np.bincount(bins[~ill], minlength=_BINS)
        positives += np.bincount(bins[ill], minlength=_BINS)
    return auc_interval(negatives, positives)


def table(kinds: Sequence[str] = STRATEGIES, rounds: int | None = None) -> list[tuple[str, ...]]:
    """A row for each poison, a column for each strategy."""
    return [
        (poison, *(f"{honest_auc(poisoned_study(kind, poison, rounds)).value:.3f}" for kind in kinds))
        for poison in POISONS
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="five rounds instead of the plan's")
    rounds = 5 if parser.parse_args().quick else None
    print("| " + " | ".join(("poison", *STRATEGIES)) + " |")
    print("|" + "|".join(" --- " for _ in range(len(STRATEGIES) + 1)) + "|")
    for row in table(rounds=rounds):
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
