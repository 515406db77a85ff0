"""What each import of records did, kept in the site's directory for who asks later: numbered files, mode 0600.

A report names places and reasons, never a value; the names of the files that were read are local to the site. A report
that was written is never changed.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Final

from medfed.crypto.private_file import create_private_file
from medfed.encoding import Record, decode, encode
from medfed.errors import InvalidInput, Tampered, Unavailable
from medfed.records.report import ImportReport

__all__ = ["MOST_LINES", "KeptLine", "KeptReport", "keep_report", "load_report"]

MOST_LINES: Final = 100_000
"""So many lines are kept; the counts by reason are always of all."""


class KeptLine(Record, frozen=True):
    """One record that was not used, and why; see `records.report.Line`."""

    source: int
    path: str
    kind: str
    reason: str


class KeptReport(Record, frozen=True):
    """One import. `read == used + explained`."""

    number: int
    time: int
    """UTC seconds."""
    sources: tuple[str, ...]
    read: int
    used: int
    explained: int
    cases: int
    unchanged: int
    removed: int
    reasons: tuple[tuple[str, str, int], ...]
    """Kind, reason and how many records, most frequent first."""
    notes: tuple[tuple[str, str, int], ...]
    """The same of parts of used records."""
    lines: tuple[KeptLine, ...]


def keep_report(folder: Path, report: ImportReport, time: int) -> KeptReport:
    """Write a report as the next number in `folder`.

    Raises:
        Unavailable: it cannot be written. Refused: see `create_private_file`.
    """
    number = max(_numbers(folder), default=0) + 1
    kept = _kept(report, number, time)
    create_private_file(folder / f"{number:06}.report", encode(kept))
    return kept


def load_report(folder: Path, number: int | None = None) -> KeptReport:
    """The report of that number, or the newest.

    Raises:
        InvalidInput: there is none. Tampered: it is damaged. Unavailable: it cannot be read.
    """
    wanted = number if number is not None else max(_numbers(folder), default=0)
    path = folder / f"{wanted:06}.report"
    if not path.is_file():
        which = f"import report {wanted}" if wanted else "import reports"
        raise InvalidInput(f"{which}: there is none; `medfed records import` makes one")
    try:
        return decode(path.read_bytes(), KeptReport)
    except InvalidInput:
        raise Tampered(f"import report {wanted}: the file is damaged") from None
    except OSError as error:
        raise Unavailable(f"import report {wanted}: {error.strerror}") from None


def _numbers(folder: Path) -> list[int]:
    return [int(path.stem) for path in folder.glob("*.report") if path.stem.isascii() and path.stem.isdigit()]


def _kept(report: ImportReport, number: int, time: int) -> KeptReport:
    return KeptReport(
        number,
        time,
        tuple(path.name for path in report.sources),
        report.read,
        report.used,
        report.explained,
        report.cases,
        report.unchanged,
        report.removed,
        tuple((kind, reason, count) for (kind, reason), count in report.reasons.most_common()),
        tuple((kind, reason, count) for (kind, reason), count in report.notes.most_common()),
        tuple(KeptLine(line.source, line.path, line.kind, line.reason) for line in islice(report.lines(), MOST_LINES)),
    )
