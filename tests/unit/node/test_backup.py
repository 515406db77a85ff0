"""A backup holds the site but what must not come back, opens under the passphrase only, and restores all or none."""

from __future__ import annotations

import io
import os
import sqlite3
import stat
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
from tests.unit.node.test_founding import founded

from medfed.crypto import SiteKeys, load_keystore, system_entropy
from medfed.crypto.streams import encrypt_chunks
from medfed.encoding import encode
from medfed.errors import InvalidInput, MedFedError, Refused, Unavailable
from medfed.hospital.site_directory import key_path
from medfed.hospital.vault import Vault
from medfed.ledger.store import reading
from medfed.node import backup as backup_module
from medfed.node.backup import restore_backup, write_backup
from medfed.node.founding import found_node
from medfed.node.node_file import NodeFile, ledger_path, load_node_file
from medfed.node.returning import restored_ms

NAME_OF_A_PATIENT = b"Eleanor Whitfield"
SECRET = b"the secret of a pair"


def clock() -> int:
    return 1_800_000_000_000


def site_with_everything(tmp_path: Path) -> tuple[Path, SiteKeys]:
    site, genesis, keys = founded(tmp_path)
    found_node(site, genesis, NodeFile("127.0.0.1:5000"))
    vault = Vault(site / "vault.db", keys.vault_key, system_entropy)
    vault.put("privacy/charge/1", b"kept")
    vault.put("study/00/pairs", SECRET)
    vault.store("passed", 7)
    vault.outbox_put(7, "work", 1, b"signed")
    vault.close()
    (site / "patients.csv").write_bytes(NAME_OF_A_PATIENT + b",63\n")
    (site / "deep" / "er").mkdir(parents=True)
    (site / "deep" / "er" / "large.bin").write_bytes(os.urandom(3 * (1 << 20) + 7))
    (site / "empty").write_bytes(b"")
    data = site / "node" / "cometbft" / "data"
    data.mkdir()
    (data / "priv_validator_state.json").write_text("{}")
    (site / "blobs" / "ab").mkdir(parents=True)
    (site / "blobs" / "ab" / "cdef").write_bytes(b"blob")
    (site / "node" / "agent.log").write_text("log")
    return site, keys


def made(tmp_path: Path) -> Path:
    site, _ = site_with_everything(tmp_path)
    write_backup(site, "secret", tmp_path / "out.backup", clock)
    return tmp_path / "out.backup"


def test_what_is_restored_is_what_was_there(tmp_path: Path) -> None:
    site, keys = site_with_everything(tmp_path)
    written = write_backup(site, "secret", tmp_path / "out.backup", clock)
    again = tmp_path / "again"
    restored = restore_backup(tmp_path / "out.backup", again, "secret", clock)
    assert (restored.name, restored.files, restored.node) == ("alpha", written.files, True)
    for name in ("patients.csv", "deep/er/large.bin", "empty", "site.toml", "node.toml", "keys/site.key"):
        assert (again / name).read_bytes() == (site / name).read_bytes(), name
        assert stat.S_IMODE((again / name).stat().st_mode) == stat.S_IMODE((site / name).stat().st_mode)
    assert load_keystore(key_path(again), "secret").public == keys.public
    vault = Vault(again / "vault.db", keys.vault_key, system_entropy)
    assert vault.get("privacy/charge/1") == b"kept"
    vault.close()
    assert load_node_file(again).listen == "127.0.0.1:5000"
    with reading(ledger_path(site)) as one, reading(ledger_path(again)) as other:
        assert one.genesis == other.genesis
        assert other.replicated
    assert stat.S_IMODE(again.stat().st_mode) == 0o700


def test_the_record_of_votes_and_what_others_have_is_not_in_it(tmp_path: Path) -> None:
    backup = made(tmp_path)
    again = tmp_path / "again"
    restore_backup(backup, again, "secret", clock)
    found = {str(path.relative_to(again)) for path in again.rglob("*") if path.is_file()}
    assert "node/cometbft/config/node_key.json" in found
    assert not {name for name in found if name.startswith(("node/cometbft/data", "blobs")) or name.endswith(".log")}


def test_no_secret_of_a_study_is_in_it_and_the_agent_will_know_that_the_vault_was_restored(tmp_path: Path) -> None:
    site, keys = site_with_everything(tmp_path)
    with closing(sqlite3.connect(site / "vault.db")) as file:
        (sealed,) = file.execute("SELECT value FROM entry WHERE key LIKE 'study/%'").fetchone()
    write_backup(site, "secret", tmp_path / "out.backup", clock)
    restore_backup(tmp_path / "out.backup", tmp_path / "again", "secret", clock)
    vault = Vault(tmp_path / "again" / "vault.db", keys.vault_key, system_entropy)
    assert vault.keys_under("") == ["privacy/charge/1", "probe"]
    assert vault.outbox_rows() == []
    vault.close()
    assert sealed in (site / "vault.db").read_bytes()
    assert sealed not in (tmp_path / "again" / "vault.db").read_bytes()


def test_a_restored_node_waits_before_it_votes_unless_told_not_to(tmp_path: Path) -> None:
    backup = made(tmp_path)
    restore_backup(backup, tmp_path / "waits", "secret", clock)
    assert restored_ms(tmp_path / "waits") == clock()
    restore_backup(backup, tmp_path / "votes", "secret", clock, may_vote=True)
    assert restored_ms(tmp_path / "votes") is None


def test_a_note_that_cannot_be_read_is_no_leave_to_vote(tmp_path: Path) -> None:
    restore_backup(made(tmp_path), tmp_path / "waits", "secret", clock)
    (tmp_path / "waits" / "node" / "restored").write_bytes(b"")
    with pytest.raises(InvalidInput, match="restore it anew"):
        restored_ms(tmp_path / "waits")


def test_nothing_of_a_patient_can_be_read_in_it_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    backup = made(tmp_path)
    assert NAME_OF_A_PATIENT not in backup.read_bytes()
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.backup", "site"]
    assert not list((tmp_path / "site").glob(".backup-*"))


def test_another_passphrase_restores_nothing(tmp_path: Path) -> None:
    backup = made(tmp_path)
    with pytest.raises(InvalidInput, match="wrong passphrase"):
        restore_backup(backup, tmp_path / "again", "guess", clock)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.backup", "site"]


@pytest.mark.parametrize("where", [0, 2, 40, 400, 1500, 5000, -1, 1 << 20, (2 << 20) + 5])
def test_one_changed_byte_restores_nothing(tmp_path: Path, where: int) -> None:
    backup = made(tmp_path)
    data = bytearray(backup.read_bytes())
    data[where] ^= 1
    backup.write_bytes(data)
    with pytest.raises(MedFedError):
        restore_backup(backup, tmp_path / "again", "secret", clock)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.backup", "site"]


@pytest.mark.parametrize("kept", [0, 3, 4, 100, 2000, 1 << 20, -1, -20])
def test_a_backup_that_was_cut_off_restores_nothing(tmp_path: Path, kept: int) -> None:
    backup = made(tmp_path)
    data = backup.read_bytes()
    backup.write_bytes(data[:kept])
    with pytest.raises(InvalidInput):
        restore_backup(backup, tmp_path / "again", "secret", clock)
    assert not (tmp_path / "again").exists()


def test_a_whole_chunk_that_was_cut_off_is_noticed(tmp_path: Path) -> None:
    """The archive itself ended before: only the stream's last chunk shows that nothing is missing."""
    site, _ = site_with_everything(tmp_path)
    (site / "zeros").write_bytes(bytes(4 << 20))
    write_backup(site, "secret", tmp_path / "out.backup", clock)
    data = (tmp_path / "out.backup").read_bytes()
    length = 4 + int.from_bytes(data[:4], "big")
    chunk = (1 << 20) + 16
    (tmp_path / "out.backup").write_bytes(data[: length + (len(data) - length) // chunk * chunk])
    with pytest.raises(InvalidInput):
        restore_backup(tmp_path / "out.backup", tmp_path / "again", "secret", clock)


def test_neither_a_site_nor_a_file_is_written_over(tmp_path: Path) -> None:
    backup = made(tmp_path)
    before = backup.read_bytes()
    with pytest.raises(Refused) as refused:
        write_backup(tmp_path / "site", "secret", backup, clock)
    assert refused.value.code == "file-exists"
    assert backup.read_bytes() == before
    (tmp_path / "there").mkdir()
    with pytest.raises(Refused) as refused:
        restore_backup(backup, tmp_path / "there", "secret", clock)
    assert refused.value.code == "site-exists"


def test_a_database_is_taken_as_of_one_moment_with_what_is_not_yet_in_its_file(tmp_path: Path) -> None:
    site, _ = site_with_everything(tmp_path)
    writer = sqlite3.connect(site / "library.db", isolation_level=None)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("CREATE TABLE one (value)")
    writer.execute("INSERT INTO one VALUES (1)")
    writer.execute("BEGIN")
    writer.execute("INSERT INTO one VALUES (2)")
    write_backup(site, "secret", tmp_path / "out.backup", clock)
    writer.close()
    restore_backup(tmp_path / "out.backup", tmp_path / "again", "secret", clock)
    reader = sqlite3.connect(tmp_path / "again" / "library.db")
    assert reader.execute("SELECT value FROM one").fetchall() == [(1,)]
    reader.close()


def test_links_are_named_and_not_followed(tmp_path: Path) -> None:
    site, _ = site_with_everything(tmp_path)
    (tmp_path / "elsewhere").write_bytes(NAME_OF_A_PATIENT)
    (site / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(site / "pipe")
    written = write_backup(site, "secret", tmp_path / "out.backup", clock)
    assert written.left_out == ("link", "pipe")


def test_a_file_that_becomes_shorter_leaves_no_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site, _ = site_with_everything(tmp_path)
    whole = os.fstat

    def larger(descriptor: int) -> os.stat_result:
        found = list(whole(descriptor))
        found[6] += 1
        return os.stat_result(found)

    monkeypatch.setattr(backup_module.os, "fstat", larger)
    with pytest.raises(Unavailable, match="became shorter"):
        write_backup(site, "secret", tmp_path / "out.backup", clock)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["site"]


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside", "keys/site.key", "."])
def test_an_archive_that_reaches_outside_its_site_is_refused(tmp_path: Path, name: str) -> None:
    """Whoever has the passphrase could make one; what it names outside is never written."""
    site, keys = site_with_everything(tmp_path)
    head = encode(backup_module._Head("alpha", key_path(site).read_bytes(), bytes(32), 1))
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = 4
        archive.addfile(info, io.BytesIO(b"evil"))
    sealed = encrypt_chunks(backup_module._key(keys, head), [data.getvalue()], backup_module._context(head))
    backup = tmp_path / "evil.backup"
    backup.write_bytes(len(head).to_bytes(4, "big") + head + b"".join(sealed))
    with pytest.raises(InvalidInput):
        restore_backup(backup, tmp_path / "again", "secret", clock)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.backup", "site"]


def test_a_site_without_a_node_is_backed_up_as_well(tmp_path: Path) -> None:
    site, _, keys = founded(tmp_path)
    assert not write_backup(site, "secret", tmp_path / "out.backup", clock).node
    assert not restore_backup(tmp_path / "out.backup", tmp_path / "again", "secret", clock).node
    assert load_keystore(key_path(tmp_path / "again"), "secret").public == keys.public
    assert not (tmp_path / "again" / "node").exists()
