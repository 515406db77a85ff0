from __future__ import annotations

import gc
import sqlite3
import threading
from pathlib import Path

import pytest

from medfed.crypto import seeded_entropy
from medfed.errors import InvalidInput, Tampered, Unavailable
from medfed.hospital.vault import Vault

KEY = b"k" * 32


def open_vault(path: Path, key: bytes = KEY) -> Vault:
    return Vault(path, key, seeded_entropy(b"vault" * 7))


def test_what_was_put_is_there_after_reopening(tmp_path: Path) -> None:
    vault = open_vault(tmp_path / "vault.db")
    vault.put("a", b"secret value")
    vault.close()
    assert open_vault(tmp_path / "vault.db").get("a") == b"secret value"


def test_nothing_is_in_plaintext_on_disk(tmp_path: Path) -> None:
    vault = open_vault(tmp_path / "vault.db")
    vault.put("study/pairs", b"a very secret pair secret")
    vault.outbox_put(3, "work", 1, b"a very secret transaction")
    vault.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"very secret" not in stored


def test_the_file_is_private(tmp_path: Path) -> None:
    open_vault(tmp_path / "vault.db")
    assert (tmp_path / "vault.db").stat().st_mode & 0o777 == 0o600


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    vault = open_vault(tmp_path / "vault.db")
    with pytest.raises(RuntimeError), vault.transaction("both"):
        vault.put("a", b"1")
        vault.outbox_put(0, "w", 0, b"2")
        raise RuntimeError
    assert vault.get("a") is None
    assert vault.outbox_rows() == []
    with vault.transaction("both"):
        vault.put("a", b"1")
        vault.outbox_put(0, "w", 0, b"2")
    assert vault.get("a") == b"1"
    assert vault.outbox_rows() == [(0, "w", 0, b"2")]


def test_effects_are_announced_before_and_after_each_commit_and_only_for_the_outermost(tmp_path: Path) -> None:
    seen: list[str] = []
    vault = Vault(tmp_path / "vault.db", KEY, seeded_entropy(b"e" * 32), seen.append)
    seen.clear()
    with vault.transaction("outer"):
        vault.put("a", b"1")
        vault.put("b", b"2")
    assert seen == ["before outer", "after outer"]


def test_another_key_is_refused_with_a_clear_line(tmp_path: Path) -> None:
    open_vault(tmp_path / "vault.db").close()
    with pytest.raises(InvalidInput, match="belongs to another site"):
        open_vault(tmp_path / "vault.db", b"x" * 32)


def test_a_value_moved_under_another_key_does_not_open(tmp_path: Path) -> None:
    vault = open_vault(tmp_path / "vault.db")
    vault.put("a", b"1")
    vault.put("b", b"2")
    raw = sqlite3.connect(tmp_path / "vault.db")
    raw.execute("UPDATE entry SET value = (SELECT value FROM entry WHERE key = 'a') WHERE key = 'b'")
    raw.commit()
    with pytest.raises(Tampered, match="entry b"):
        vault.get("b")


def test_a_foreign_database_and_a_foreign_file_are_refused(tmp_path: Path) -> None:
    foreign = sqlite3.connect(tmp_path / "other.db")
    foreign.execute("CREATE TABLE patient (name TEXT)")
    foreign.commit()
    with pytest.raises(InvalidInput, match="not a vault"):
        open_vault(tmp_path / "other.db")
    (tmp_path / "text.db").write_text("this is not a database, it is a long line of text\n" * 50)
    with pytest.raises(InvalidInput, match="not a vault"):
        open_vault(tmp_path / "text.db")


def test_a_missing_directory_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        open_vault(tmp_path / "nowhere" / "vault.db")


def test_keys_under_a_prefix_are_listed_and_deleted_without_pattern_surprises(tmp_path: Path) -> None:
    vault = open_vault(tmp_path / "vault.db")
    for key in ("study/1/a", "study/1/b", "study/2/a", "study/%"):
        vault.put(key, b"x")
    assert vault.keys_under("study/1/") == ["study/1/a", "study/1/b"]
    assert vault.keys_under("study/%") == ["study/%"]
    vault.delete_under("study/1/")
    assert vault.keys_under("study/") == ["study/%", "study/2/a"]


def test_a_full_disk_is_unavailable_and_keeps_what_was_there(tmp_path: Path) -> None:
    vault = open_vault(tmp_path / "vault.db")
    vault.put("a", b"1")
    pages = vault._connection.execute("PRAGMA page_count").fetchone()[0]
    vault._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Unavailable, match="full"):
        vault.put("b", b"x" * 1_000_000)
    assert vault.get("a") == b"1"
    assert vault.get("b") is None
    vault._connection.execute("PRAGMA max_page_count = 1000000")
    vault.put("b", b"x" * 1_000_000)
    assert vault.get("b") == b"x" * 1_000_000


def test_a_vault_that_is_let_go_in_another_thread_closes_quietly() -> None:
    held = [Vault(None, KEY, seeded_entropy(b"vault" * 7))]
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    gc.collect()  # what a finaliser raises becomes a warning, and a warning an error
