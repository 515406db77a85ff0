"""`medfed decide`, `medfed follow-up`, `medfed trace`: what a doctor made of an answer, and how it went."""

from __future__ import annotations

import getpass
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import click

from medfed.cli.options import PATH, as_json, open_view
from medfed.cli.output import print_json
from medfed.diagnosis.decisions import Reason
from medfed.errors import InvalidInput
from medfed.records.case import CourseStatus

_MOST_BYTES = 1 << 20
user_option = click.option("--user", default=getpass.getuser, metavar="NAME", help="Who says so; the login by default.")


@click.command()
@click.argument("site", type=PATH)
@click.argument("answer")
@click.option("--decision", type=click.Choice(["confirm", "adjust", "reject"]), required=True)
@click.option("--reason", type=click.Choice(get_args(Reason)), required=True)
@click.option("--diagnosis", "diagnoses", multiple=True, metavar="SYSTEM|CODE", help="May be repeated; the main first.")
@click.option("--treatments", type=PATH, metavar="JSON", help="What was ordered: a list of drugs with their doses.")
@user_option
@as_json
def decide(
    site: Path, answer: str, decision: Any, reason: Any, diagnoses: tuple[str, ...], treatments: Path | None, user: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Write down what a doctor decided on ANSWER. Nothing is preselected: a diagnosis that is confirmed is named."""
    from medfed.diagnosis.decisions import Answered, Decided
    from medfed.diagnosis.treatments import parse_treatments
    from medfed.hospital.consultation import open_decisions
    from medfed.hospital.site_directory import wall_clock
    from medfed.input_file import read_input
    from medfed.records.coding import Coding

    ordered = parse_treatments(read_input(treatments, _MOST_BYTES, "treatments")) if treatments is not None else ()
    with closing(open_decisions(_site(site))) as log:
        shown = [c for e in log.entries(answer) if isinstance(e.event, Answered) for c, _ in e.event.diagnoses]
        named: list[Coding] = []
        for text in diagnoses:
            system, bar, code = text.rpartition("|")
            found = [c for c in shown if text in (c.code, c.display)]
            whole = bool(bar and system and code)
            if not whole and len(found) != 1:
                raise InvalidInput("diagnosis: expected SYSTEM|CODE, or the code of one that the answer shows")
            named.append(Coding(system, code) if whole else found[0])
        entry = log.decide(
            answer, Decided(decision, reason, tuple(named), ordered), user=user, time=wall_clock() // 1000
        )
    if as_json:
        print_json(entry)
    else:
        click.echo(f"decided: {decision}; the course is written down with `medfed follow-up`")


@click.command("follow-up")
@click.argument("site", type=PATH)
@click.argument("answer")
@click.option("--course", type=click.Choice(get_args(CourseStatus)), required=True)
@click.option("--known", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]), help="When that was known; now by default.")
@user_option
@as_json
def follow_up(site: Path, answer: str, course: Any, known: datetime | None, user: str, as_json: bool) -> None:
    """Write down how it went. Only a decided diagnosis with an acceptable course becomes a case, marked as assisted."""
    from medfed.cli.records import open_library
    from medfed.diagnosis.decisions import FollowedUp, Retained
    from medfed.hospital import consultation
    from medfed.hospital.site_directory import wall_clock

    now = wall_clock() // 1000
    followed = FollowedUp(course, int(known.timestamp()) if known else now)
    with open_library(site) as library, closing(consultation.open_decisions(site)) as log:
        entry = consultation.follow_up(library, log, answer, followed, user=user, time=now)
    if as_json:
        print_json(entry)
    elif isinstance(entry.event, Retained):
        click.echo(f"followed up: {course}; it is the case {entry.event.case} now")
    else:
        click.echo(f"followed up: {course}; it is no case of the library")


@click.command()
@click.argument("site", type=PATH)
@click.argument("answer")
@click.option("--ledger", type=PATH, metavar="FILE", help="Go on to the model's study and its rounds.")
@as_json
def trace(site: Path, answer: str, ledger: Path | None, as_json: bool) -> None:
    """Print what was shown, decided and followed up, and where the model came from. Checks the whole log first."""
    from medfed.diagnosis.decisions import Answered
    from medfed.hospital.consultation import open_decisions

    with closing(open_decisions(_site(site))) as log:
        count, head = log.verify()
        entries = list(log.entries(answer))
    if not entries:
        raise InvalidInput("answer: no such identifier in this site's log")
    model = next((e.event.model for e in entries if isinstance(e.event, Answered)), None)
    origin = _origin(ledger, model) if ledger is not None and model is not None else None
    if as_json:
        print_json({"log": {"entries": count, "digest": head}, "entries": entries, "model": origin})
        return
    click.echo(f"log: {count} entries, chain intact, digest {head.hex()}")
    for entry in entries:
        click.echo(f"{entry.number}  {entry.time}  {entry.user}  {entry.event.__struct_config__.tag}")
    click.echo(f"model {model.hex() if model else 'none'}")
    for name, value in (origin or {}).items():
        click.echo(f"  {name}: {value}")


def _origin(ledger: Path, model: bytes) -> dict[str, Any]:
    """Study, rounds and agreement of a registered model."""
    from medfed.ledger.contracts.registry import artefact
    from medfed.ledger.contracts.studies import study_record

    with open_view(ledger) as view:
        found = artefact(view, model)
        study = study_record(view, found.study) if found is not None and found.study is not None else None
    if found is None or study is None:
        raise InvalidInput("trace: the ledger has no study that made this model")
    return {
        "study": study.study.hex(),
        "plan": study.terms.plan.hex(),
        "rounds": study.next_round,
        "phase": study.phase,
        "hospitals": ", ".join(study.roster),
        "agreed_state": study.base.hex() if study.base else "none",
        "agreed_by": ", ".join(study.base_voters),
        "registered_by": found.registered_by,
        "endorsed_by": ", ".join(found.endorsers),
    }


def _site(site: Path) -> Path:
    from medfed.hospital.site_directory import read_public

    read_public(site)
    return site
