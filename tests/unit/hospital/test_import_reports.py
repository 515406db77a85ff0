"""Reports of imports: numbered, private, bounded, and never a value of a record."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfed.errors import InvalidInput, Tampered, Unavailable
from medfed.hospital import import_reports
from medfed.hospital.import_reports import keep_report, load_report
from medfed.records.report import ImportReport


def report(lines: int = 2) -> ImportReport:
    made = ImportReport((Path("wards") / "a.json", Path("wards") / "b.json"), read=lines + 3, used=3, cases=2)
    for number in range(lines):
        made.explain(number % 2, f"entry[{number}]", "Observation", "no-unit")
    made.note("Patient", "no-birth-date", 2)
    return made


def test_what_was_kept_is_what_is_loaded(tmp_path: Path) -> None:
    kept = keep_report(tmp_path, report(), 1_700_000_000)
    assert load_report(tmp_path) == kept
    assert (kept.number, kept.time, kept.sources) == (1, 1_700_000_000, ("a.json", "b.json"))
    assert kept.read == kept.used + kept.explained == 5
    assert kept.reasons == (("Observation", "no-unit", 2),)
    assert kept.notes == (("Patient", "no-birth-date", 2),)
    assert [(line.source, line.path) for line in kept.lines] == [(0, "entry[0]"), (1, "entry[1]")]


def test_reports_are_numbered_and_the_newest_is_shown_unless_another_is_asked_for(tmp_path: Path) -> None:
    for lines in (1, 2, 3):
        keep_report(tmp_path, report(lines), lines)
    (tmp_path / "notes.report").write_text("somebody's own file")
    assert load_report(tmp_path).number == 3
    assert load_report(tmp_path, 2).explained == 2
    assert keep_report(tmp_path, report(4), 4).number == 4
    (tmp_path / "000002.report").unlink()
    assert keep_report(tmp_path, report(5), 5).number == 5, "a number is never used twice"


def test_only_its_owner_may_read_a_report(tmp_path: Path) -> None:
    keep_report(tmp_path, report(), 0)
    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o600]


def test_only_so_many_lines_are_kept_but_all_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_reports, "MOST_LINES", 10)
    kept = keep_report(tmp_path, report(25), 0)
    assert len(kept.lines) == 10
    assert kept.explained == 25
    assert kept.reasons == (("Observation", "no-unit", 25),)


def test_where_there_is_no_report_it_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"^import reports: there is none; `medfed records import` makes one$"):
        load_report(tmp_path)
    keep_report(tmp_path, report(), 0)
    with pytest.raises(InvalidInput, match="import report 7: there is none"):
        load_report(tmp_path, 7)


@pytest.mark.parametrize("damage", [b"", b"\xc1", b"text", None], ids=["empty", "no message", "text", "cut"])
def test_a_damaged_report_is_said_and_not_shown(tmp_path: Path, damage: bytes | None) -> None:
    keep_report(tmp_path, report(), 0)
    path = tmp_path / "000001.report"
    path.write_bytes(path.read_bytes()[:-1] if damage is None else damage)
    with pytest.raises(Tampered, match="import report 1: the file is damaged"):
        load_report(tmp_path)


def test_a_report_that_cannot_be_read_now_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_report(tmp_path, report(), 0)

    def read_bytes(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    with pytest.raises(Unavailable, match="import report 1: Permission denied"):
        load_report(tmp_path)
