"""What became of every picture and every box of an import: used, changed, or left out, each with its reason.

A line names the source by number and the place in it; never a file's name, because hospitals name files after
patients. The invariants: pictures read == used + left out, boxes read == used + left out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["ImageReport", "ReportLine"]

Subject = Literal["picture", "box"]
Fate = Literal["left out", "changed"]


@dataclass(frozen=True)
class ReportLine:
    """One thing that has to be said."""

    source: int
    """Number of the annotation file or picture, from 1 in the order given."""
    place: str
    """Where in it, such as `object 3`; empty for the whole."""
    subject: Subject
    fate: Fate
    reason: str

    def __str__(self) -> str:
        where = f"source {self.source}, {self.place}" if self.place else f"source {self.source}"
        return f"{where}: {self.subject} {self.fate}: {self.reason}"


@dataclass
class ImageReport:
    """Counts and lines of one import."""

    pictures_read: int = 0
    pictures_used: int = 0
    boxes_read: int = 0
    boxes_used: int = 0
    lines: list[ReportLine] = field(default_factory=list[ReportLine])

    def leave_out(self, source: int, place: str, subject: Subject, reason: str) -> None:
        """A picture or box is not used."""
        self.lines.append(ReportLine(source, place, subject, "left out", reason))

    def change(self, source: int, place: str, subject: Subject, reason: str) -> None:
        """A picture or box is used, but not as it was found."""
        self.lines.append(ReportLine(source, place, subject, "changed", reason))

    def left_out(self, subject: Subject) -> int:
        """How many pictures or boxes were left out."""
        return sum(1 for line in self.lines if line.subject == subject and line.fate == "left out")

    @property
    def is_balanced(self) -> bool:
        """Whether everything read is accounted for."""
        pictures = self.pictures_read == self.pictures_used + self.left_out("picture")
        return pictures and self.boxes_read == self.boxes_used + self.left_out("box")

    def summary(self) -> str:
        """Counts for people: a line each subject, fate and reason, most frequent first."""
        head = (
            f"{self.pictures_read} pictures read, {self.pictures_used} used; "
            f"{self.boxes_read} boxes read, {self.boxes_used} used"
        )
        counts = Counter((line.subject, line.fate, line.reason) for line in self.lines)
        return "\n".join([head, *(f"  {n} {s} {f}: {r}" for (s, f, r), n in counts.most_common())])
