"""A site, a ledger or another good file that was damaged: no command ever ends in a traceback.

What each damage leads to is for other tests; here every command meets every damage, and ends with one of the program's
exit codes and, where it fails, with a line that says why. Where a command needs the damaged file, it must fail.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from tests.end_to_end.test_cli_bad_files import COMMANDS, GOOD, INPUTS, OF_COMMAND, PASSPHRASE, _arguments, _run, world

__all__ = ["world"]


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flip(data: bytes) -> bytes:
    at = random.Random(len(data)).randrange(len(data))
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


def _without_middle(data: bytes) -> bytes:
    return data[: len(data) // 3] + data[len(data) // 2 :]


DAMAGES: Final[dict[str, Callable[[bytes], bytes]]] = {
    "cut": _cut,
    "flipped": _flip,
    "without-its-middle": _without_middle,
    "doubled": lambda data: data + data,
    "empty": lambda data: b"",
    "garbage": lambda data: random.Random(3).randbytes(3_000),
}
SITE_FILES: Final = {
    "keys/site.key": ("keys show", "keys change-passphrase", "records list", "study decline"),
    "site.toml": (),
    "vault.db": (),
    "library.db": (),
    "decisions.db": (),
    "import-reports/000001.report": (),
    "agent.lock": (),
}
"""Files of a site, with the commands that cannot do without: they fail at every damage."""
ENDLESS: Final = ("agent run", "node run")
"""Where the damage is not in their way, these go on."""
SITE_COMMANDS: Final = sorted(
    command for command, parameter in INPUTS if parameter == "site" and command not in ENDLESS
)


def _ends_well(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> int:
    capsys.readouterr()
    code = _run(*arguments)
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert code in (0, 2, 3, 4, 5), (code, err)
    assert code == 0 or any(line.startswith(("medfed: ", "Error: ")) for line in err.splitlines()), err
    assert all(len(line) < 2_000 for line in err.splitlines())
    return code


@pytest.mark.parametrize("command", SITE_COMMANDS)
@pytest.mark.parametrize("file", SITE_FILES)
def test_a_damaged_file_of_a_site_makes_no_traceback(
    world: Path, command: str, file: str,
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("MEDFED_PASSPHRASE", PASSPHRASE)
    monkeypatch.setenv("MEDFED_NEW_PASSPHRASE", PASSPHRASE)
    for kind, damage in DAMAGES.items():
        copy = _copy(world, tmp_path / kind)
        monkeypatch.chdir(copy)
        path = copy / "north" / file
        data = path.read_bytes() if path.exists() else b"x" * 100
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(damage(data))
        path.chmod(0o600)
        code = _ends_well(_arguments(command, "site", "north"), capsys)
        assert code != 0 or command not in SITE_FILES[file], kind


@pytest.mark.parametrize(("command", "parameter"), [one for one in INPUTS if one[0] not in ENDLESS])
def test_a_damaged_input_makes_no_traceback(
    world: Path, command: str, parameter: str,
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    good = world / str(OF_COMMAND.get((command, parameter), GOOD[parameter]))
    if not good.is_file():
        pytest.skip("it takes a directory")
    monkeypatch.setenv("MEDFED_PASSPHRASE", PASSPHRASE)
    for kind, damage in DAMAGES.items():
        copy = _copy(world, tmp_path / kind)
        monkeypatch.chdir(copy)
        bad = copy / f"bad{good.suffix}"
        bad.write_bytes(damage(good.read_bytes()))
        _ends_well(_arguments(command, parameter, bad), capsys)


@pytest.mark.parametrize("command", sorted(command for command, parameter in INPUTS if parameter in ("ledger", "path")))
@pytest.mark.parametrize("table", ["block", "genesis", "located", "state"])
def test_a_ledger_file_whose_tables_were_changed_makes_no_traceback(
    world: Path, command: str, table: str,
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if command in (*ENDLESS, "consortium init", "ledger import"):
        pytest.skip("it reads no ledger file")
    monkeypatch.setenv("MEDFED_PASSPHRASE", PASSPHRASE)
    for number, change in enumerate((f"DELETE FROM {table}", f"DROP TABLE {table}", *_updates(world, table))):
        copy = _copy(world, tmp_path / str(number))
        monkeypatch.chdir(copy)
        with closing(sqlite3.connect(copy / "ledger.db")) as db:
            db.execute(change)
            db.commit()
        _ends_well(_arguments(command, "ledger", copy / "ledger.db"), capsys)


def _updates(world: Path, table: str) -> list[str]:
    with closing(sqlite3.connect(world / "ledger.db")) as db:
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
    values = {"height": ("7",)}
    return [
        f"UPDATE OR REPLACE {table} SET {column} = {value}"
        for column in columns
        for value in values.get(column, ("'x'", "x'90'"))
    ]


def _copy(world: Path, place: Path) -> Path:
    """The world, to be damaged. Its sites are closed to others, as they were."""
    shutil.copytree(world, place, ignore=shutil.ignore_patterns("south", "west", "tables"))
    return place


def test_commands_with_a_site_are_known() -> None:
    assert {"diagnose", "records import", "decide", "keys show"} <= set(SITE_COMMANDS) <= set(COMMANDS)
