"""An answer as one page for a doctor: self-contained, without a script, and fit for printing.

The page describes a patient: it is written where it was asked for and stays at the site. Every text is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from medfed.diagnosis.answer import Answer, SimilarCase
from medfed.diagnosis.question import Question
from medfed.diagnosis.treatments import Received

__all__ = ["answer_page", "diagnosis_rows", "dose_text"]

_STYLE: Final = """
body{font:15px/1.45 system-ui,sans-serif;color:#1a2330;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:1.8rem 0 .4rem;border-bottom:1px solid #c9d1db}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;vertical-align:top}
td{overflow-wrap:break-word}
th{font-weight:600;color:#4a5666;border-bottom:1px solid #c9d1db}tr+tr td{border-top:1px solid #e8ecf1}
.number{text-align:right;font-variant-numeric:tabular-nums}.quiet{color:#5b6776;font-size:.88rem}
.warning{border-left:4px solid #b45309;background:#fff7ed;padding:.5rem .8rem;margin:.5rem 0}
.bad{color:#a11212;font-weight:600}
@media print{body{margin:0;max-width:none;font-size:11pt}tr,.warning{break-inside:avoid}}
"""


def answer_page(question: Question, answer: Answer) -> str:
    """The whole page as HTML."""
    warnings = "".join(f'<p class="warning">{escape(text)}</p>' for _, text in answer.warnings)
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width"><title>Assisted diagnosis</title>',
        f"<style>{_STYLE}</style></head><body><h1>Assisted diagnosis</h1>",
        '<p class="quiet">It supports a decision and never makes one. A research tool, not a medical device.</p>',
        warnings,
        _section("Diagnoses", ("", "together", "similar cases", "network"), diagnosis_rows(answer), numbers=(1, 2, 3)),
        _section("Similar cases", _CASE_HEADS, _cases(answer.cases[: answer.settings.shown]), numbers=(1, 2)),
        _section("Cases that speak against it", _CASE_HEADS, _cases(answer.contrary), numbers=(1, 2)),
        _section("What similar patients received", _TREATMENT_HEADS, map(_treatment, answer.treatments)),
        '<p class="quiet">Not a recommended dose. Nothing is selected: the decision is written down with '
        "<code>medfed decide</code>.</p>",
        _section("Asked", ("finding", "status", "value"), dict.fromkeys(_asked(question))),
        f"<h2>Made from</h2><p class='quiet'>answer {escape(answer.answer)}<br>"
        f"model {answer.model.hex() if answer.model else 'none'}<br>vocabulary {answer.vocabulary.hex()}<br>"
        f"library revision {answer.library_revision}, asked by {escape(answer.user)}</p></body></html>\n",
    ]
    return "\n".join(parts)


_CASE_HEADS: Final = ("case", "similarity", "compared", "diagnosis", "course", "what made it similar")
_TREATMENT_HEADS: Final = ("drug", "route", "dose", "patients", "worse or died", "allergy", "pregnancy", "age")


def dose_text(one: Received) -> str:
    """The doses in words: median and quartiles, or the list."""
    basis = "" if one.basis == "absolute" else f" {one.basis}"
    if one.median is not None:
        return f"median {one.median:g} [{one.lower:g}, {one.upper:g}] {one.unit}{basis}, {one.measured} cases"
    if one.doses:
        return f"{', '.join(f'{dose:g}' for dose in one.doses)} {one.unit}{basis}"
    return "unknown"


def _asked(question: Question) -> Iterable[tuple[str, str, str]]:
    yield "age", "", "unknown" if question.age is None else f"{question.age:g} years"
    yield "sex", "", question.sex or "unknown"
    yield "pregnant", "", question.pregnant
    for one in question.features:
        value = "" if one.value is None else (f"{one.value:g}" if isinstance(one.value, float) else one.value)
        yield one.concept.replace("_", " "), one.status, f"{value} {one.unit}".strip()


def diagnosis_rows(answer: Answer) -> Iterable[Sequence[str]]:
    """Each diagnosis that is shown: its name and its shares, together, of similar cases and of the network."""
    for one in answer.diagnoses[: answer.settings.shown]:
        network = _share(one.network) if answer.model else "none asked"
        yield one.diagnosis.words, f"{one.combined:.0%}", _share(one.library), network


def _cases(cases: Sequence[SimilarCase]) -> Iterable[Sequence[str]]:
    for one in cases:
        reasons = ", ".join(f"{name.replace('_', ' ')} {part:.2f}" for name, part in one.contributions[:6])
        diagnoses = ", ".join(coding.words for coding in one.diagnoses)
        name = f"{one.case}{' (assisted)' if one.assisted else ''}"
        yield name, f"{one.score:.2f}", f"{one.coverage:.0%}", diagnoses, one.course, reasons


def _treatment(one: Received) -> Sequence[str]:
    when = " as needed" if one.as_needed else ""
    return (
        f"{one.drug.words}{when} (age {one.age_band})",
        one.route.words if one.route else "unknown",
        dose_text(one),
        str(len(one.cases)),
        str(len(one.against)),
        one.flags.allergy,
        one.flags.pregnancy,
        one.flags.age,
    )


def _section(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    listed = list(rows)
    if not listed:
        return f'<h2>{title}</h2><p class="quiet">none</p>'
    kind = dict.fromkeys(numbers, ' class="number"')
    head = "".join(f"<th{kind.get(n, '')}>{escape(text)}</th>" for n, text in enumerate(heads))
    body = "".join(
        "<tr>" + "".join(f"<td{kind.get(n, '')}>{_breakable(cell)}</td>" for n, cell in enumerate(row)) + "</tr>"
        for row in listed
    )
    return f"<h2>{title}</h2><table><tr>{head}</tr>{body}</table>"


def _breakable(text: str) -> str:
    """Escaped, with places at which the levels of a path may go into the next line."""
    return escape(text).replace("|", "|<wbr>")


def _share(value: float | None) -> str:
    return "does not know it" if value is None else f"{value:.0%}"
