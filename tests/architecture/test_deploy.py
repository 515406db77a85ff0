"""The files under `deploy/` name the commands, versions and ports that the program has."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from medfed.cli.main import cli

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "medfed-node@.service"


def command(words: list[str]) -> click.Command:
    """The command that such words call; options must be its own."""
    context = click.Context(cli)
    current: click.Command = cli
    while isinstance(current, click.Group):
        found = current.get_command(context, words.pop(0))
        assert found is not None
        current = found
    known = {flag for parameter in current.params for flag in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
    return current


def test_the_unit_runs_a_command_that_exists() -> None:
    text = UNIT.read_text()
    line = re.search(r"^ExecStart=(.*)$", text, re.MULTILINE)
    assert line is not None
    words = shlex.split(line[1])
    assert words.pop(0) == "/usr/local/medfed/bin/medfed"
    assert command(words).name == "run"
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    for name in re.findall(r"^Environment=(\w+)=", text, re.MULTILINE):
        assert f'"{name}"' in source, name


def test_the_unit_starts_nothing_again_that_a_person_must_look_at() -> None:
    from medfed.errors import InvalidInput, Refused, Tampered, Unavailable

    line = re.search(r"^RestartPreventExitStatus=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert line is not None
    assert {int(word) for word in line[1].split()} == {one.exit_code for one in (InvalidInput, Refused, Tampered)}
    assert str(Unavailable.exit_code) not in line[1].split()


def test_the_unit_is_one_for_systemd(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    program = tmp_path / "medfed"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "medfed-node@north.service"
    unit.write_text(UNIT.read_text().replace("/usr/local/medfed/bin/medfed ", f"{program} "))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_image_builds_the_pinned_cometbft_and_calls_commands_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    pinned = re.search(r"^COMETBFT := (\S+)$", makefile, re.MULTILINE)
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    built = re.search(r"^ARG COMETBFT=(\S+)$", text, re.MULTILINE)
    assert pinned is not None
    assert built is not None
    assert built[1] == pinned[1]
    words = re.search(r"^CMD \[(.*)\]$", text, re.MULTILINE)
    assert words is not None
    assert command(re.findall(r'"([^"]*)"', words[1])).name == "run"
    for name in re.findall(r"COPY (requirements/\S+) (requirements/\S+)", text)[0]:
        assert (ROOT / name).is_file()


def test_the_containers_health_is_the_nodes_status() -> None:
    text = (ROOT / "deploy" / "compose.yaml").read_text()
    check = re.search(r"test: \[CMD, (.*)\]", text)
    assert check is not None
    words = [word.strip() for word in check[1].split(",")]
    assert words.pop(0) == "medfed"
    assert command(words).name == "status"
    assert not re.search(r"PASSPHRASE(?!_FILE)", text)  # secrets by file, never in the environment of a container


def test_no_file_names_a_path_of_this_machine() -> None:
    for path in (ROOT / "deploy").iterdir():
        assert os.fspath(ROOT) not in path.read_text()
