"""`medfed imaging review`, `apply-review` and `report`: a person looks at boxes, and findings come of it."""

from __future__ import annotations

from pathlib import Path

import click

from medfed.cli.options import PATH, as_json
from medfed.cli.output import print_json, write_private

__all__ = ["apply_review_command", "clear_command", "report_command", "review_command"]


@click.command("review")
@click.argument("folder", type=PATH)
@click.argument("page", type=PATH)
@click.option("--detections", type=PATH, metavar="JSON", help="A detector's boxes: COCO results of this set.")
@click.option("--first", type=click.IntRange(1, 500), default=50, show_default=True, help="How many pictures at most.")
@click.option("--skip", type=click.IntRange(min=0), default=0, help="Leave out so many before.")
def review_command(folder: Path, page: Path, detections: Path | None, first: int, skip: int) -> None:
    """Write the new file PAGE: pictures of the image set FOLDER with boxes, to accept, reject, edit and draw.

    The page needs no network. It saves what was decided as review.json; `medfed imaging apply-review` reads that.
    """
    from medfed.imaging.detections import read_detections
    from medfed.imaging.image_set import load_image_set
    from medfed.imaging.review_page import review_page

    images = load_image_set(folder)
    found = read_detections(detections, images) if detections is not None else {}
    chosen = images.pictures[skip : skip + first]
    write_private(page, review_page(images, found, chosen))
    boxes = sum(len(found.get(picture.file, ())) for picture in chosen)
    annotated = sum(len(picture.findings) for picture in chosen)
    click.echo(f"{len(chosen)} of {len(images.pictures)} pictures, {annotated} annotated and {boxes} detected boxes")
    click.echo("open the page in a browser, decide, and save; it shows patients' pictures and stays at the site")


@click.command("apply-review")
@click.argument("folder", type=PATH)
@click.argument("review", type=PATH)
@click.argument("output", type=PATH)
@as_json
def apply_review_command(folder: Path, review: Path, output: Path, as_json: bool) -> None:
    """Make the new image set OUTPUT from the image set FOLDER and what the page saved in the file REVIEW."""
    from medfed.imaging.image_set import load_image_set
    from medfed.imaging.review import apply_review, load_review

    images = load_image_set(folder)
    made, counts = apply_review(images, load_review(review, images), output)
    if as_json:
        print_json({"set": made.digest.hex(), "boxes": dict(counts), "classes": made.counts()})
        return
    parts = ("kept", "accepted", "drawn", "changed", "rejected", "undecided")
    click.echo("boxes: " + ", ".join(f"{counts.get(part, 0)} {part}" for part in parts))
    click.echo(f"image set {made.digest.hex()[:12]}: {len(made.pictures)} pictures")


@click.command("report")
@click.argument("folder", type=PATH)
@click.argument("pictures", type=PATH)
@click.argument("output", type=PATH)
@click.option("--observer", default="", metavar="NAME", help="Who answers for the findings, as Family^Given.")
def report_command(folder: Path, pictures: Path, output: Path, observer: str) -> None:
    """Write the findings of the image set FOLDER as DICOM structured reports (TID 1500) into the new folder OUTPUT.

    PICTURES is the folder that the set was imported from. Reports name the same patients as their sources.
    """
    from medfed.imaging.dicom_report import write_reports
    from medfed.imaging.image_set import load_image_set

    made = write_reports(load_image_set(folder), pictures, output, observer)
    click.echo(
        f"{made.reports} reports with {made.findings} findings; {made.captures} pictures got a DICOM file for theirs; "
        f"{made.without} pictures have no findings"
    )


@click.command("clear")
@click.argument("folder", type=PATH)
@click.option("--look", type=PATH, metavar="HTML", help="Write a page of the pictures that are held, to be looked at.")
@click.option("--cleared", type=PATH, metavar="TXT", help="Marks of pictures in which a person found no text.")
@click.option("--by", "person", default="", metavar="NAME", help="Who looked; needed with --cleared.")
@as_json
def clear_command(folder: Path, look: Path | None, cleared: Path | None, person: str, as_json: bool) -> None:
    """Say which pictures of the image set FOLDER may not leave the site, and clear those that were looked at."""
    from medfed.imaging.deidentify_folder import HeldPicture, held_page, read_marks
    from medfed.imaging.image_set import load_image_set
    from medfed.imaging.picture_file import encode_png, thumbnail
    from medfed.imaging.release import clear_pictures, held_pictures

    images = load_image_set(folder)
    count = clear_pictures(images, read_marks(cleared), person) if cleared is not None else 0
    held = held_pictures(images)
    if look is not None:
        shown = [
            HeldPicture(number, one.file[:16], reason, (encode_png(thumbnail(images.values(one), 480)),))
            for number, (one, reason) in enumerate(held, start=1)
        ]
        write_private(look, held_page(shown))
    if as_json:
        print_json({"cleared": count, "held": [{"mark": one.file[:16], "reason": reason} for one, reason in held]})
        return
    click.echo(f"{count} pictures cleared; {len(held)} of {len(images.pictures)} are held")
    for one, reason in held[:20]:
        click.echo(f"  mark {one.file[:16]}: {reason}")
    if len(held) > 20:
        click.echo(f"  and {len(held) - 20} more; --json prints all")
