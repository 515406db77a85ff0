"""The page of a labelling study: what the votes gave, what they cost, what was spent, and how to check it.

Every number comes from the ledger, the plan or the student's card. The page fetches nothing, and every text is escaped.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from medfed.errors import InvalidInput, Unavailable
from medfed.federation.labelling_check import describe_noise, labelling_reveals
from medfed.federation.model_file import StudentCard
from medfed.federation.plan import Labelling
from medfed.ledger.contracts.labelling import spent, votes_round
from medfed.ledger.contracts.rounds import round_record
from medfed.privacy.vote_noise import budget_curve
from medfed.simulation.report.charts import Series, line_chart
from medfed.simulation.report.provenance import check_command, provenance_table
from medfed.simulation.report.style import STYLE

if TYPE_CHECKING:
    from medfed.simulation.api import SimulatedStudy

__all__ = ["write_labelling_report"]


def write_labelling_report(study: SimulatedStudy, path: Path) -> None:
    """Write the report of a finished labelling study to `path`.

    Raises:
        InvalidInput: not a labelling study. Unavailable: the file cannot be written.
    """
    labelling = study.plan.labelling
    if not isinstance(labelling, Labelling):
        raise InvalidInput("report: expected a labelling study")
    title = escape(study.plan.purpose.title)
    body = [
        f"<header><h1>{title}</h1><p>{_lead(study, labelling)}</p></header>",
        _headline(study),
        f'<div class="charts">{_curve(study, labelling)}</div>',
        _rounds(study),
        _promise(study, labelling),
        _provenance(study),
    ]
    page = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title} - MedFed report</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise Unavailable(f"report {path}: {error.strerror or error}") from None


def _lead(study: SimulatedStudy, labelling: Labelling) -> str:
    return (
        f"{len(study.study.roster)} hospitals trained {sum(labelling.teachers)} teachers on disjoint patients. The "
        f"teachers "
        f"voted on {labelling.queries} public cases; every hospital added its share of noise "
        f"({escape(describe_noise(labelling.noise))}), and only the noisy totals became known. A student was "
        f"trained on the "
        "public cases with those labels, and is all that is released."
    )


def _headline(study: SimulatedStudy) -> str:
    card = study.model.card.student
    if not isinstance(card, StudentCard):
        return ""
    cards = (
        (f"{card.epsilon:g}", f"ε at δ {card.delta:g}", f"for a {card.unit}, whatever the data"),
        (str(card.labels), "labels", f"of {card.queries} queries"),
        (f"{card.agreement:.3f}", "agreement", "of the student with its labels"),
        (str(card.teachers), "teachers", "of all hospitals"),
    )
    cells = "".join(
        f"<div><b>{escape(value)}</b><span>{escape(name)}</span><small>{escape(words)}</small></div>"
        for value, name, words in cards
    )
    return f'<section><h2>What it gave and what it cost</h2><div class="cards">{cells}</div></section>'


def _curve(study: SimulatedStudy, labelling: Labelling) -> str:
    points = budget_curve(labelling.terms, len(study.plan.participation.hospitals))
    chart = line_chart(
        "privacy curve", [Series("ε", [(float(n), epsilon) for n, epsilon in points])], "queries", "ε", marks=True
    )
    words = (
        "What so many noisy histograms cost a patient, whatever the data and the votes were: the bound follows "
        "from the "
        "noise alone. The last point is the whole budget."
    )
    return f"<figure><h3>The privacy curve</h3>{chart}<figcaption>{words}</figcaption></figure>"


def _rounds(study: SimulatedStudy) -> str:
    view, identifier = study.ledger.view, study.study.study
    lines: list[str] = []
    for number in range(study.study.next_round):
        record, place = round_record(view, identifier, number), votes_round(view, identifier, number)
        if record is None or place is None:
            continue
        charged = str(place.histograms) if place.charged else "0"
        lines.append(
            f"<tr><th>{number}</th><td>{place.batch}</td><td>{'answers' if place.stage else 'votes'}</td>"
            f"<td>{escape(record.phase)}</td><td>{len(record.survivors)}</td><td>{charged}</td></tr>"
        )
    head = (
        "<tr><th>round</th><th>batch</th><th>what</th><th>phase</th><th>survivors</th><th>histograms charged</th></tr>"
    )
    used = spent(view, study.study).histograms
    labelling = study.plan.labelling
    budget = labelling.terms.budget if isinstance(labelling, Labelling) else ()
    total = ", ".join(f"{one} of {most}" for one, most in zip(used, budget, strict=True))
    return (
        f"<section><h2>What the ledger counted</h2><p>Histograms released of the approved budget: {total}. A round is "
        f"charged when all survivors have confirmed, also if it fails "
        f"then.</p><table>{head}{''.join(lines)}</table></section>"
    )


def _promise(study: SimulatedStudy, labelling: Labelling) -> str:
    lines = "".join(f"<li>{escape(line)}</li>" for line in labelling_reveals(study.plan, labelling))
    return (
        f"<section><h2>What left a hospital</h2><ul>{lines}</ul><p>The student can be copied by whoever may ask it "
        "often enough; that makes the copy no more dangerous to a patient, and copies its mistakes. A hospital that "
        "breaks the protocol can move labels, unseen, by as much as its vector hides among the noise.</p></section>"
    )


def _provenance(study: SimulatedStudy) -> str:
    return (
        "<section><h2>Check it yourself</h2><p>Whoever has the ledger and the blobs can replay every vote round and "
        f"train the same student.</p>{check_command(study)}"
        f"{provenance_table(study, student=study.model.digest.hex())}</section>"
    )
