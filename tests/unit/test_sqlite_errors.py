"""One meaning for each of SQLite's errors, and none of them says what the file holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from medfed.diagnosis.decisions import Decided, Decisions
from medfed.errors import InvalidInput, MedFedError, Tampered, Unavailable
from medfed.sqlite_errors import translated

PATIENT = "Erika Mustermann"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "file.db", isolation_level=None, timeout=0)) as connection:
        connection.execute("CREATE TABLE entry (content TEXT)")
        yield connection


def _fails(error: type[MedFedError], run: sqlite3.Connection, query: str) -> str:
    with pytest.raises(error) as caught, translated("here", "vault"):
        run.execute(query).fetchall()
    return str(caught.value)


def test_text_that_is_not_utf_8_is_damage_and_is_not_quoted(file: sqlite3.Connection) -> None:
    file.execute("INSERT INTO entry VALUES (CAST(? AS TEXT))", (PATIENT.encode() + b"\xff",))
    message = _fails(Tampered, file, "SELECT content FROM entry")
    assert message == "here: the vault is damaged (text that is not UTF-8)"


def test_a_name_that_is_not_utf_8_is_damage() -> None:
    with pytest.raises(Tampered, match="not UTF-8"), translated("here", "vault"):
        PATIENT.encode("utf-16").decode()


@pytest.mark.parametrize("query", ["SELECT content FROM other", "SELECT other FROM entry"])
def test_a_table_or_column_that_is_gone_is_damage(file: sqlite3.Connection, query: str) -> None:
    assert _fails(Tampered, file, query).startswith("here: the vault is damaged (no such ")


def test_a_page_that_was_overwritten_is_damage(file: sqlite3.Connection, tmp_path: Path) -> None:
    file.executemany("INSERT INTO entry VALUES (?)", [("x" * 100,)] * 200)
    file.close()
    data = bytearray((tmp_path / "file.db").read_bytes())
    data[4096:8192] = b"\xaa" * 4096
    (tmp_path / "file.db").write_bytes(data)
    with closing(sqlite3.connect(tmp_path / "file.db")) as again:
        assert _fails(Tampered, again, "SELECT content FROM entry") == (
            "here: the vault is damaged (database disk image is malformed)"
        )


def test_a_file_of_another_kind_is_invalid_input(tmp_path: Path) -> None:
    (tmp_path / "file.db").write_text("a long line of text\n" * 500)
    with closing(sqlite3.connect(tmp_path / "file.db")) as other:
        assert _fails(InvalidInput, other, "SELECT 1 FROM entry") == "here: not a vault (not an SQLite database)"


def test_a_locked_file_is_unavailable(file: sqlite3.Connection, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "file.db", isolation_level=None, timeout=0)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert _fails(Unavailable, file, "SELECT content FROM entry") == "here: database is locked"


def test_a_broken_rule_of_the_schema_is_damage(file: sqlite3.Connection) -> None:
    file.execute("CREATE TABLE single (content TEXT PRIMARY KEY)")
    file.execute("INSERT INTO single VALUES ('a')")
    assert "the vault is damaged" in _fails(Tampered, file, "INSERT INTO single VALUES ('a')")


def test_other_errors_pass(file: sqlite3.Connection) -> None:
    with pytest.raises(ZeroDivisionError), translated("here", "vault"):
        raise ZeroDivisionError


def test_a_log_of_decisions_that_is_locked_or_no_log_says_so(tmp_path: Path) -> None:
    path = tmp_path / "decisions.db"
    log = Decisions(path)
    log._db.execute("PRAGMA busy_timeout = 0")  # pyright: ignore[reportPrivateUsage]
    decided = Decided("confirm", "agrees")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="decisions: database is locked"):
            log._append("answer", 1, "someone", decided)  # pyright: ignore[reportPrivateUsage]
        other.execute("ROLLBACK")
    assert log._append("answer", 1, "someone", decided).number == 1  # pyright: ignore[reportPrivateUsage]
    log.close()
    path.write_text("a long line of text\n" * 500)
    with pytest.raises(InvalidInput, match="decisions: not a log"):
        Decisions(path)
    with pytest.raises(Unavailable, match="cannot be opened"):
        Decisions(tmp_path / "absent" / "decisions.db")
