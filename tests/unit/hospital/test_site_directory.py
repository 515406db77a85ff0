"""A site on disk: one agent at a time, and a full or read-only disk is `Unavailable`, with everything as it was."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from medfed.crypto import KeystoreCost, load_keystore
from medfed.errors import InvalidInput, Refused, Unavailable
from medfed.hospital.site_directory import (
    SiteBusy,
    change_passphrase,
    create_site,
    key_path,
    lock_site,
    open_site,
    read_public,
)

CHEAP = KeystoreCost(passes=1, memory=8 << 20)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    create_site(tmp_path / "alpha", "alpha", "correct horse", cost=CHEAP)
    return tmp_path / "alpha"


def no_space(*_: object, **__: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_lock_that_cannot_be_written_is_unavailable_and_let_go(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", no_space)
        with pytest.raises(Unavailable, match=r"agent\.lock: No space left"), lock_site(site):
            raise AssertionError("the lock was not written")
    with lock_site(site):
        assert (site / "agent.lock").read_text() == f"{os.getpid()}\n"


def test_a_lock_that_cannot_be_opened_is_unavailable(site: Path) -> None:
    (site / "agent.lock").mkdir()
    with pytest.raises(Unavailable, match="Is a directory"), lock_site(site):
        raise AssertionError("a directory was locked")


def test_a_second_holder_is_told_the_first_ones_process(site: Path) -> None:
    with lock_site(site), pytest.raises(SiteBusy, match=f"process {os.getpid()}"), lock_site(site):
        raise AssertionError("two held the lock")


def test_an_agent_that_starts_waits_for_the_lock_that_a_command_holds_for_a_moment(site: Path) -> None:
    held, through = threading.Event(), threading.Event()

    def command() -> None:
        with lock_site(site):
            held.set()
            time.sleep(0.3)
            through.set()

    thread = threading.Thread(target=command)
    thread.start()
    held.wait()
    with pytest.raises(SiteBusy), lock_site(site):
        raise AssertionError("two held the lock")
    with lock_site(site, patience=20):
        assert through.is_set()
    thread.join()
    began = time.monotonic()
    with lock_site(site), pytest.raises(SiteBusy), lock_site(site, patience=0.2):
        raise AssertionError("two held the lock")
    assert time.monotonic() - began >= 0.2


def test_an_error_inside_the_lock_is_passed_on_as_it_is(site: Path) -> None:
    with pytest.raises(FileNotFoundError), lock_site(site):
        (site / "absent").read_bytes()


def test_a_changed_passphrase_opens_the_same_keys_and_the_old_one_none(site: Path) -> None:
    before = load_keystore(key_path(site), "correct horse")
    change_passphrase(site, "correct horse", "battery staple", CHEAP)
    assert load_keystore(key_path(site), "battery staple") == before
    with pytest.raises(InvalidInput, match="wrong passphrase"):
        load_keystore(key_path(site), "correct horse")


def test_a_passphrase_that_cannot_be_changed_stays(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = key_path(site).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", no_space)
        with pytest.raises(Unavailable, match="No space left"):
            change_passphrase(site, "correct horse", "battery staple", CHEAP)
    assert key_path(site).read_bytes() == before
    change_passphrase(site, "correct horse", "battery staple", CHEAP)  # what the first attempt left is no hindrance


def test_a_site_is_made_once(site: Path) -> None:
    with pytest.raises(Refused, match="exists"):
        create_site(site, "alpha", "correct horse", cost=CHEAP)


def test_a_site_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="Not a directory"):
        create_site(tmp_path / "file" / "alpha", "alpha", "correct horse", cost=CHEAP)


def test_a_directory_without_a_key_is_no_site(tmp_path: Path) -> None:
    for use in (
        lambda: read_public(tmp_path),
        lambda: change_passphrase(tmp_path, "a", "b"),
        lambda: open_site(tmp_path, "a"),
        lambda: lock_site(tmp_path).__enter__(),
    ):
        with pytest.raises(InvalidInput, match="no site here"):
            use()


def test_a_vault_whose_mode_cannot_be_set_is_unavailable(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "chmod", no_space)
    with pytest.raises(Unavailable, match=r"vault\.db: No space left"):
        open_site(site, "correct horse")
