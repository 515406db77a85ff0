"""`medfed imaging`: image sets of a site. Pictures come in with their annotations; no file's name is ever printed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from medfed.cli.imaging_review import apply_review_command, clear_command, report_command, review_command
from medfed.cli.options import PATH, as_json, passphrase
from medfed.cli.output import print_json, write_private
from medfed.errors import InvalidInput, MedFedError

if TYPE_CHECKING:
    from medfed.imaging.annotation import Described
    from medfed.imaging.image_set import ImageSet
    from medfed.imaging.report import ImageReport

_SHOWN_LINES = 20


@click.group()
def imaging() -> None:
    """Import pictures with their findings, and check what was imported. Nothing in a set leaves the site by itself."""


@imaging.command("import")
@click.argument("pictures", type=PATH)
@click.argument("output", type=PATH)
@click.option("--voc", type=PATH, metavar="FOLDER", help="Pascal VOC: the folder of XML files.")
@click.option("--voc-from-zero", is_flag=True, help="VOC: pixels are counted from 0, not from 1.")
@click.option("--coco", type=PATH, metavar="JSON", help="COCO: the file.")
@click.option("--yolo", type=PATH, metavar="FOLDER", help="YOLO: the folder of text files.")
@click.option("--names", type=PATH, metavar="TXT", help="YOLO: the file of class names.")
@click.option("--empty-if-absent", is_flag=True, help="YOLO: a picture without a text file has no findings.")
@click.option("--unannotated", is_flag=True, help="No annotations: every picture is one without findings.")
@click.option("--window", type=float, nargs=2, metavar="CENTRE WIDTH", help="DICOM: in place of each file's window.")
@click.option("--only", type=PATH, metavar="TXT", help="VOC: a list of names, one a line, such as that of a split.")
@click.option("--label", "labels", multiple=True, metavar="CLASS", help="Only these classes, in this order.")
@as_json
def import_(
    pictures: Path, output: Path, voc: Path | None, voc_from_zero: bool, coco: Path | None, yolo: Path | None,
    names: Path | None, empty_if_absent: bool, unannotated: bool, window: tuple[float, float] | None,
    only: Path | None, labels: tuple[str, ...], as_json: bool,
) -> None:  # fmt: skip
    """Make the image set OUTPUT of the folder PICTURES (PNG, JPEG, DICOM) and one kind of annotations.

    Pixels are kept as they are, those of DICOM as a viewer shows them; whatever else a file says, such as a name or a
    place, is not. Annotations name a frame of a DICOM file by # and its number after the file's name.
    """
    from medfed.imaging.dicom_pixels import Window
    from medfed.imaging.importing import import_images, read_unannotated

    if [voc, coco, yolo, unannotated or None].count(None) != 3:
        raise InvalidInput("annotations: expected exactly one of --voc, --coco, --yolo and --unannotated")
    if unannotated:
        described = read_unannotated(pictures)
    elif voc is not None:
        described = _voc(voc, only, 0 if voc_from_zero else 1)
    elif coco is not None:
        described = _coco(coco)
    else:
        described = _yolo(pictures, yolo or pictures, names, empty_if_absent)
    images, report = import_images(described, pictures, output, labels, Window(*window) if window else None)
    _show_import(images, report, as_json)


@imaging.command("import-arrays")
@click.argument("file", type=PATH)
@click.argument("output", type=PATH)
@click.option("--label", "labels", multiple=True, required=True, metavar="CLASS", help="Each class, from number 0 on.")
def import_arrays_(file: Path, output: Path, labels: tuple[str, ...]) -> None:
    """Make the image set OUTPUT of FILE: pictures with classes in one NumPy file, as MedMNIST has them."""
    from medfed.imaging.arrays import import_arrays

    made, repeated = import_arrays(file, output, labels)
    click.echo(f"{len(made.pictures)} pictures; {repeated} left out because the same one is there already")


@imaging.command()
@click.argument("folder", type=PATH)
@as_json
def check(folder: Path, as_json: bool) -> None:
    """Open every picture of the image set FOLDER and compare it with what was imported."""
    from medfed.imaging.image_set import load_image_set

    images = load_image_set(folder)
    for picture in images.pictures:
        height, width = images.values(picture).shape[:2]
        if (width, height) != (picture.width, picture.height):
            raise InvalidInput(
                f"picture {picture.file}: {width} by {height} pixels, {picture.width} by {picture.height} noted"
            )
    _show_set(images, as_json)


@imaging.command()
@click.argument("folder", type=PATH)
@click.argument("output", type=PATH)
@click.option(
    "--site", type=PATH, required=True, metavar="DIR", help="Its key makes the pseudonyms; asks for its passphrase."
)
@click.option(
    "--dates",
    type=click.Choice(["empty", "shift"]),
    default="empty",
    show_default=True,
    help="Empty dates, or move a patient's dates all by the same days.",
)
@click.option("--cleared", type=PATH, metavar="TXT", help="Marks of pictures in which a person found no text.")
@click.option("--look", type=PATH, metavar="HTML", help="Write a page of the pictures that are held, to be looked at.")
@as_json
def deidentify(
    folder: Path, output: Path, site: Path, dates: Literal["empty", "shift"], cleared: Path | None, look: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """De-identify the DICOM pictures of FOLDER into the new folder OUTPUT.

    A picture that may have text burnt in is held until a person has looked at it and put its mark on the list.
    """
    from medfed.crypto import hkdf_sha256, load_keystore
    from medfed.hospital.site_directory import key_path
    from medfed.imaging.deidentify import Pseudonyms
    from medfed.imaging.deidentify_folder import deidentify_folder, held_page, read_marks

    marks = read_marks(cleared) if cleared is not None else frozenset[str]()
    keys = load_keystore(key_path(site), passphrase(f"Passphrase of {site}"))
    pseudonyms = Pseudonyms(hkdf_sha256(keys.split_key, b"medfed/deidentify"))
    report = deidentify_folder(folder, output, pseudonyms, dates, marks)
    if look is not None:
        write_private(look, held_page(report.held))
    if as_json:
        held = [{"file": one.source, "mark": one.mark, "reason": one.reason} for one in report.held]
        counts = {"files": report.files, "written": report.written, "cleared": report.cleared}
        print_json({**counts, "held": held, "left_out": report.left_out})
        return
    click.echo(
        f"{report.files} files: {report.written} de-identified ({report.cleared} cleared by a person), "
        f"{len(report.held)} held, {len(report.left_out)} left out"
    )
    lines = [f"file {one.source}, mark {one.mark}: held: {one.reason}" for one in report.held]
    _show_lines([*lines, *report.left_out])
    if report.held and look is None:
        click.echo("look at the held pictures: --look PAGE.html writes them to a page for the site's eyes")


@imaging.command("annotations")
@click.argument("folder", type=PATH)
@click.argument("output", type=PATH)
@click.option("--to", "kind", type=click.Choice(["voc", "coco", "yolo"]), required=True, help="Which format.")
def annotations_(folder: Path, output: Path, kind: Literal["voc", "coco", "yolo"]) -> None:
    """Write the findings of the image set FOLDER to the new folder OUTPUT in another format."""
    from medfed.imaging.coco import write_coco
    from medfed.imaging.image_set import load_image_set
    from medfed.imaging.voc import write_voc
    from medfed.imaging.yolo import write_yolo

    images = load_image_set(folder)
    if output.exists():
        raise InvalidInput(f"{output.name}: it exists already")
    output.mkdir(mode=0o700, parents=True)
    if kind == "coco":
        (output / "annotations.json").write_bytes(write_coco(images.pictures, images.labels))
    for picture in images.pictures if kind != "coco" else ():
        name = picture.file.removesuffix(".png")
        if kind == "voc":
            (output / f"{name}.xml").write_bytes(write_voc(picture))
        else:
            (output / f"{name}.txt").write_bytes(write_yolo(picture, images.labels))
    if kind == "yolo":
        (output / "names.txt").write_text("".join(f"{label}\n" for label in images.labels), encoding="utf-8")
    click.echo(f"{len(images.pictures)} pictures' findings written as {kind}")


imaging.add_command(review_command)
imaging.add_command(apply_review_command)
imaging.add_command(report_command)
imaging.add_command(clear_command)


def _voc(folder: Path, only: Path | None, first_pixel: int) -> Iterator[Described]:
    from medfed.imaging.voc import read_voc
    from medfed.input_file import read_input

    if not folder.is_dir():
        raise InvalidInput("--voc: expected a folder of XML files")
    if only is None:
        files = sorted(folder.glob("*.xml"))
    else:
        try:
            stems = read_input(only, 16 << 20, "--only").decode("utf-8").split()
        except UnicodeDecodeError:
            raise InvalidInput("--only: the list is not UTF-8") from None
        if any("/" in stem or stem.startswith(".") for stem in stems):
            raise InvalidInput("--only: a name leads out of the folder")
        files = [folder / f"{stem}.xml" for stem in stems]
    return read_voc(files, first_pixel)


def _coco(path: Path) -> Iterator[Described]:
    from medfed.imaging.coco import read_coco

    return read_coco(path)


def _yolo(pictures: Path, folder: Path, names: Path | None, empty_if_absent: bool) -> Iterator[Described]:
    from medfed.imaging.importing import SUFFIXES
    from medfed.imaging.yolo import read_names, read_yolo

    if names is None:
        raise InvalidInput("--yolo: --names is needed, because the text files have numbers only")
    if not pictures.is_dir() or not folder.is_dir():
        raise InvalidInput("--yolo: expected a folder of pictures and a folder of text files")
    files = sorted(path for path in pictures.rglob("*") if path.suffix.lower() in SUFFIXES)
    return read_yolo(files, pictures, folder, read_names(names), empty_if_absent)


def _show_import(images: ImageSet, report: ImageReport, as_json: bool) -> None:
    if not report.is_balanced:
        raise MedFedError("import: pictures or boxes were lost; this is a mistake of the program")
    if as_json:
        print_json(
            {
                "set": images.digest.hex(),
                "pictures": {"read": report.pictures_read, "used": report.pictures_used},
                "boxes": {"read": report.boxes_read, "used": report.boxes_used},
                "classes": images.counts(),
                "lines": [str(line) for line in report.lines],
            }
        )
        return
    click.echo(report.summary())
    _show_lines([str(line) for line in report.lines])
    _show_set(images, as_json=False)


def _show_lines(lines: list[str]) -> None:
    for line in lines[:_SHOWN_LINES]:
        click.echo(f"  {line}")
    if len(lines) > _SHOWN_LINES:
        click.echo(f"  and {len(lines) - _SHOWN_LINES} more lines; --json prints all")


def _show_set(images: ImageSet, as_json: bool) -> None:
    if as_json:
        print_json({"set": images.digest.hex(), "pictures": len(images.pictures), "classes": images.counts()})
        return
    classes = ", ".join(f"{label} {count}" for label, count in images.counts().items())
    click.echo(f"image set {images.digest.hex()[:12]}: {len(images.pictures)} pictures; {classes}")
