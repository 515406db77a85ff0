"""Makes the pictures of `medfed demo imaging` from BCCD: `python -m benchmarks.demo_pictures TARGET`.

From each microscope picture of 640 by 480 pixels one window of 320 by 240 is cut, as it is, so that some windows show
a white cell and some do not: in the whole pictures nearly all do, and a diagnosis that is always the same shows
nothing. A window cuts through no white cell and no platelet; of a red cell at its edge the visible part is kept where
that is at least 40 % of it. Hospitals get pictures of the published training and validation split, sorted by platelets
so that they differ; the clinic, which does not train, gets those of the published test split. Nothing is drawn at
random.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.detection import CLASSES, DATA
from PIL import Image

from medfed.identifiers import sha256
from medfed.imaging.annotation import Box, Finding, Picture
from medfed.imaging.coco import write_coco
from medfed.imaging.voc import read_voc

WIDTH: Final = 320
HEIGHT: Final = 240
STEP: Final = 20
LEAST_SEEN: Final = 0.4
QUALITY: Final = 80
HOSPITALS: Final = {"east": 56, "north": 36, "west": 24}
CLINIC: Final = "clinic"
CLINIC_PICTURES: Final = 32
UNDIAGNOSED: Final = "undiagnosed"
UNDIAGNOSED_PICTURES: Final = 2


class Window(NamedTuple):
    """A part of a picture: where it begins, and what it shows in its own pixels."""

    name: str
    left: int
    top: int
    findings: tuple[Finding, ...]

    @property
    def labels(self) -> frozenset[str]:
        """The classes that it shows."""
        return frozenset(finding.label for finding in self.findings)

    def count(self, label: str) -> int:
        """How many of a class it shows."""
        return sum(finding.label == label for finding in self.findings)


def findings_of(name: str) -> list[Finding]:
    """What BCCD says of a whole picture; boxes that are no boxes are left out."""
    (described,) = read_voc([DATA / "Annotations" / f"{name}.xml"])
    return [Finding(entry.label, entry.box) for entry in described.boxes if not entry.problem]


def window_at(name: str, findings: Sequence[Finding], left: int, top: int) -> tuple[Window, int] | None:
    """The window there with the number of red cells that it cuts; None where it cuts something else."""
    kept: list[Finding] = []
    cuts = 0
    for finding in findings:
        box = finding.box
        part = Box(
            max(box.left - left, 0), max(box.top - top, 0), min(box.right - left, WIDTH), min(box.bottom - top, HEIGHT)
        )
        if part.width <= 0 or part.height <= 0:
            continue
        seen = part.area / box.area
        if seen < 0.999 and finding.label != "RBC":
            return None
        cuts += seen < 0.999
        if seen >= LEAST_SEEN:
            kept.append(Finding(finding.label, part))
    made = Window(name, left, top, tuple(kept))
    return (made, cuts) if made.count("RBC") >= 2 else None


def windows_of(name: str) -> dict[frozenset[str], Window]:
    """For each set of classes the window of a picture that cuts the fewest red cells, and then shows the most."""
    findings = findings_of(name)
    best: dict[frozenset[str], tuple[tuple[int, int], Window]] = {}
    for top, left in product(range(0, 480 - HEIGHT + 1, STEP), range(0, 640 - WIDTH + 1, STEP)):
        found = window_at(name, findings, left, top)
        if found is None:
            continue
        window, cuts = found
        order = (cuts, -len(window.findings))
        if window.labels not in best or order < best[window.labels][0]:
            best[window.labels] = (order, window)
    return {labels: window for labels, (_, window) in best.items()}


def choose(part: str, count: int) -> list[Window]:
    """`count` windows of a part of the published split, as even over sets of classes as they come."""
    names = (DATA / "ImageSets" / "Main" / f"{part}.txt").read_text().split()
    waiting = {name: windows_of(name) for name in sorted(names)}
    chosen: list[Window] = []
    counts: dict[frozenset[str], int] = {}
    while len(chosen) < count:
        labels = min(
            {labels for windows in waiting.values() for labels in windows},
            key=lambda labels: (counts.get(labels, 0), sorted(labels)),
        )
        name = min((name for name, windows in waiting.items() if labels in windows), key=lambda n: len(waiting[n]))
        chosen.append(waiting.pop(name)[labels])
        counts[labels] = counts.get(labels, 0) + 1
    return chosen


def write(folder: Path, windows: Sequence[Window]) -> int:
    """Write pictures and annotations of a site; returns the bytes."""
    folder.mkdir(parents=True)
    pictures: list[Picture] = []
    size = 0
    for window in sorted(windows, key=lambda window: window.name):
        with Image.open(DATA / "JPEGImages" / f"{window.name}.jpg") as whole:
            part = whole.crop((window.left, window.top, window.left + WIDTH, window.top + HEIGHT))
        out = io.BytesIO()
        part.save(out, format="JPEG", quality=QUALITY, optimize=True)
        file = f"{window.name.removeprefix('BloodImage_')}.jpg"
        (folder / file).write_bytes(out.getvalue())
        pictures.append(Picture(file, sha256(out.getvalue()), WIDTH, HEIGHT, window.findings))
        size += len(out.getvalue())
    annotations = write_coco(pictures, CLASSES)
    (folder / "annotations.json").write_bytes(annotations)
    return size + len(annotations)


def main() -> None:
    """Make the folders and say what is in them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path)
    target = parser.parse_args().target
    training = sorted(choose("trainval", sum(HOSPITALS.values())), key=lambda w: (w.count("Platelets"), w.name))
    asked = choose("test", CLINIC_PICTURES + UNDIAGNOSED_PICTURES)
    parts = {UNDIAGNOSED: asked[:UNDIAGNOSED_PICTURES], CLINIC: asked[UNDIAGNOSED_PICTURES:]}
    start = 0
    for name, count in HOSPITALS.items():
        parts[name] = training[start : start + count]
        start += count
    for name, windows in parts.items():
        size = write(target / name, windows)
        counts = {label: sum(window.count(label) for window in windows) for label in CLASSES}
        sets: dict[str, int] = {}
        for window in windows:
            shown = "+".join(sorted(window.labels))
            sets[shown] = sets.get(shown, 0) + 1
        print(f"{name}: {len(windows)} pictures, {size:,} bytes, {counts}, {sets}")


if __name__ == "__main__":
    main()
