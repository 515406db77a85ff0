"""Files in memory: read by path as often as one likes, inherited by children, and gone when closed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from medfed.crypto.memory_file import MemoryFile
from medfed.errors import Unavailable


def test_it_is_read_by_its_path_again_and_again() -> None:
    with MemoryFile(b"secret") as file:
        assert Path(file.path).read_bytes() == b"secret"
        assert Path(file.path).read_bytes() == b"secret"


def test_a_child_reads_it_only_where_it_inherits_it() -> None:
    with MemoryFile(b"secret") as file:
        done = subprocess.run(["cat", file.path], capture_output=True, pass_fds=(file.descriptor,))
        assert done.stdout == b"secret"
        done = subprocess.run(["cat", file.path], capture_output=True)
        assert done.returncode != 0
        assert done.stdout == b""


def test_it_has_no_name_on_a_disk_and_is_gone_when_closed() -> None:
    with MemoryFile(b"secret") as file:
        assert os.fstat(file.descriptor).st_nlink == 0
        path = file.path
    with pytest.raises(OSError):
        Path(path).read_bytes()


def test_closing_it_twice_closes_nothing_else() -> None:
    file = MemoryFile(b"secret")
    number = file.descriptor
    file.close()
    with MemoryFile(b"other") as other:
        assert other.descriptor == number
        file.close()
        assert Path(other.path).read_bytes() == b"other"


def test_where_there_are_none_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    with pytest.raises(Unavailable, match="needs Linux"):
        MemoryFile(b"secret")
