"""The page: what was found, how good it is for whom, what happened on the ledger, and how to check all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from medfed.errors import Unavailable
from medfed.federation.figures import BinaryEvaluation, Evaluation
from medfed.federation.metrics import calibration_curve, roc_points
from medfed.federation.model_file import NoiseCard
from medfed.ledger.transaction import SignedTransaction
from medfed.simulation.report.charts import Series, interval_chart, line_chart, timeline
from medfed.simulation.report.provenance import check_command, provenance_table
from medfed.simulation.report.style import STYLE

if TYPE_CHECKING:
    from medfed.simulation.api import SimulatedStudy

__all__ = ["FewRecords", "write_report"]

FewRecords = Sequence[tuple[int, Any, Any]]
"""(training patients kept, own model's figure, federated model's figure), figures with an interval."""

_GROUPS: Final = ("set-up", "updates", "confirmations", "reveals", "sums", "the rest")
_GROUP_OF: Final = {
    "propose-study": "set-up",
    "approve-study": "set-up",
    "enrol": "set-up",
    "seal-pair-secrets": "set-up",
    "keys-ready": "set-up",
    "submit-update": "updates",
    "confirm-survivors": "confirmations",
    "reveal-seeds": "reveals",
    "reveal-shares": "reveals",
    "publish-encryption-key": "set-up",
    "confirm-ciphertext": "confirmations",
    "publish-ciphertext-sum": "sums",
    "publish-decryption": "sums",
    "issue-session-keys": "set-up",
    "confirm-sealed": "confirmations",
    "publish-aggregate": "sums",
}


def write_report(
    study: SimulatedStudy,
    path: Path,
    *,
    few_records: FewRecords | None = None,
    notes: Mapping[str, str] | None = None,
    caution: str = "",
    compared: bool = True,
    more: Sequence[str] = (),
) -> None:
    """Write the report of a finished study to `path`.

    Args:
        study: what it is about.
        path: of the file.
        few_records: for a chart of what a hospital with few records gains.
        notes: more rows of the table of digests.
        caution: a sentence at the top.
        compared: train each hospital's own model and the pooled one too, which takes as long as the study did.
        more: sections in HTML, after the figures.

    Raises:
        Unavailable: the file cannot be written.
    """
    purpose = study.plan.purpose
    body = [
        f"<header><h1>{escape(purpose.title)}</h1><p>{_lead(study)}</p>",
        f'<p class="caution">{escape(caution)}</p>' if caution else "",
        "</header>",
        _headline(study),
        _comparison(study) if compared else "",
        *more,
        f'<div class="charts">{"".join(_charts(study, few_records, compared))}</div>',
        _people(study),
        _provenance(study, notes or {}),
    ]
    page = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(purpose.title)} - MedFed report</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise Unavailable(f"report {path}: {error.strerror or error}") from None


def _lead(study: SimulatedStudy) -> str:
    hospitals = len(study.study.roster)
    patients = sum(len(part) for part in study.prepared.values())
    trained = sum(1 for entry in study.state.history if entry.verdict == "accepted")
    return (
        f"{hospitals} hospitals with {patients:,} usable {_records(study)} trained one model together in {trained} "
        f"round{'s' if trained != 1 else ''}. In training none left its hospital: {_what_became_known(study)}"
    )


def _what_became_known(study: SimulatedStudy) -> str:
    if study.plan.protection.mode == "sealed":
        return "updates went sealed to one aggregator, which opened each, and everybody got what it made of all."
    return "only sums over the hospitals became known, and no server took part."


def _records(study: SimulatedStudy) -> str:
    return "patient records" if study.plan.data.picture is None else "pictures"


def _counted(study: SimulatedStudy) -> str:
    """What figures are counted over."""
    return "patients" if study.plan.data.picture is None else "pictures"


def _headline(study: SimulatedStudy) -> str:
    evaluation = study.state.test
    if evaluation is None:
        return f"<section><p>The study counted no test {_counted(study)}.</p></section>"
    cards = "".join(
        f"<div><b>{_percent(value)}</b><span>{escape(name)}</span><small>{_interval(value)}</small></div>"
        for name, value in evaluation.summary().items()
        if hasattr(value, "low")
    )
    counted = _counted(study)
    words = f"Measured once, at the end, on {counted} that no training ever saw. "
    words += (
        "Average precision comes from summed counts, so no interval is known."
        if study.plan.task == "detection"
        else f"In brackets the range in which the figure would lie for 95 of 100 such samples of {counted}."
    )
    return (
        f"<section><h2>How good is the common model?</h2><p>On {evaluation.examples} test {counted} of all hospitals. "
        f'{words}</p><div class="cards">{cards}</div></section>'
    )


def _comparison(study: SimulatedStudy) -> str:
    rows = study.comparison()
    names = sorted(study.prepared)
    found = {(row.model, row.patients): row.evaluation for row in rows}
    metrics = [name for name, value in next(iter(found.values())).summary().items() if hasattr(value, "low")]
    wanted = [name for name in ("accuracy", "balanced accuracy", "AUC") if name in metrics]
    wanted = wanted or [name for name in metrics if name.startswith("AP50")] or metrics[:2]
    counted = _counted(study)
    head = f"<tr><th>{counted} of</th><th>own model</th><th>federated</th><th>pooled</th></tr>"
    tables: list[str] = []
    for metric in wanted:
        lines = [_row(name, [found[m, name] for m in (name, "federated", "pooled")], metric) for name in names]
        own = [found[name, "all"] for name in names]
        mean = f"{_mean(own, metric)} <small>(mean)</small>"
        rest = "".join(f"<td>{_cell(found[m, 'all'], metric)}</td>" for m in ("federated", "pooled"))
        lines.append(f'<tr class="all"><th>all hospitals</th><td>{mean}</td>{rest}</tr>')
        tables.append(f"<table><caption>{escape(metric)}</caption>{head}{''.join(lines)}</table>")
    words = (
        f"Each hospital's own model is trained on its {counted} alone, the pooled one on everybody's in one "
        f"place, which no hospital would allow. On its own {counted} a hospital's own model is often about as good; "
        f"what the common model gives is that it holds for the other hospitals' {counted} too. "
    )
    if study.plan.task == "detection":
        words += (
            "AP50 is the average precision at half overlap, from counts in 256 steps of score. The mean hides a class "
            "that fails, so each stands by itself; n/a where a hospital's test pictures show none."
        )
    else:
        words += (
            f"Where a hospital has hardly any {counted} of one class, healthy or ill, accuracy says little: look at "
            "balanced accuracy and AUC."
        )
    return f"<section><h2>Own, federated or pooled?</h2><p>{words}</p>{''.join(tables)}</section>"


def _bars_end(study: SimulatedStudy) -> str:
    return "." if study.plan.task == "detection" else ", bars its 95 % interval."


def _charts(study: SimulatedStudy, few_records: FewRecords | None, compared: bool) -> list[str]:
    history, counted = study.history(), _counted(study)
    curve = [(float(row["round"]), float(row["score"])) for row in history]
    made = [
        _figure(
            "Learning round by round",
            line_chart("validation score by round", [Series("validation", curve)], "round", "score", marks=True),
            f"The common model's score on validation {counted} of all hospitals at the start of each round.",
        )
    ]
    if compared:
        made.append(
            _figure(f"Each hospital's test {counted}", _bars(study), f"Points are the figure{_bars_end(study)}")
        )
    evaluation = study.state.test
    if isinstance(evaluation, BinaryEvaluation):
        made += _binary_charts(evaluation, counted)
    if few_records:
        own = Series("own model", [(float(n), a.value, a.low, a.high) for n, a, _ in few_records])
        joint = Series("federated", [(float(n), b.value, b.low, b.high) for n, _, b in few_records])
        made.append(
            _figure(
                "A hospital with few records",
                line_chart("accuracy by records", [own, joint], "training patients kept", "accuracy", marks=True),
                "Accuracy on a hospital's own test patients when it has only so many training patients.",
            )
        )
    made.append(
        _figure(
            "What happened on the ledger",
            timeline("ledger transactions over time", _blocks(study), _GROUPS),
            "Every dot is a block; its size is the number of transactions of that kind.",
        )
    )
    return made


def _binary_charts(evaluation: BinaryEvaluation, counted: str) -> list[str]:
    negatives = np.asarray(evaluation.negative, dtype=np.int64)
    positives = np.asarray(evaluation.positive, dtype=np.int64)
    roc = [(float(a), float(b)) for a, b in roc_points(negatives, positives)]
    calibration = [
        (float(at), p.value, p.low, p.high) for at, p, count in calibration_curve(negatives, positives) if count
    ]
    unit = (0.0, 1.0)
    return [
        _figure(
            "Ill found against false alarms (ROC)",
            line_chart("ROC", [Series("federated", roc)], "false alarms", "ill found", x=unit, y=unit, diagonal=True),
            "The further the line bends to the upper left, the better; the dashed line is guessing.",
        ),
        _figure(
            "Does 70 % mean 70 %? (calibration)",
            line_chart(
                "calibration",
                [Series("federated", calibration)],
                "predicted probability",
                "really ill",
                x=unit,
                y=unit,
                diagonal=True,
                marks=True,
            ),
            f"{counted.capitalize()} grouped by predicted probability; on the dashed line predictions come true as "
            "often as they say.",
        ),
    ]


def _bars(study: SimulatedStudy) -> str:
    found = {(row.model, row.patients): row.evaluation for row in study.comparison()}
    figures = next(iter(found.values())).summary()
    metric = "AUC" if "AUC" in figures else next(iter(figures))
    rows = [
        (name, [_triple(found[model, name].summary()[metric]) for model in (name, "federated", "pooled")])
        for name in sorted(study.prepared)
    ]
    names = [f"own model ({metric})", "federated", "pooled"]
    return interval_chart(f"{metric} by hospital", rows, names)


def _people(study: SimulatedStudy) -> str:
    points = study.rewards
    lines: list[str] = []
    for name in sorted(study.prepared):
        report = study.prepared[name].report
        splits = ", ".join(f"{count} {split}" for split, count in report.splits.items())
        left = report.missing_target + report.unknown_target
        lines.append(
            f"<tr><th>{escape(name)}</th><td>{report.usable}</td><td>{escape(splits)}</td><td>{left}</td>"
            f"<td>{points[name]}</td></tr>"
        )
    records = "records" if study.plan.data.picture is None else "pictures"
    left_out = "boxes of other classes" if study.plan.task == "detection" else "left out"
    head = f"<tr><th>hospital</th><th>{records}</th><th>divided into</th><th>{left_out}</th><th>points</th></tr>"
    return (
        "<section><h2>Who took part</h2><p>Points are earned for examples behind accepted updates and for agreeing "
        f"with the final result, by the plan's policy.</p><table>{head}{''.join(lines)}</table></section>"
    )


def _provenance(study: SimulatedStudy, notes: Mapping[str, str]) -> str:
    return (
        "<section><h2>Check it yourself</h2><p>Whoever has the ledger can replay every approval, update, confirmation "
        f"and reveal from the genesis on, and with the {_published(study)} compute the model anew. Ask a hospital for "
        f"the genesis digest over another channel, then run</p>{check_command(study)}"
        f"{provenance_table(study, model=study.model.digest.hex(), **notes)}"
        f"<h2>Limits</h2><p>The model has learned from these hospitals' {_counted(study)} only and must be validated "
        "before it is used elsewhere. It supports a clinician and never replaces one. "
        f"{_about_noise(study)}, and {_who_sees_more(study)}.</p></section>"
    )


def _published(study: SimulatedStudy) -> str:
    named = {"masked": "masked updates", "homomorphic": "decrypted totals", "sealed": "published aggregates"}
    return named[study.plan.protection.mode]


def _who_sees_more(study: SimulatedStudy) -> str:
    if study.plan.protection.mode == "sealed":
        return "the aggregator has read every hospital's contributions"
    return "hospitals that pool what they know beyond the stated bound learn others' contributions"


def _about_noise(study: SimulatedStudy) -> str:
    card = study.model.card.noise
    if not isinstance(card, NoiseCard):
        return "The sums that became known are exact: no noise was added"
    promise = f"ε {card.epsilon:g} at δ {card.delta:g} for a {card.unit}"
    return f"The sums that became known carry noise: {promise}, whatever the data"


def _blocks(study: SimulatedStudy) -> list[tuple[float, int, str]]:
    found: list[tuple[float, int, str]] = []
    first: int | None = None
    for block in study.ledger.engine.blocks():
        first = block.header.time_ms if first is None else first
        counts: dict[str, int] = {}
        for wire in block.transactions:
            kind = str(type(SignedTransaction.from_bytes(wire).transaction.body).__struct_config__.tag)
            group = _GROUP_OF.get(kind, "the rest")
            counts[group] = counts.get(group, 0) + 1
        found += [((block.header.time_ms - first) / 1000, count, group) for group, count in counts.items()]
    return found


def _figure(title: str, chart: str, words: str) -> str:
    return f"<figure><h3>{escape(title)}</h3>{chart}<figcaption>{escape(words)}</figcaption></figure>"


def _row(name: str, evaluations: Sequence[Evaluation], metric: str) -> str:
    cells = "".join(f"<td>{_cell(evaluation, metric)}</td>" for evaluation in evaluations)
    return f"<tr><th>{escape(name)}</th>{cells}</tr>"


def _cell(evaluation: Evaluation, metric: str) -> str:
    value = evaluation.summary()[metric]
    return f"{_percent(value)} <small>{_interval(value)}</small>"


def _mean(evaluations: Sequence[Evaluation], metric: str) -> str:
    values = [evaluation.summary()[metric].value for evaluation in evaluations]
    known = [value for value in values if value == value]
    return f"{sum(known) / len(known):.3f}" if known else "n/a"


def _percent(figure: Any) -> str:
    return "n/a" if figure.value != figure.value else f"{figure.value:.3f}"


def _interval(figure: Any) -> str:
    return "" if figure.low != figure.low else f"[{figure.low:.3f}, {figure.high:.3f}]"


def _triple(figure: Any) -> tuple[float, float, float]:
    return figure.value, figure.low, figure.high
