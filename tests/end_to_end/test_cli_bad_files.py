"""Every file and directory that a command takes, exchanged for one that it cannot take.

The command says so in a line or a few, exits with a code of its own, writes nothing, and never shows a traceback.

The parameters are read off the commands, so a new one is tried as soon as it exists. A parameter whose good value is
not known here is left out: add it to `GOOD`, or to `OUTPUTS` where it names what is made.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Final

import click
import orjson
import pytest
from tests.fuzz.targets_models import model
from tests.fuzz.targets_records import LABS, MAPPING, QUESTION, STAYS, STORY, VOCABULARY
from tests.support.study import NAMES, patients, small_plan

from medfed.cli.main import cli, main
from medfed.federation.model_file import save_model
from medfed.federation.plan_file import format_plan

SECONDS: Final = 30
PASSPHRASE: Final = "north-north-north"
ANSWER: Final = "0123456789abcdef"

OUTPUTS: Final = {("consortium init", "ledger"), ("keys create", "site"), ("ledger import", "ledger")}
OUTPUT_NAMES: Final = {"directory", "export_ledger", "output", "page", "report", "save_model"}
"""What a command makes: no input."""

GOOD: Final = {
    "answer": ANSWER,
    "archive": "ledger.medfed",
    "auditors": "south",
    "blobs": "blobs",
    "candidates": "words.vocabulary",
    "cases_file": "patients.csv",
    "course": "improved",
    "decision": "reject",
    "file": "model.safetensors",
    "files": "story.ndjson",
    "height": "1",
    "hospitals": "south",
    "ledger": "ledger.db",
    "mapping": "mapping.toml",
    "members": "patients.csv",
    "model_file": "model.safetensors",
    "name": "consortium",
    "organisers": "south",
    "output": "made",
    "outsiders": "patients.csv",
    "page": "made.html",
    "path": "ledger.db",
    "patients": "patients.csv",
    "plan": "plan.toml",
    "plan_file": "plan.toml",
    "question": "question.json",
    "reason": "other",
    "shell": "bash",
    "site": "north",
    "study_id": "?",
    "teachers": "3",
    "transaction": "00",
    "words": "words.vocabulary",
}
"""The value of a parameter in the world below, by its name."""
OF_COMMAND: Final = {
    ("records map", "file"): "patients.csv",
    ("consortium init", "ledger"): "made.db",
    ("ledger import", "ledger"): "made.db",
}
"""Where a command means something else by a name."""
FLAGS: Final = {"agent run": ["--until-complete"], "simulate": [], "records withdraw-consent": ["--patient", "nobody"]}
EXPLAINED: Final = {("records import", "files"), ("records map", "file")}
"""Whatever is in such a file is said in a report, or is a table of sorts: only what is no file at all is refused."""


STRICT: Final = (
    "agent run", "align approve", "align decline", "align list", "align open", "align result", "align show",
    "consortium init", "consortium show", "decide", "diagnose", "follow-up", "keys change-passphrase", "keys create",
    "keys show", "ledger export", "ledger import", "ledger log", "ledger proof", "ledger show", "ledger verify",
    "model card", "model predict", "model save", "node doctor", "node init", "node run", "node status", "pate audit",
    "pate budget", "pate cases", "pate plan", "pate run", "pate serve", "records export", "records import",
    "records list", "records map", "records plan", "records show-report", "records vocabulary",
    "records withdraw-consent", "rewards", "simulate", "study abort", "study approve", "study check", "study decline",
    "study enrol", "study list", "study propose", "study resume", "study show", "study watch", "study withdraw",
    "trace",
)  # fmt: skip
"""Commands that must refuse whatever is put in the place of a file. Others, newer, must only end well."""
FINE: Final = {
    ("align open", "question", "empty"),
    ("align open", "question", "a-device"),
    ("ledger verify", "path", "ledger.medfed"),
    ("ledger verify", "blobs", "a-directory"),
    ("node init", "ledger", "ledger.medfed"),
}
"""What a command takes besides the good value."""


class TooSlow(BaseException):
    """A command that should have refused its input went on."""


def _leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _leaves(found, (*path, name))
    else:
        yield " ".join(path), command


COMMANDS: Final = dict(_leaves(cli))
INPUTS: Final = [
    (name, parameter.name or "")
    for name, command in COMMANDS.items()
    for parameter in command.params
    if isinstance(parameter.type, click.Path)
    and parameter.name not in OUTPUT_NAMES
    and (name, parameter.name) not in OUTPUTS
    and (parameter.name in GOOD or (name, parameter.name) in OF_COMMAND)
]
each_input = pytest.mark.parametrize(("command", "parameter"), INPUTS, ids=lambda value: value.replace(" ", "-"))


def test_the_good_values_of_most_parameters_are_known() -> None:
    """A new command need not be known here at once; but most must be, or this tries nothing."""
    assert set(STRICT) <= set(COMMANDS)
    unknown = [
        (name, parameter.name)
        for name, command in COMMANDS.items()
        for parameter in command.params
        if isinstance(parameter.type, click.Path)
        and parameter.name not in OUTPUT_NAMES | GOOD.keys()
        and (name, parameter.name) not in OUTPUTS
    ]
    assert len(unknown) <= len(INPUTS) / 4, f"add to GOOD, or to OUTPUTS: {unknown}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sites, a ledger with a proposed study, and a good file of every kind."""
    place = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDFED_PASSPHRASE", PASSPHRASE)
        patch.chdir(place)
        for name in ("north", "south", "west", "organiser"):
            _run("keys", "create", place / name, "--name", name)
        _run("consortium", "init", "--ledger", "ledger.db", "--name", "test", "--hospital", "north",
             "--hospital", "south", "--hospital", "west", "--organiser", "organiser")  # fmt: skip
        plan = small_plan(("north", "south", "west"))
        Path("plan.toml").write_text(format_plan(plan))
        _run("study", "propose", "plan.toml", "--ledger", "ledger.db", "--site", "organiser")
        _run("ledger", "export", "--ledger", "ledger.db", "ledger.medfed")
        save_model(Path("model.safetensors"), model())
        table = patients(NAMES[0])
        rows = [list(table.columns), *zip(*table.columns.values(), strict=True)]
        Path("patients.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
        Path("story.ndjson").write_bytes(b"\n".join(orjson.dumps(one) for one in STORY))
        Path("question.json").write_bytes(orjson.dumps(QUESTION))
        Path("words.vocabulary").write_bytes(VOCABULARY.encode())
        Path("mapping.toml").write_bytes(MAPPING)
        Path("tables").mkdir()
        Path("tables/stays.csv").write_bytes(STAYS)
        Path("tables/labs.csv").write_bytes(LABS)
        Path("blobs").mkdir()
        _run("records", "import", "north", "story.ndjson")
        _run("diagnose", "north", "question.json")
        _run("records", "vocabulary", "north", "drafted.vocabulary")
    return place


def _run(*arguments: object) -> int:
    """The exit code of a command in this process."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlow(" ".join(map(ascii, arguments)))  # a report goes from process to process as UTF-8

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as left:
        return int(left.code or 0)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    raise AssertionError("the program did not exit")


def _arguments(command: str, parameter: str, value: object) -> list[str]:
    """A whole command with good values but for one parameter."""
    made = command.split()
    for one in COMMANDS[command].params:
        name = one.name or ""
        if not (one.required or name == parameter) or name == "data":
            continue
        if name == parameter:
            given = str(value)
        elif command == "records import" and parameter == "mapping" and name == "files":
            given = "tables"
        else:
            given = str(OF_COMMAND.get((command, name), GOOD.get(name, "1")))
        made += [one.opts[-1], given] if isinstance(one, click.Option) else [given]
    if any(one.name == "data" for one in COMMANDS[command].params):
        made += [part for name in NAMES for part in ("--data", f"{name}=patients.csv")]
    return made + FLAGS.get(command, [])


def _directory(path: Path) -> None:
    path.mkdir()
    (path / "x").write_bytes(b"x")


BAD: Final[dict[str, Callable[[Path], object]]] = {
    "absent": lambda path: None,
    "empty": lambda path: path.write_bytes(b""),
    "binary": lambda path: path.write_bytes(random.Random(1).randbytes(4_000)),
    "zeros": lambda path: path.write_bytes(bytes(4_096)),
    "text": lambda path: path.write_text("no such thing\n"),
    "nested": lambda path: path.write_text("[" * 100_000),
    "tables-nested": lambda path: path.write_text("a" + ".a" * 20_000 + " = 1\n"),
    "large-number": lambda path: path.write_text("version = " + "9" * 5_000 + "\n"),
    "utf-16": lambda path: path.write_bytes("version = 1\n".encode("utf-16")),
    "a-directory": _directory,
    "a-link-to-nothing": lambda path: path.symlink_to("nothing-here"),
    "a-link-to-itself": lambda path: path.symlink_to(path.name),
    "a-device": lambda path: path.symlink_to("/dev/null"),
    "huge": lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 1 << 27),
}
OTHERS: Final = (
    "plan.toml", "ledger.db", "ledger.medfed", "model.safetensors", "patients.csv", "story.ndjson", "words.vocabulary",
    "north/keys/site.key", "organiser/vault.db", "north/library.db",
)  # fmt: skip
NO_FILE: Final = {"absent", "a-directory", "a-link-to-nothing", "a-link-to-itself"}


@each_input
@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_is_none_is_refused(
    world: Path, command: str, parameter: str, kind: str,
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if (command, parameter, kind) in FINE:
        pytest.skip("this is what it takes")
    suffix = Path(str(OF_COMMAND.get((command, parameter), GOOD[parameter]))).suffix
    bad = tmp_path / f"bad{suffix}"
    BAD[kind](bad)
    _refuses(world, command, parameter, bad, capsys, monkeypatch, kind not in NO_FILE)


@each_input
@pytest.mark.parametrize("other", OTHERS)
def test_a_good_file_of_another_kind_is_refused(
    world: Path, command: str, parameter: str, other: str,
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    good = str(OF_COMMAND.get((command, parameter), GOOD[parameter]))
    if good == other or (command, parameter, other) in FINE:
        pytest.skip("this is what it takes")
    bad = tmp_path / f"bad{Path(good).suffix}"
    shutil.copy(world / other, bad)
    bad.chmod(0o600)
    _refuses(world, command, parameter, bad, capsys, monkeypatch, True)


def _refuses(
    world: Path, command: str, parameter: str, bad: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, is_file: bool,
) -> None:  # fmt: skip
    monkeypatch.chdir(world)
    monkeypatch.setenv("MEDFED_PASSPHRASE", PASSPHRASE)
    capsys.readouterr()
    before = _names(world), _names(bad.parent)
    code = _run(*_arguments(command, parameter, bad))
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    if code == 0 and (command not in STRICT or (is_file and (command, parameter) in EXPLAINED)):
        return
    assert code in (2, 3, 4, 5), (code, err)
    lines = err.splitlines()
    assert 1 <= len(lines) <= 40, lines
    assert all(len(line) < 2_000 for line in lines)
    assert any(line.startswith(("medfed: ", "Error: ")) for line in lines), err
    assert command not in STRICT or (_names(world), _names(bad.parent)) == before, "something was written"


def _names(folder: Path) -> dict[str, int]:
    """Every file with its size; what SQLite keeps beside an open file, and locks, do not count."""
    return {
        str(path.relative_to(folder)): 0 if path.suffix == ".db" or not path.is_file() else path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if not path.name.endswith(("-wal", "-shm", ".lock"))
    }
