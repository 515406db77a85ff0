"""Old files of CometBFT's write-ahead log go; the one that is written and those just before it stay."""

from __future__ import annotations

from pathlib import Path

from medfed.ledger.engines.cometbft.wal import KEPT, trim_wal


def write(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).write_bytes(b"x")


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_the_oldest_go_and_the_newest_stay_whatever_their_numbers(tmp_path: Path) -> None:
    write(tmp_path, "wal", *(f"wal.{number:03d}" for number in (7, 8, 998, 999, 1000, 1001)))
    assert trim_wal(tmp_path, kept=3) == 3
    assert names(tmp_path) == ["wal", "wal.1000", "wal.1001", "wal.999"]
    assert trim_wal(tmp_path, kept=3) == 0


def test_the_file_that_is_written_and_what_is_not_the_logs_are_never_touched(tmp_path: Path) -> None:
    others = ["wal", "wal.000.CORRUPTED", "wal.CORRUPTED000", "notes", "wal.1", "xwal.000"]
    write(tmp_path, *others)
    assert trim_wal(tmp_path, kept=0) == 0
    assert names(tmp_path) == sorted(others)


def test_a_log_that_is_short_or_not_there_yet_is_left_alone(tmp_path: Path) -> None:
    assert trim_wal(tmp_path / "cs.wal") == 0
    write(tmp_path, "wal", *(f"wal.{number:03d}" for number in range(KEPT)))
    assert trim_wal(tmp_path) == 0
