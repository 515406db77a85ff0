"""What the imaging demo's report has besides any study's: pictures with boxes, the blind tests and the data request."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from medfed.demo.imaging_tour_state import Tour
from medfed.federation.plan import BoxesTarget, Plan
from medfed.imaging.detections import Detected
from medfed.imaging.drawn_boxes import draw_boxes
from medfed.imaging.image_set import ImageSet
from medfed.imaging.picture_file import encode_png

__all__ = ["draw_findings", "report_sections"]

_DRAWN: Final = 6


def draw_findings(folder: Path, images: ImageSet, found: Mapping[str, Sequence[Detected]], plan: Plan) -> list[Path]:
    """Write the first pictures of a set, with annotated boxes of the plan's classes and found ones, to `folder`."""
    folder.mkdir()
    target = plan.data.target
    classes = target.classes if isinstance(target, BoxesTarget) else ()
    made: list[Path] = []
    for number, picture in enumerate(images.pictures[:_DRAWN], start=1):
        annotated = [finding for finding in picture.findings if finding.label in classes]
        drawn = draw_boxes(images.values(picture), annotated, found[picture.file])
        made.append(folder / f"{number}.png")
        made[-1].write_bytes(encode_png(drawn))
    return made


def report_sections(tour: Tour) -> list[str]:
    """Sections for `write_report`."""
    return [_pictures(tour), _blind_tests(tour.asked), _exchange(tour.exchange)]


def _pictures(tour: Tour) -> str:
    shown = "".join(
        f'<div><img alt="picture {number} with boxes" src="data:image/png;base64,'
        f'{b64encode(path.read_bytes()).decode("ascii")}"></div>'
        for number, path in enumerate(tour.drawn, start=1)
    )
    return (
        "<section><h2>What it finds</h2><p>Pictures of a clinic that did not train. Green: annotated. Orange: found, "
        f"with class and score, from a score of {tour.operating:g}.</p>"
        f'<div class="pictures">{shown}</div></section>'
    )


def _blind_tests(asked: Sequence[Mapping[str, Any]]) -> str:
    lines = "".join(
        f"<tr><th>{escape(test['service'])}</th><td>{test['operating']:g}</td>"
        f"<td>{test['equal_codes']} of {test['cases']}</td><td>{test['threshold'][0]}/{test['threshold'][1]}</td>"
        f"<td>{escape(test['phase'])}</td><td>{escape(_answer(test))}</td></tr>"
        for test in asked
    )
    return (
        "<section><h2>Blind assisted diagnosis</h2><p>The clinic mixed a picture without a diagnosis into pictures "
        "whose diagnosis it knows, and sent them encrypted to a service, which cannot tell them apart. Both sides "
        "committed to their answers before either saw the other's. Only where more than the threshold of the known "
        "ones were right does the clinic get the answer; otherwise it gets FALSE, and nothing else. The second service "
        "offers the same model at an operating point at which it misses nearly all.</p><table><tr><th>service</th>"
        "<th>boxes count from</th><th>codes that agree</th><th>threshold</th><th>verdict</th><th>answer</th></tr>"
        f"{lines}</table></section>"
    )


def _answer(test: Mapping[str, Any]) -> str:
    if not test["passed"]:
        return "FALSE"
    return ", ".join(test["diagnosis"]) or "no finding"


def _exchange(found: Mapping[str, Any]) -> str:
    return (
        f"<section><h2>A data request</h2><p>The {escape(found['requester'])} asked {escape(found['owner'])} for its "
        f"pictures, for {escape(found['purpose'])}. {escape(found['owner'].capitalize())} granted it and delivered "
        f"{found['size']:,} bytes encrypted for the {escape(found['requester'])} alone, which decrypted them and "
        f"compared them with the commitment <code>{found['commitment'].hex()}</code> that was on the ledger before: "
        f"{found['pictures']} pictures, {escape(found['phase'])}.</p></section>"
    )
