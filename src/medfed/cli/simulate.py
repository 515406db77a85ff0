"""`medfed simulate`: a whole study in one process, through the real ledger, agents and encryption."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from medfed.cli.options import PATH, as_json, directory_option, export_ledger_option, sites_data_option
from medfed.cli.output import figure, print_json, table
from medfed.errors import InvalidInput

if TYPE_CHECKING:
    from medfed.simulation.api import SimulatedStudy


@click.command()
@click.argument("plan", type=PATH)
@sites_data_option
@click.option("--columns", help="Names of the columns, separated by commas, for files without a header line.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Replays keys, splits and schedule.")
@directory_option
@click.option("--save-model", type=PATH, metavar="FILE", help="Write the released model.")
@click.option("--report", type=PATH, metavar="HTML", help="Write a report to read in a browser.")
@export_ledger_option
@as_json
def simulate(
    plan: Path,
    data: tuple[str, ...],
    columns: str | None,
    seed: int,
    directory: Path | None,
    save_model: Path | None,
    report: Path | None,
    export_ledger: Path | None,
    as_json: bool,
) -> None:
    """Run the study of PLAN with one hospital for each table."""
    from medfed.federation.model_file import save_model as write_model
    from medfed.federation.picture_table import read_source
    from medfed.simulation.api import simulate as run

    names = tuple(columns.split(",")) if columns else None
    tables = {name: read_source(path, columns=names) for name, path in sources(data).items()}
    study = run(plan, tables, seed=seed, directory=directory)
    if save_model is not None:
        write_model(save_model, study.model)
    if report is not None:
        study.report(report)
    if export_ledger is not None:
        study.ledger.export(export_ledger)
    if as_json:
        print_json(_facts(study))
    else:
        _print(study)


def sources(data: tuple[str, ...]) -> dict[str, Path]:
    """Each site's file, from `SITE=FILE` options.

    Raises:
        InvalidInput: an option that is something else, or a site that is named twice.
    """
    found: dict[str, Path] = {}
    for entry in data:
        name, mark, path = entry.partition("=")
        if not mark or not path or name in found:
            raise InvalidInput(f"--data {entry!r}: expected SITE=FILE, each site once")
        found[name] = Path(path)
    return found


def _facts(study: SimulatedStudy) -> dict[str, object]:
    return {
        "metrics": study.metrics(),
        "history": study.history(),
        "rewards": study.rewards,
        "model": study.model.digest,
        "state": study.state.digest,
        "genesis": study.ledger.genesis_digest,
        "tip": study.ledger.view.tip,
        "seconds": study.seconds,
    }


def _print(study: SimulatedStudy) -> None:
    click.echo(f"{study.plan.purpose.title}: {study.study.phase} in {study.seconds:.1f} s")
    examples = study.state.test.examples if study.state.test else 0
    rows = [(name, figure(value)) for name, value in study.metrics().items()]
    counted = "patients" if study.plan.data.picture is None else "pictures"
    table(f"released model, {examples} test {counted} of all hospitals", ("figure", "value [95 % interval]"), rows)
    table("", ("hospital", "points"), [(n, str(p)) for n, p in study.rewards.items()], right=("points",))
    tip = study.ledger.view.tip
    click.echo(f"genesis   {study.ledger.genesis_digest}\nhead      {tip.height}:{tip.block.hex()}")
    click.echo(f"model     {study.model.digest.hex()}")
