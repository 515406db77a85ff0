"""`medfed records`: a site's case library. What cases say is printed nowhere; it goes only into a file asked for."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medfed.cli.options import PATH, NumberRange, as_json
from medfed.cli.output import print_json, table
from medfed.errors import InvalidInput

if TYPE_CHECKING:
    from medfed.hospital.import_reports import KeptReport
    from medfed.records.library import Library

_SHOWN_LINES = 20


@click.group()
def records() -> None:
    """Import patients' records and look after the case library. Nothing in it leaves the site."""


@records.command("import")
@click.argument("site", type=PATH)
@click.argument("files", type=PATH, nargs=-1, required=True)
@click.option(
    "--mapping", type=PATH, metavar="TOML", help="For tables: says what the columns are; FILES is one folder."
)
@click.option(
    "--zone", type=click.IntRange(-840, 840), default=0, help="FHIR: minutes east of UTC of times without a zone."
)
@click.option("--base", multiple=True, metavar="URL", help="FHIR: address of the site's own server; may be repeated.")
@click.option("--trust-unit-codes", is_flag=True, help="FHIR: do not compare units shown with their UCUM codes.")
@as_json
def import_(
    site: Path, files: tuple[Path, ...], mapping: Path | None, zone: int, base: tuple[str, ...], trust_unit_codes: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Import FHIR files, or tables with a mapping, into the library of SITE. Importing again changes nothing."""
    from medfed.hospital.import_reports import keep_report
    from medfed.hospital.site_directory import wall_clock

    now = wall_clock() // 1000
    with open_library(site) as library:
        if mapping is not None:
            from medfed.records.mapping import load_mapping
            from medfed.records.tables import import_tables

            if len(files) != 1 or not files[0].is_dir():
                raise InvalidInput("with --mapping: expected one folder that holds the mapping's tables")
            report = import_tables(library, files[0], load_mapping(mapping))
        else:
            from medfed.records.fhir.importer import FhirSettings, import_fhir
            from medfed.records.units import UnitConverter

            settings = FhirSettings(zone_minutes=zone, own_bases=base, now=now)
            report = import_fhir(library, _fhir_files(files), settings, None if trust_unit_codes else UnitConverter())
        kept = keep_report(site / "import-reports", report, now)
    _show(kept, as_json, brief=True)


@records.command("map")
@click.argument("file", type=PATH)
def map_(file: Path) -> None:
    """Draft a mapping for the table FILE, for a person to correct."""
    from medfed.records.draft_mapping import draft_mapping

    click.echo(draft_mapping(file), nl=False)


@records.command("list")
@click.argument("site", type=PATH)
@as_json
def list_(site: Path, as_json: bool) -> None:
    """List the cases of SITE by identifier: how much each holds, and none of what it says."""
    with open_library(site) as library:
        rows = [
            {
                "case": case.id,
                "features": len(case.features),
                "diagnoses": len(case.outcome.diagnoses),
                "treatments": len(case.outcome.treatments),
                "course_known": case.outcome.course.status != "unknown",
                "assisted": case.assisted,
            }
            for case in library.cases()
        ]
    if as_json:
        print_json({"cases": rows})
        return
    heads = ("case", "features", "diagnoses", "treatments", "course_known", "assisted")
    words: dict[Any, str] = {True: "yes", False: "no"}
    lines = [[words[value] if isinstance(value, bool) else str(value) for value in row.values()] for row in rows]
    table(f"{len(rows)} cases", [head.replace("_", " ") for head in heads], lines)


@records.command("show-report")
@click.argument("site", type=PATH)
@click.option("--number", type=click.IntRange(min=1), help="Which import; the newest by default.")
@as_json
def show_report(site: Path, number: int | None, as_json: bool) -> None:
    """Print what an import did: each record that was not used, with its place and the reason."""
    from medfed.hospital.import_reports import load_report

    _show(load_report(site / "import-reports", number), as_json, brief=False)


@records.command()
@click.argument("site", type=PATH)
@click.argument("output", type=PATH)
@click.option("--case", "chosen", multiple=True, metavar="ID", help="Only this case; may be repeated.")
def export(site: Path, output: Path, chosen: tuple[str, ...]) -> None:
    """Write cases as FHIR R4 bundles, one a line, to the new file OUTPUT, readable by its owner only."""
    import os

    import orjson

    from medfed.records.fhir.export import export_case

    with open_library(site) as library:
        cases = [library.get(one) for one in chosen] if chosen else library.cases()
        try:
            handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise InvalidInput(f"{output}: exists; records are never written over a file") from None
        count = 0
        try:
            with os.fdopen(handle, "wb") as file:
                for case in cases:
                    file.write(orjson.dumps(export_case(case)) + b"\n")
                    count += 1
        except BaseException:
            output.unlink(missing_ok=True)  # half of the cases look like all
            raise
    click.echo(f"{output}: {count} cases")


@records.command()
@click.argument("site", type=PATH)
@click.argument("output", type=PATH)
@click.option("--least", type=click.IntRange(min=1), default=1, help="How many cases must need a word.")
@click.option(
    "--level", "levels", type=(str, click.IntRange(1, 20)), multiple=True, metavar="SYSTEM DEPTH",
    help="Read a system's codes at a level: icd-10 or icd-10-cm (1 chapter, 2 block, 3 category), atc (1 to 5), or the "
    "URI of a list of paths. May be repeated.",
)  # fmt: skip
def vocabulary(site: Path, output: Path, least: int, levels: tuple[tuple[str, int], ...]) -> None:
    """Draft the vocabulary that the cases of SITE need, to the new file OUTPUT: concepts and ranges, no counts."""
    from medfed.records.draft import draft_vocabulary
    from medfed.records.taxonomy import level_of

    with open_library(site) as library:
        made = draft_vocabulary(library.cases(), least, levels=[level_of(system, depth) for system, depth in levels])
    if output.exists():
        raise InvalidInput(f"{output}: exists; a vocabulary is never written over a file")
    output.write_bytes(made.encode())
    click.echo(
        f"{output}: {len(made.attributes)} attributes, {len(made.diagnoses)} diagnoses, digest {made.digest.hex()}"
    )


@records.command()
@click.argument("words", type=PATH, metavar="VOCABULARY")
@click.argument("output", type=PATH)
@click.option("--hospital", "hospitals", multiple=True, required=True, metavar="NAME", help="Takes part; repeat it.")
@click.option("--title", default="Outcomes from case libraries", show_default=True, help="What the study is about.")
@click.option("--rounds", type=click.IntRange(1, 10_000), default=40, show_default=True, help="Rounds of training.")
@click.option("--hide", type=NumberRange(0, 0.99), default=0.5, show_default=True, help="Chance to hide a finding.")
@click.option(
    "--least-scale", type=NumberRange(1e-6, 1e6), metavar="SCALE",
    help="Divide no column by less, so that rare words are not blown up; .2 served well where there are many.",
)  # fmt: skip
@click.option(
    "--weigh", is_flag=True, help="Sum counts from which attributes' weights are learned; the model has them."
)
@click.option("--signatures", default="", metavar="HEX", help="Learn from the shared cases of this alignment.")
@click.option("--patients", default="", metavar="HEX", help="Count nobody twice, by this alignment.")
def plan(
    words: Path, output: Path, hospitals: tuple[str, ...], title: str, rounds: int, hide: float,
    least_scale: float | None, weigh: bool, signatures: str, patients: str,
) -> None:  # fmt: skip
    """Draft a plan to learn outcomes from case libraries in the words of the file VOCABULARY, to the file OUTPUT."""
    from medfed.federation.outcome_study import outcome_plan
    from medfed.federation.plan import Aligned
    from medfed.federation.plan_file import format_plan
    from medfed.federation.plan_rules import verify_plan
    from medfed.input_file import read_input
    from medfed.records.vocabulary import MAX_VOCABULARY_BYTES, Vocabulary

    vocabulary = Vocabulary.decode(read_input(words, MAX_VOCABULARY_BYTES, str(words)))
    aligned = Aligned(signatures, patients) if signatures or patients else None
    made = outcome_plan(
        vocabulary,
        hospitals,
        title=title,
        rounds=rounds,
        hide=hide,
        weigh=weigh,
        aligned=aligned,
        least_scale=least_scale,
    )
    verify_plan(made)
    if output.exists():
        raise InvalidInput(f"{output}: exists; a plan is never written over a file")
    output.write_text(format_plan(made), encoding="utf-8")
    click.echo(f"{output}: {made.inputs} inputs, {made.outputs} outcomes, digest {made.digest.hex()}")


@records.command("withdraw-consent")
@click.argument("site", type=PATH)
@click.option("--patient", prompt="Patient's identifier", hide_input=True, help="Asked for where it is not given.")
@as_json
def withdraw_consent(site: Path, patient: str, as_json: bool) -> None:
    """Remove everything of a patient from SITE, at once and for good; no later import brings it back."""
    from medfed.hospital.consultation import open_decisions, withdraw_patient

    with open_library(site) as library, closing(open_decisions(site)) as decisions:
        gone = withdraw_patient(library, decisions, patient)
    if as_json:
        print_json({"removed_cases": gone})
    else:
        click.echo(f"withdrawn; {gone} cases removed")


@contextmanager
def open_library(site: Path) -> Generator[Library]:
    """The library of a site, made where there is none yet.

    Raises:
        InvalidInput: there is no site.
    """
    from medfed.crypto import system_entropy
    from medfed.hospital.site_directory import read_public
    from medfed.records.library import Library

    read_public(site)
    with closing(Library(site / "library.db", system_entropy)) as library:
        yield library


def _fhir_files(paths: tuple[Path, ...]) -> list[Path]:
    from medfed.records.fhir.importer import find_fhir_files

    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise InvalidInput(f"{path}: no such file or folder")
        files += find_fhir_files(path) if path.is_dir() else [path]
    if not files:
        raise InvalidInput("no FHIR files found: expected .json, .ndjson, .jsonl, packed with gzip or zip or not")
    return files


def _show(kept: KeptReport, as_json: bool, *, brief: bool) -> None:
    if as_json:
        print_json(kept)
        return
    click.echo(
        f"import {kept.number}: {kept.read} records read, {kept.used} used, {kept.explained} explained; "
        f"cases: {kept.cases} made, {kept.unchanged} unchanged, {kept.removed} removed"
    )
    for kind, reason, count in kept.reasons:
        click.echo(f"  {count} {kind}: {reason}")
    for kind, reason, count in kept.notes:
        click.echo(f"  part of {count} {kind}: {reason}")
    lines = kept.lines[:_SHOWN_LINES] if brief else kept.lines
    for line in lines:
        click.echo(f"source {line.source}, {line.path}: {line.kind}: {line.reason}")
    if len(lines) < len(kept.lines):
        click.echo(f"and {len(kept.lines) - len(lines)} more: medfed records show-report")
