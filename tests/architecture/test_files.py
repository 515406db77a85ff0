"""No tracked file names a machine, a package registry or a secret."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ABSOLUTE = re.compile(rb"(?<![\w.:/~-])/(?:work|tmp|root|home|Users|opt|mnt)/[\w.]")
HOSTS = re.compile(
    rb"(?:pypi|pythonhosted|npmjs|anaconda|rubygems|crates)" rb"\.(?:org|com|io)" rb"|download\.pytorch" rb"\.org"
)
PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*" rb"PRIVATE KEY-----")


def _tracked() -> list[Path]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so no file is tracked")
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [path for name in listed.split(b"\0") if name and (path := ROOT / name.decode()).is_file()]


def test_no_tracked_link_leaves_the_repository() -> None:
    """A tracked link to an environment takes its place wherever it is checked out, and wipes it."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so no file is tracked")
    listed = subprocess.run([git, "ls-files", "-s"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    links = [ROOT / line.split("\t")[1] for line in listed.splitlines() if line.startswith("120000")]
    assert [link for link in links if not link.resolve().is_relative_to(ROOT.resolve())] == []
    assert [link for link in links if link.is_dir()] == []


@pytest.mark.parametrize(
    "pattern", [ABSOLUTE, HOSTS, PRIVATE_KEY], ids=["absolute path", "registry host", "private key"]
)
def test_no_tracked_file_contains(pattern: re.Pattern[bytes]) -> None:
    hits = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]!r}"
        for path in _tracked()
        for number, line in enumerate(path.read_bytes().split(b"\n"), 1)
        if pattern.search(line)
    ]
    assert hits == []


def test_the_patterns_find_what_they_are_for() -> None:
    directory = "/" + "home"
    assert ABSOLUTE.search(f"{directory}/somebody/data.csv".encode())
    assert not ABSOLUTE.search(f"https://example.org{directory}/page".encode())
    assert HOSTS.search(b"--index-url https://" + b"pypi" + b".org/simple")
    assert PRIVATE_KEY.search(b"-----BEGIN " + b"PRIVATE KEY-----")


def test_no_tracked_file_is_larger_than_two_megabytes() -> None:
    assert [path for path in _tracked() if path.stat().st_size > 2_000_000] == []
