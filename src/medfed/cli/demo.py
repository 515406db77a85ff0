"""`medfed demo`: the guided tour."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from medfed.cli.options import PATH, as_json
from medfed.cli.output import print_json
from medfed.errors import Refused


@click.group(invoke_without_command=True)
@click.option("--output", type=PATH, default=Path("medfed-demo"), show_default=True, help="Where everything is kept.")
@click.option("--kill", is_flag=True, help="Run agents as processes and kill one in the middle of a round.")
@click.option("--resume", is_flag=True, help="Go on with a demo that was killed.")
@click.option("--network", is_flag=True, help="Four nodes of their own, in consensus through CometBFT.")
@click.option("--no-report", is_flag=True, help="Do not write report.html.")
@click.option(
    "--protection",
    type=click.Choice(["masked", "homomorphic", "sealed"]),
    default="masked",
    show_default=True,
    help="How updates are protected; homomorphic needs medfed[he].",
)
@as_json
@click.pass_context
def demo(
    context: click.Context,
    output: Path,
    kill: bool,
    resume: bool,
    network: bool,
    no_report: bool,
    protection: Literal["masked", "homomorphic", "sealed"],
    as_json: bool,
) -> None:
    """Four hospitals train a heart-disease model together, on 920 real patients."""
    if context.invoked_subcommand is not None:
        return
    if network:
        from medfed.demo.network import run_network_demo

        if kill or resume or protection != "masked":
            raise Refused("network-alone", "--network goes with neither --kill nor --resume, and shows masked updates")
        figures = run_network_demo(output, quiet=as_json)
        if as_json:
            print_json(figures)
        return
    from medfed.demo.main import run_demo

    facts = run_demo(output, kill=kill, resume=resume, report=not no_report, quiet=as_json, protection=protection)
    if facts is not None:
        print_json(facts)


@demo.command()
@click.option("--data", type=PATH, required=True, metavar="DIR", help="The CSV files of the eICU demo set.")
@click.option("--output", type=PATH, default=Path("medfed-records-demo"), show_default=True, help="Where it is kept.")
@as_json
def records(data: Path, output: Path, as_json: bool) -> None:
    """Import, align, train, diagnose, correct, follow up and train again, on 2,500 real stays in intensive care.

    The eICU Collaborative Research Database demo is free under the ODbL and no part of MedFed.
    """
    from medfed.demo.records_tour import run_records_demo

    facts = run_records_demo(data, output, quiet=as_json)
    if as_json:
        print_json(facts)


@demo.command()
@click.option("--output", type=PATH, default=Path("medfed-imaging-demo"), show_default=True, help="Where it is kept.")
@click.option("--rounds", type=click.IntRange(1, 100), help="Training rounds in place of the plan's; fewer find less.")
@as_json
def imaging(output: Path, rounds: int | None, as_json: bool) -> None:
    """Train a detector of blood cells under session keys, ask it blindly, and request pictures, on 150 real pictures.

    Needs medfed[imaging,torch]. The pictures are of the BCCD set (MIT licence) and come with MedFed.
    """
    from medfed.demo.imaging_tour import run_imaging_demo

    facts = run_imaging_demo(output, rounds=rounds, quiet=as_json)
    if as_json:
        print_json(facts)
