"""`medfed model`: a released model and its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from medfed.cli.options import PATH, NumberRange, as_json, find_study, ledger_option, open_view
from medfed.cli.output import console, figure, print_json
from medfed.errors import InvalidInput


@click.group()
def model() -> None:
    """Use a released model. It supports a decision and never makes one."""


@model.command()
@click.argument("file", type=PATH)
@as_json
def card(file: Path, as_json: bool) -> None:
    """Print what a model is, from which study, how good, and its limits."""
    from medfed.federation.model_file import NoiseCard, StudentCard, load_model

    found = load_model(file)
    if as_json:
        print_json({"model": found.digest, "card": found.card})
        return
    one = found.card
    click.echo(f"{one.title}\nmodel     {found.digest.hex()}\nplan      {one.plan.hex()}\ntask      {one.task}")
    click.echo(f"use       {one.intended_use}\nhospitals {', '.join(one.hospitals)}\nrounds    {one.aggregates}")
    if isinstance(one.noise, NoiseCard):
        promise = one.noise
        click.echo(f"privacy   ε {promise.epsilon:g} at δ {promise.delta:g} for a {promise.unit}, whatever the data")
    if isinstance(one.student, StudentCard):
        one_of = one.student
        click.echo(f"labels    {one_of.labels} of {one_of.queries}, {one_of.mechanism}, {one_of.teachers} voters")
        click.echo(f"privacy   ε {one_of.epsilon:g} at δ {one_of.delta:g} for a {one_of.unit}, whatever the data")
    if one.test is not None:
        counted = "patients" if found.plan.data.picture is None else "pictures"
        click.echo(f"on {one.test.examples} test {counted} of all hospitals:")
        for name, value in one.test.summary().items():
            click.echo(f"  {name:18} {figure(value)}")
    click.echo(click.wrap_text(f"limits: {one.limits}", 78, "", "  "))


@model.command()
@click.argument("file", type=PATH)
@click.argument("patients", type=PATH)
@click.option("--columns", help="Names of the columns, separated by commas, for a file without a header line.")
@click.option("--output", type=PATH, metavar="CSV", help="Write here instead of to standard output.")
@as_json
def predict(file: Path, patients: Path, columns: str | None, output: Path | None, as_json: bool) -> None:
    """Print what the model says of each row of the CSV file PATIENTS, or of each picture if it is an image set.

    A detector says the best score of each class; `medfed model detect` has its boxes.
    """
    from medfed.federation.model_file import load_model
    from medfed.federation.picture_table import PictureTable, read_source
    from medfed.federation.plan import BoxesTarget

    found = load_model(file)
    source = read_source(patients, columns=tuple(columns.split(",")) if columns else None)
    scores: Any = found.predict(source)
    if as_json:
        print_json(scores)
        return
    rows = scores.reshape(len(scores), -1)
    width = rows.shape[1]
    label = {"survival": "risk", "detection": "score"}.get(found.card.task, "probability")
    header = [label] if width == 1 else [f"{label}_{i}" for i in range(width)]
    if isinstance(found.plan.data.target, BoxesTarget):
        header = [f"{label}_{name}" for name in found.plan.data.target.classes]
    if isinstance(source, PictureTable):
        lines = [["picture", *header]]
        names = [picture.file for picture in source.images.pictures]
    else:
        lines = [["row", *header]]
        names = [str(at) for at in range(1, len(rows) + 1)]
    lines += [[name, *(f"{value:.6f}" for value in row)] for name, row in zip(names, rows, strict=True)]
    text = "".join(f"{','.join(line)}\n" for line in lines)
    if output is None:
        click.echo(text, nl=False)
        return
    if output.exists():
        raise InvalidInput(f"{output}: exists; predictions are never written over a file")
    output.write_text(text, encoding="utf-8")
    console().print(f"{output}: {len(rows)} rows")


@model.command()
@click.argument("file", type=PATH)
@click.argument("pictures", type=PATH)
@click.argument("output", type=PATH)
@click.option(
    "--least", type=NumberRange(0, 1), default=0.3, show_default=True, help="Leave out boxes with a lower score."
)
@as_json
def detect(file: Path, pictures: Path, output: Path, least: float, as_json: bool) -> None:
    """Write the boxes that a detector finds in the image set PICTURES to the new file OUTPUT, as COCO's results.

    `medfed imaging review --detections` shows them to a person.
    """
    from medfed.cli.output import write_private
    from medfed.federation.model_file import load_model
    from medfed.federation.picture_boxes import boxes_by_picture
    from medfed.imaging.detections import write_detections
    from medfed.imaging.image_set import load_image_set

    images = load_image_set(pictures)
    found = boxes_by_picture(load_model(file), images, least)
    write_private(output, write_detections(found, images).decode("ascii"))
    counts = {label: sum(one.label == label for boxes in found.values() for one in boxes) for label in images.labels}
    if as_json:
        print_json({"pictures": len(images.pictures), "boxes": counts})
        return
    classes = ", ".join(f"{label} {count}" for label, count in counts.items())
    click.echo(f"{output}: boxes in {len(images.pictures)} pictures with a score of at least {least:g}; {classes}")


@model.command()
@click.argument("path")
def code(path: str) -> None:
    """Print the digest of the model code PATH (package.module:name), for a plan and for site.toml. Nothing is run."""
    from medfed.models.approved_code import code_digest

    click.echo(code_digest(path))


@model.command()
@click.argument("study_id", metavar="STUDY")
@ledger_option
@click.argument("output", type=PATH)
@click.option("--blobs", type=PATH, metavar="DIR", help="Where the blobs are; beside the ledger by default.")
def save(study_id: str, ledger: Path, output: Path, blobs: Path | None) -> None:
    """Write the model that a completed study has registered to the new file OUTPUT."""
    from medfed.blobs import DirectoryBlobs
    from medfed.hospital.site_directory import shared_blobs
    from medfed.ledger.contracts.registry import artefacts

    with open_view(ledger) as view:
        identifier = find_study(view, study_id)
        digests = [entry.artefact for entry in artefacts(view) if entry.study == identifier and entry.kind == "model"]
    if not digests:
        raise InvalidInput(f"study {identifier.hex()}: no model is registered")
    if output.exists():
        raise InvalidInput(f"{output}: exists; a model is never written over a file")
    directory = blobs or shared_blobs(ledger)
    if not directory.is_dir():
        raise InvalidInput(f"{directory}: no such directory; say where the blobs are with --blobs")
    data = DirectoryBlobs(directory).get(digests[0])
    output.write_bytes(data)
    click.echo(f"{output}: {len(data):,} bytes, digest {digests[0].hex()}")
