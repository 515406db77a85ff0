"""What is installed is pinned by hash, names no host, and agrees with pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LISTS = sorted((ROOT / "requirements").glob("*.txt"))
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)(?: ; [^\\]+)? \\$")


def _pins(path: Path) -> dict[str, str]:
    return {match[1].lower(): match[2] for line in path.read_text().splitlines() if (match := PINNED.match(line))}


def _wanted(path: Path) -> set[str]:
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return {line for line in lines if line and not line.startswith("-")}


def test_the_core_list_is_what_the_package_declares() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert _wanted(ROOT / "requirements" / "core.in") == set(project["dependencies"])


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.name)
def test_every_requirement_is_pinned_with_hashes(path: Path) -> None:
    entries = re.split(r"\n(?=[A-Za-z0-9])", "\n" + path.read_text())[1:]
    assert entries
    for entry in entries:
        assert PINNED.match(entry.splitlines()[0]), entry.splitlines()[0]
        assert "--hash=sha256:" in entry, entry.splitlines()[0]


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.name)
def test_a_list_was_compiled_by_make_and_names_no_index(path: Path) -> None:
    text = path.read_text()
    assert "#    make requirements\n" in text
    assert "://" not in text
    assert not re.search(r"^--(?!hash)", text, re.MULTILINE)


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.name)
def test_every_wanted_package_is_in_its_compiled_list(path: Path) -> None:
    names = {re.split(r"[<>=!~;\[ ]", line)[0].lower() for line in _wanted(path.with_suffix(".in"))}
    assert names <= set(_pins(path))


def test_lists_that_are_installed_together_agree_on_versions() -> None:
    chosen: dict[str, str] = {}
    for path in LISTS:
        for name, version in _pins(path).items():
            assert chosen.setdefault(name, version) == version, f"{name} in {path.name}"
