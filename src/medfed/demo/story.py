"""How the demo is told: in a terminal of 80 columns, or not at all when only the JSON document is wanted."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from msgspec import UNSET
from rich import box
from rich.console import Console
from rich.table import Table

from medfed.federation.metrics import Proportion
from medfed.federation.plan import Mode, Plan
from medfed.federation.plan_check import check_plan
from medfed.federation.prepared import PreparedData
from medfed.identifiers import Name
from medfed.ledger.contracts.studies import Study

if TYPE_CHECKING:
    from medfed.demo.main import DemoResult
    from medfed.demo.place import Place
    from medfed.simulation.api import SimulatedStudy

__all__ = ["Story"]

HOW: Final[dict[Mode, str]] = {"masked": "masked", "homomorphic": "encrypted", "sealed": "sealed"}
_FEW: Final = 20
"""Healthy or ill patients below which a hospital's accuracy says little."""


class Story:
    """Prints what happens. Every number comes from its caller."""

    def __init__(self, *, quiet: bool) -> None:
        width = None if sys.stdout.isatty() else 80
        self._console = Console(quiet=quiet, highlight=False, width=width)
        self._last = ""

    def say(self, text: str) -> None:
        """One line."""
        self._console.print(f"  {text}", markup=False, soft_wrap=True)

    def hospitals(self, prepared: Mapping[Name, PreparedData]) -> None:
        """Who takes part."""
        total = sum(len(part) for part in prepared.values())
        self.title(f"Four hospitals, {total} patients")
        for name in sorted(prepared):
            part = prepared[name]
            ill = int(np.count_nonzero(part.targets > 0.5))
            split = part.report.splits
            held = split["validation"] + split["test"]
            self.say(f"{name:12} {len(part):4} patients, {ill / len(part):4.0%} ill, {held} held out")

    def consortium(self, place: Place) -> None:
        """How they come together."""
        self.title("They found a consortium, without a server")
        self.say(f"genesis  {place.engine.genesis.digest.hex()}")
        self.say("Each has its own keys, encrypted vault and data; they meet only on the ledger.")

    def plan(self, plan: Plan) -> None:
        """What they agree on."""
        check = check_plan(plan)
        self.title("They agree on a plan")
        self.say(plan.purpose.title)
        local = plan.training.local
        amount = f"{local.epochs} local epochs" if local.epochs else f"{local.steps} local steps"
        rounds = f"{plan.training.rounds} round" + ("s" if plan.training.rounds > 1 else "")
        self.say(f"{check.inputs:,} inputs, {rounds} of {amount}")
        how = HOW[plan.protection.mode]
        known = "the aggregator reads each" if how == "sealed" else "only sums become known"
        self.say(f"a hospital sends {check.bytes_sent:,} bytes in all, {how}: {known}")
        if plan.protection.aggregators is not UNSET:
            names = " and ".join(plan.protection.aggregators)
            self.say(
                f"{names} opens every update, checks it, and publishes what it makes of all"
                if how == "sealed"
                else f"{names} adds what it cannot read; {plan.protection.key_holder} opens the sum, and only the sum"
            )

    def progress(self, study: Study, plan: Plan) -> None:
        """Where the study is; one line that changes on a terminal, a line a phase elsewhere."""
        line = (
            study.phase if study.phase != "running" else f"round {study.next_round - 1} of {plan.training.rounds + 1}"
        )
        if line == self._last:
            return
        self._last = line
        if self._console.is_terminal:
            self._console.print(f"  {line:30}", end="\r", markup=False)

    def trained(self, study: SimulatedStudy) -> None:
        """How training went."""
        self.title("They train together")
        metric = "AP50" if study.plan.task == "detection" else "AUC"
        rows = [row for row in study.history() if row["score"] == row["score"]]
        shown = [rows[at] for at in sorted({0, 1, len(rows) // 4, len(rows) // 2, len(rows) - 1})] if rows else []
        for row in shown:
            bar = "#" * round(40 * float(row["score"]))
            self.say(f"round {row['round']:>2}  validation {metric} {row['score']:.3f}  {bar}")
        self.say(f"all {len(study.study.roster)} computed the same result: {(study.study.base or b'').hex()[:32]}…")

    def comparison(self, study: SimulatedStudy) -> None:
        """Each hospital's own model, the federated and the pooled one."""
        self.title("Is the common model better than one's own? On test patients:")
        found = {(row.model, row.patients): row.evaluation.summary() for row in study.comparison()}
        names = sorted(study.prepared)
        for metric in ("accuracy", "AUC"):
            table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=metric, title_justify="left")
            for column in ("patients of", "own model", "federated", "pooled"):
                table.add_column(column)
            for name in names:
                table.add_row(name, *(_figure(found[model, name][metric]) for model in (name, "federated", "pooled")))
            for name in names:
                table.add_row(f"all, {name}'s", _figure(found[name, "all"][metric]), "", "")
            table.add_row("all", "", *(_figure(found[model, "all"][metric]) for model in ("federated", "pooled")))
            self._console.print(table)
        self.say("Own patients: an own model is often about as good. All patients: compare the")
        self.say("last lines. In brackets 95 % intervals.")
        for name in names:
            part = study.prepared[name]
            healthy = len(part) - int(np.count_nonzero(part.targets > 0.5))
            if min(healthy, len(part) - healthy) < _FEW:
                self.say(f"{name} has {healthy} healthy patients in all: accuracy says little there.")

    def few(self, rows: Sequence[tuple[int, Proportion, Proportion]]) -> None:
        """The learning curve of a hospital with few records."""
        self.title("A hospital with few records: accuracy on its own test patients")
        for kept, own, joint in rows:
            self.say(f"{kept:>3} patients kept   own {_figure(own)}   federated {_figure(joint)}")

    def ending(self, place: Place, result: DemoResult, *, report: bool) -> None:
        """Points, bytes, times, how to verify, and the tampering."""
        study = result.study
        tip = study.ledger.view.tip
        self.title("What it cost and earned")
        how = HOW[place.plan.protection.mode]
        for name, points in study.rewards.items():
            self.say(f"{name:12} {points:5} points, {result.bytes_sent[name]:>8,} bytes of {how} updates")
        self.say(f"ledger       {tip.height} blocks, {result.ledger_bytes:,} bytes of transactions")
        self.say("seconds      " + ", ".join(f"{part} {spent:.2f}" for part, spent in result.seconds.items()))
        if "agents" in result.seconds:
            parts = {part: result.seconds[part] for part in ("training", "encryption", "ledger", "agents")}
            share = (parts["ledger"] + parts["encryption"]) / sum(parts.values())
            self.say(f"             ledger and encryption are {share:.0%} of the study's time by the clock")
        self.title("Anyone can check it")
        self.say(f"ledger head  {tip.height}:{tip.block.hex()}")
        program = "medfed" if shutil.which("medfed") else sys.argv[0]
        self.say(f"{program} ledger verify {place.ledger} --blobs {place.ledger}.blobs \\")
        self.say(f"  --genesis {study.ledger.genesis_digest}")
        self.say(f"one bit changed in a copy, and verification says:\n    {result.tampering or 'NOTHING'}")
        self.title("Results")
        if report:
            self.say(f"report       {place.root / 'report.html'}")
        self.say(f"model        {place.root / 'heart.safetensors'}")

    def title(self, text: str) -> None:
        """A new part of the story."""
        self._console.print(f"\n[bold]{text}[/bold]")


def _figure(value: Any) -> str:
    if value.value != value.value:
        return "n/a"
    return f"{value.value:.3f} [{value.low:.2f},{value.high:.2f}]".replace("0.", ".")
