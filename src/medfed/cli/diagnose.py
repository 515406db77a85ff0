"""`medfed diagnose`: similar cases and the network's prediction for one patient. The answer goes to who asked."""

from __future__ import annotations

import getpass
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medfed.cli.options import PATH, NumberRange, as_json
from medfed.cli.output import print_json, table
from medfed.errors import InvalidInput

if TYPE_CHECKING:
    from medfed.diagnosis.answer import Answer
    from medfed.diagnosis.question import Asked, Question
    from medfed.records.vocabulary import Vocabulary

_MOST_BYTES = 1 << 20


@click.command()
@click.argument("site", type=PATH)
@click.argument("question", type=PATH, required=False)
@click.option("--model", "model_file", type=PATH, metavar="FILE", help="A released model of the same vocabulary.")
@click.option("--vocabulary", "words", type=PATH, metavar="FILE", help="The study's; drafted from the library without.")
@click.option("--threshold", type=NumberRange(0, 1), default=0.4, show_default=True, help="Least similarity.")
@click.option("--page", type=PATH, metavar="HTML", help="Write the answer as a page to this new file.")
@click.option("--user", default=getpass.getuser, metavar="NAME", help="Who asks; the login by default.")
@as_json
def diagnose(
    site: Path, question: Path | None, model_file: Path | None, words: Path | None, threshold: float,
    page: Path | None, user: str, as_json: bool,
) -> None:  # fmt: skip
    """Answer the JSON document QUESTION, or ask for the findings. It supports a decision and never makes one."""
    from medfed.cli.records import open_library
    from medfed.crypto import system_entropy
    from medfed.diagnosis.answer import AnswerSettings
    from medfed.diagnosis.page import answer_page
    from medfed.federation.model_file import load_model
    from medfed.hospital.consultation import ask, open_decisions
    from medfed.hospital.site_directory import wall_clock
    from medfed.records.draft import draft_vocabulary
    from medfed.records.units import UnitConverter
    from medfed.records.vocabulary import Vocabulary

    if page is not None and page.exists():
        raise InvalidInput(f"{page}: exists; a page is never written over a file")
    with open_library(site) as library:
        vocabulary = Vocabulary.decode(words.read_bytes()) if words else draft_vocabulary(library.cases())
        asked = _read(question) if question else _interview(vocabulary)
        with closing(open_decisions(site)) as decisions:
            answer = ask(
                library, decisions, asked, vocabulary,
                model=load_model(model_file) if model_file else None, time=wall_clock() // 1000, user=user,
                entropy=system_entropy, settings=AnswerSettings(threshold=threshold), units=UnitConverter(),
            )  # fmt: skip
    if page is not None:
        with os.fdopen(os.open(page, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(answer_page(asked, answer))
    if as_json:
        print_json(answer)
    else:
        _print(answer)


def _read(path: Path) -> Question:
    from medfed.diagnosis.question import parse_question

    with path.open("rb") as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise InvalidInput(f"question: larger than {_MOST_BYTES >> 10} KiB")
    return parse_question(data)


def _interview(vocabulary: Vocabulary) -> Question:
    from medfed.diagnosis.question import Asked, Question, find_word

    if not sys.stdin.isatty():
        raise InvalidInput("no question: name a JSON document, or run in a terminal")
    patient = click.prompt("Patient's identifier (stays here)", err=True)
    age = click.prompt("Age in years (empty: unknown)", default="", show_default=False, err=True)
    sexes = click.Choice(["female", "male", "other", ""])
    sex: Any = click.prompt("Sex (empty: unknown)", default="", show_default=False, type=sexes, err=True)
    pregnant: Any = click.prompt("Pregnant", type=click.Choice(["yes", "no", "unknown"]), default="unknown", err=True)
    features: list[Asked] = []
    while text := click.prompt("Finding; ! before it: refuted (empty: done)", default="", show_default=False, err=True):
        found = find_word(vocabulary, text.lstrip("!"))
        if len(found) == 1:
            refuted = text.startswith("!")
            features.append(Asked(found[0].code, found[0].system, status="refuted" if refuted else "present"))
        else:
            near = ", ".join(coding.words for coding in found[:8])
            click.echo(f"which one? {near}" if found else "not in the vocabulary", err=True)
    try:
        years = float(age) if age else None
    except ValueError:
        raise InvalidInput("age: expected a number of years") from None
    return Question(patient, tuple(features), years, sex, pregnant)


def _print(answer: Answer) -> None:
    from medfed.diagnosis.page import diagnosis_rows, dose_text

    for _, text in answer.warnings:
        click.echo(f"warning: {text}")

    shown = answer.settings.shown
    heads = ("diagnosis", "together", "similar cases", "network")
    table("Diagnoses", heads, list(diagnosis_rows(answer)), right=heads[1:])
    for title, cases in (("Similar cases", answer.cases[:shown]), ("Cases that speak against it", answer.contrary)):
        lines = [
            (
                c.case,
                f"{c.score:.2f}",
                f"{c.coverage:.0%}",
                ", ".join(d.words for d in c.diagnoses),
                c.course,
            )
            for c in cases
        ]
        if lines:
            table(title, ("case", "similarity", "compared", "diagnosis", "course"), lines)
    received = [
        (r.drug.words, r.age_band, dose_text(r), str(len(r.cases)), str(len(r.against)),
         r.flags.allergy, r.flags.pregnancy, r.flags.age)
        for r in answer.treatments
    ]  # fmt: skip
    if received:
        names = ("drug", "ages", "dose", "patients", "worse or died", "allergy", "pregnancy", "age")
        table("What similar patients received (no recommended dose)", names, received)
    click.echo(f"answer {answer.answer}: write down the decision with `medfed decide`")
