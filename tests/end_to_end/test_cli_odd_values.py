"""Every argument and option that takes a text or a number, given an odd one: a line, a code, never a traceback."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import click
import pytest
from tests.end_to_end.test_cli_bad_files import COMMANDS, FLAGS, GOOD, OF_COMMAND, PASSPHRASE, _run, world
from tests.support.study import NAMES

__all__ = ["world"]

ODD: Final = (
    "", "²", "-1", "9" * 5_000, "nan", "inf", "1e999", "\udcff\udcfe", "a\nb", "🙂", "../../x", "0x10", ":", "5:",
    "²:ab", "9" * 5_000 + ":" + "00" * 32, "1:" + "00" * 32, "ab" * 32, "|", "a|b|c", "=", "a=", "x" * 100_000, "--",
    "[", "1970-01-01", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59+1400", "[::1]:99999999999", "@:0", "x@y:z",
)  # fmt: skip
ENDLESS: Final = ("agent run", "node run", "study watch", "demo", "demo imaging")


def _is_text(parameter: click.Parameter) -> bool:
    is_flag = isinstance(parameter, click.Option) and parameter.is_flag
    return not isinstance(parameter.type, click.Path) and not is_flag and parameter.name not in ("help", "version")


VALUES: Final = [
    (name, parameter.name or "")
    for name, command in COMMANDS.items()
    for parameter in command.params
    if _is_text(parameter) and name not in ENDLESS
]


@pytest.mark.parametrize(("command", "parameter"), VALUES, ids=lambda value: value.replace(" ", "-"))
def test_an_odd_value_makes_no_traceback(
    world: Path, command: str, parameter: str,
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("MEDFED_PASSPHRASE", PASSPHRASE)
    monkeypatch.chdir(world)
    for number, value in enumerate(ODD):
        capsys.readouterr()
        code = _run(*_arguments(command, parameter, value, tmp_path / str(number)))
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err, (value, err)
        assert code in (0, 2, 3, 4, 5), (value, code, err)
        assert code == 0 or any(line.startswith(("medfed: ", "Error: ")) for line in err.splitlines()), (value, err)
        assert len(err) < 300_000


@pytest.mark.parametrize("command", sorted({name for name, parameter in VALUES}))
def test_a_path_that_is_not_utf_8_is_named_without_a_traceback(
    world: Path,
    command: str,
    tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MEDFED_PASSPHRASE", PASSPHRASE)
    monkeypatch.chdir(world)
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")
    for one in COMMANDS[command].params:
        if isinstance(one.type, click.Path):
            code = _run(*_arguments(command, one.name or "", odd, tmp_path / "made"))
            assert code in (0, 2, 3, 4, 5)
    out, err = capfdbinary.readouterr()
    assert b"Traceback" not in out + err


def _arguments(command: str, parameter: str, value: str, made: Path) -> list[str]:
    """A whole command with good values but for one parameter; what it makes goes to `made`."""
    words = command.split()
    for one in COMMANDS[command].params:
        name = one.name or ""
        if name == "data" and name != parameter:
            words += [word for site in NAMES for word in ("--data", f"{site}=patients.csv")]
        elif one.required or name == parameter:
            good = str(OF_COMMAND.get((command, name), GOOD.get(name, "1")))
            given = value if name == parameter else str(made) if good.startswith("made") else good
            words += [f"{one.opts[-1]}={given}"] if isinstance(one, click.Option) else [given]
    flags = FLAGS.get(command, [])
    words += [] if parameter == "patient" else flags
    is_argument = any(one.name == parameter and isinstance(one, click.Argument) for one in COMMANDS[command].params)
    return (
        [*command.split(), "--", *words[len(command.split()) :]]
        if is_argument and not any(word.startswith("--") for word in words[len(command.split()) :])
        else words
    )
