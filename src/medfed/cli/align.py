"""`medfed align`: private set intersection between hospitals. Local ids go only into a file asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medfed.cli.align_words import words_command, words_plan_command
from medfed.cli.options import PATH, NumberRange, act, as_json, ledger_option, open_own_site, open_view, site_option
from medfed.cli.output import print_json, table
from medfed.errors import InvalidInput

if TYPE_CHECKING:
    from medfed.hospital.alignment_state import AlignmentResult
    from medfed.ledger.contracts.alignment import Alignment
    from medfed.ledger.engine import StateView

_DAY_MS = 24 * 3600 * 1000


@click.group()
def align() -> None:
    """Find what several hospitals have, without showing what they do not share.

    ALIGNMENT is an alignment's identifier, or as many of its first digits as are unique.
    """


align.add_command(words_plan_command)
align.add_command(words_command)


@align.command("open")
@ledger_option
@site_option
@click.option("--hospital", "hospitals", multiple=True, required=True, metavar="NAME", help="May be repeated.")
@click.option("--study", "study_text", metavar="HEX", help="The study it is for, 32 digits; drawn without.")
@click.option(
    "--question", type=PATH, metavar="TOML", help="What is compared; all findings, and age in bands, without."
)
@click.option("--patients", is_flag=True, help="Compare patients' identifiers instead of cases' signatures.")
@click.option("--bound", type=click.IntRange(16, 1_200_000), default=100_000, show_default=True, help="Longest list.")
@click.option("--least", type=click.IntRange(2, 50), default=2, show_default=True, help="Fewest hospitals to go on.")
@click.option("--days", type=NumberRange(1e-5, 366), default=1.0, show_default=True, help="Time to commit in.")
@click.option("--hours", type=NumberRange(1e-3, 1000), default=1.0, show_default=True, help="Time for a stage.")
@as_json
def open_(
    ledger: Path, site: Path, hospitals: tuple[str, ...], study_text: str | None, question: Path | None,
    patients: bool, bound: int, least: int, days: float, hours: float, as_json: bool,
) -> None:  # fmt: skip
    """Ask hospitals to compare their cases' signatures, or their patients, once for a study."""
    from medfed.alignment.question_file import load_question
    from medfed.crypto import system_entropy
    from medfed.identifiers import parse_study_id
    from medfed.ledger.contracts.alignment import OpenAlignment

    kind = "patients" if patients else "signatures"
    study = parse_study_id(study_text) if study_text else system_entropy(16)
    identifier = system_entropy(16)
    body = OpenAlignment(
        identifier, study, kind, load_question(kind, question), bound, least, tuple(sorted(hospitals)),
        int(days * _DAY_MS), int(hours * _DAY_MS / 24),
    )  # fmt: skip
    receipt = act(ledger, site, body)
    if as_json:
        print_json(receipt | {"alignment": identifier, "study": study, "kind": kind})
    else:
        click.echo(f"alignment {identifier.hex()}\nstudy     {study.hex()}")


@align.command("list")
@ledger_option
@as_json
def list_(ledger: Path, as_json: bool) -> None:
    """List the alignments of a ledger."""
    from medfed.ledger.contracts.alignment import alignment_record, alignments

    with open_view(ledger) as view:
        found = [alignment_record(view, identifier) for identifier in alignments(view)]
    records = [record for record in found if record is not None]
    if as_json:
        print_json({"alignments": [_facts(record) for record in records]})
        return
    rows = [
        [record.alignment.hex()[:12], record.kind, _phase(record), str(record.attempt), ", ".join(record.roster)]
        for record in records
    ]
    table(f"{len(rows)} alignments", ("alignment", "kind", "phase", "attempt", "hospitals"), rows)


@align.command()
@click.argument("alignment")
@ledger_option
@as_json
def show(alignment: str, ledger: Path, as_json: bool) -> None:
    """Show what an alignment asks, and how far it is."""
    from medfed.alignment.question_file import describe_question
    from medfed.ledger.contracts.alignment import alignment_question

    with open_view(ledger) as view:
        record = _find(view, alignment)
        question = alignment_question(view, record.alignment) or b""
    asked = describe_question(record.kind, question)
    if as_json:
        print_json(_facts(record) | {"asks": asked})
        return
    click.echo(f"{record.kind} {record.alignment.hex()} for study {record.study.hex()}: {_phase(record)}")
    click.echo(f"hospitals {', '.join(record.roster)}; attempt {record.attempt}, stage {record.stage}")
    for line in asked:
        click.echo(click.wrap_text(line, 78, "  - ", "    "))


@align.command()
@click.argument("alignment")
@ledger_option
@site_option
def approve(alignment: str, ledger: Path, site: Path) -> None:
    """Agree to exactly what an alignment asks. The site's agent then takes part.

    Patients are compared only where site.toml states a legal basis, whatever is approved here.
    """
    from medfed.hospital.alignment_state import approve_alignment

    with open_view(ledger) as view:
        record = _find(view, alignment)
    with open_own_site(site, ledger) as opened:
        approve_alignment(opened.vault, record)
    click.echo(f"approved: {record.kind}, question {record.question.hex()[:12]}")


@align.command()
@click.argument("alignment")
@ledger_option
@site_option
@click.option("--code", default="declined", show_default=True, help="The reason, as a code of a-z, 0-9 and hyphens.")
@as_json
def decline(alignment: str, ledger: Path, site: Path, code: str, as_json: bool) -> None:
    """Take no part in an alignment."""
    import msgspec

    from medfed.identifiers import Code
    from medfed.ledger.contracts.alignment import DeclineAlignment

    try:
        msgspec.convert(code, Code)
    except msgspec.ValidationError:
        raise InvalidInput(f"code {code!r}: expected 1 to 40 of a-z, 0-9 and hyphens") from None
    with open_view(ledger) as view:
        record = _find(view, alignment)
    receipt = act(ledger, site, DeclineAlignment(record.alignment, code))
    if as_json:
        print_json(receipt)
    else:
        click.echo("declined")


@align.command()
@click.argument("alignment")
@ledger_option
@site_option
@click.option("--output", type=PATH, metavar="CSV", help="Write the local ids of shared entries to this new file.")
@as_json
def result(alignment: str, ledger: Path, site: Path, output: Path | None, as_json: bool) -> None:
    """Show how much of what this site has others have too."""
    from medfed.hospital.alignment_state import load_result

    with open_view(ledger) as view:
        record = _find(view, alignment)
    with open_own_site(site, ledger) as opened:
        found = load_result(opened.vault, record.alignment)
    if found is None:
        raise InvalidInput(f"alignment {record.alignment.hex()}: this site has no result of it ({_phase(record)})")
    if output is not None:
        _write(output, found)
    facts: dict[str, Any] = {
        "entries": found.entries,
        "shared": len(found.ids),
        "sizes": [list(row) for row in found.sizes.pairs],
        "by_holders": [list(row) for row in found.sizes.by_holders],
    }
    if as_json:
        print_json(facts)
        return
    click.echo(f"{len(found.ids)} of {found.entries} entries of this site are at another hospital too")
    table("", ("hospital", "hospital", "shared"), [(a, b, str(n)) for a, b, n in found.sizes.pairs], right=("shared",))
    if output is not None:
        click.echo(f"{output}: {sum(map(len, found.ids))} local ids")


def _write(path: Path, found: AlignmentResult) -> None:
    import csv
    import os

    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise InvalidInput(f"{path}: exists; a result is never written over a file") from None
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror or error}") from None
    with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("local id", "hospitals"))
        for ids, holders in zip(found.ids, found.holders, strict=True):
            rows.writerows((one, " ".join(holders)) for one in ids)


def _find(view: StateView, text: str) -> Alignment:
    from medfed.identifiers import find_by_digits
    from medfed.ledger.contracts.alignment import alignment_record, alignments

    known = (alignment_record(view, identifier) for identifier in alignments(view))
    records = [record for record in known if record is not None]
    return find_by_digits("alignment", text, records, lambda one: one.alignment, "; see `medfed align list`")


def _phase(record: Alignment) -> str:
    return f"ended ({record.code})" if record.phase == "ended" else record.phase


def _facts(record: Alignment) -> dict[str, Any]:
    return {
        "alignment": record.alignment,
        "study": record.study,
        "kind": record.kind,
        "phase": record.phase,
        "code": record.code,
        "attempt": record.attempt,
        "stage": record.stage,
        "hospitals": list(record.roster),
        "declined": list(record.declined),
        "lengths": [list(row) for row in record.lengths],
    }
