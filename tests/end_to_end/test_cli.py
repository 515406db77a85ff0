"""The command line: help, exit codes, one clear line for every kind of bad input."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.support.study import NAMES, patients, small_plan

from medfed.cli.main import cli, main
from medfed.federation.plan_file import format_plan

DATA = Path(__file__).parents[2] / "src" / "medfed" / "demo" / "data"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


@pytest.fixture
def study_files(tmp_path: Path) -> tuple[Path, list[str]]:
    plan = tmp_path / "plan.toml"
    plan.write_text(format_plan(small_plan()))
    arguments: list[str] = []
    for name in NAMES:
        table = patients(name)
        lines = [
            ",".join(table.columns),
            *(",".join(map(str, row)) for row in zip(*table.columns.values(), strict=True)),
        ]
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
        arguments += ["--data", f"{name}={tmp_path / f'{name}.csv'}"]
    return plan, arguments


def test_every_command_has_help() -> None:
    runner = CliRunner()
    for command in cli.list_commands(None):  # type: ignore[arg-type]
        done = runner.invoke(cli, [command, "--help"])
        assert done.exit_code == 0, (command, done.output)
        assert "Usage" in done.output


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    code = """
import sys
sys.argv = ["medfed", "--help"]
from medfed.cli.main import main
try:
    main()
except SystemExit:
    pass
heavy = {"numpy", "cryptography", "nacl", "rich", "msgspec"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_simulate_writes_what_it_is_asked_for(
    study_files: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, data = study_files
    report, model, ledger = tmp_path / "r.html", tmp_path / "m.safetensors", tmp_path / "l.medfed"
    code, out, err = run(
        capsys, "simulate", plan, *data, "--report", report, "--save-model", model, "--export-ledger", ledger, "--json"
    )
    assert code == 0, err
    facts = json.loads(out)
    assert "<svg" in report.read_text()
    code, out, _ = run(capsys, "ledger", "verify", ledger, "--genesis", facts["genesis"], "--json")
    assert code == 0
    assert json.loads(out)["verified"]["tip"]["block"] == facts["tip"]["block"]
    code, out, _ = run(capsys, "model", "predict", model, tmp_path / "alpha.csv")
    assert code == 0
    assert out.splitlines()[0] == "row,probability"
    assert len(out.splitlines()) == 41
    code, out, _ = run(capsys, "model", "card", model)
    assert "limits" in out
    code, _, err = run(capsys, "ledger", "export", "--ledger", ledger, tmp_path / "x")
    assert code == 2


def test_study_check_says_what_is_revealed(
    study_files: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "study", "check", study_files[0])
    assert code == 0
    assert "only sums" in out
    assert "quorum" in out


BAD_TABLES = {
    "not UTF-8": b"age,dose,ward,ill\n\xff\xfe,1,north,0\n",
    "missing column": b"age,dose,ill\n1,1,0\n",
    "ragged": b"age,dose,ward,ill\n1,1,north\n",
    "text for a number": b"age,dose,ward,ill\nabc,1,north,0\n",
    "infinity": b"age,dose,ward,ill\ninf,1,north,0\n",
    "no rows": b"age,dose,ward,ill\n",
    "empty": b"",
    "huge field": b"age,dose,ward,ill\n" + b"9" * 2_000_000 + b",1,north,0\n",
}


@pytest.mark.parametrize("what", BAD_TABLES)
def test_a_bad_table_is_one_clear_line_and_exit_2(
    what: str, study_files: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, data = study_files
    (tmp_path / "beta.csv").write_bytes(BAD_TABLES[what])
    code, out, err = run(capsys, "simulate", plan, *data)
    assert code == 2, err
    assert out == ""
    assert "beta" in err
    assert err.startswith("medfed: ")
    assert "Traceback" not in err
    assert "abc" not in err


def test_a_contradictory_plan_names_every_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = format_plan(small_plan()).replace("epochs = 0", "epochs = 2").replace("quorum = 3", "quorum = 9")
    (tmp_path / "plan.toml").write_text(text)
    code, _, err = run(capsys, "study", "check", tmp_path / "plan.toml")
    assert code == 2
    assert "training.local" in err
    assert "participation.quorum" in err


def test_ledger_files_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "ledger", "verify", tmp_path / "absent.db")
    assert (code, "no such file" in err) == (2, True)
    (tmp_path / "text.db").write_text("hello " * 1000)
    code, _, err = run(capsys, "ledger", "verify", tmp_path / "text.db")
    assert code == 2
    foreign = sqlite3.connect(tmp_path / "foreign.db")
    foreign.execute("CREATE TABLE t (x)")
    foreign.commit()
    foreign.close()
    code, _, err = run(capsys, "consortium", "show", "--ledger", tmp_path / "foreign.db")
    assert (code, "not a MedFed ledger" in err) == (2, True)


def test_a_wrong_passphrase_is_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDFED_PASSPHRASE", "right")
    assert run(capsys, "keys", "create", tmp_path / "site", "--name", "north")[0] == 0
    assert run(capsys, "keys", "create", tmp_path / "site", "--name", "north")[0] == 3
    assert run(capsys, "keys", "create", tmp_path / "other", "--name", "Not A Name")[0] == 2
    assert run(capsys, "keys", "show", tmp_path / "site")[0] == 0
    monkeypatch.setenv("MEDFED_PASSPHRASE", "wrong")
    code, _, err = run(
        capsys, "consortium", "init", "--ledger", tmp_path / "l.db", "--name", "c", "--hospital", tmp_path / "site"
    )
    assert (code, "wrong passphrase" in err) == (2, True)
    assert not (tmp_path / "l.db").exists()
    monkeypatch.setenv("MEDFED_PASSPHRASE", "right")
    monkeypatch.setenv("MEDFED_NEW_PASSPHRASE", "newer")
    assert run(capsys, "keys", "change-passphrase", tmp_path / "site")[0] == 0
    monkeypatch.setenv("MEDFED_PASSPHRASE", "newer")
    assert (
        run(
            capsys, "consortium", "init", "--ledger", tmp_path / "l.db", "--name", "c", "--hospital", tmp_path / "site"
        )[0]
        == 0
    )


def test_an_unwritable_place_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    os.environ["MEDFED_PASSPHRASE"] = "x"
    try:
        code, _, err = run(capsys, "keys", "create", tmp_path / "file" / "site", "--name", "north")
    finally:
        del os.environ["MEDFED_PASSPHRASE"]
    assert code in (2, 4)
    assert "Traceback" not in err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "completion", shell)
    assert code == 0
    assert "_MEDFED_COMPLETE" in out


def test_a_typo_is_exit_2_and_a_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "nonsense")[0] == 2
    assert run(capsys, "study", "check")[0] == 2
    code, out, _ = run(capsys, "--version")
    assert (code, "medfed" in out) == (0, True)


PLAN_OF_VOTES = ["pate", "plan", "--voters", "250", "--classes", "2", "--agreement", ".9", "--hospitals", "10"]


def test_pate_plan_says_what_a_budget_buys(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--mechanism", "laplace", "--gamma", ".02", "--epsilon", "2.81"]
    code, out, err = run(capsys, *PLAN_OF_VOTES, *options, "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert facts["proposal"]["noise"] == {"type": "laplace", "gamma": 200}
    assert facts["curve"][-1][0] == facts["proposal"]["queries"]
    code, out, err = run(capsys, *PLAN_OF_VOTES, *options)
    assert code == 0, err
    assert "discrete Laplace, γ 0.02" in out


@pytest.mark.parametrize(
    ("options", "expected", "named"),
    [
        (["--epsilon", "1", "--queries", "1000000"], 3, "ε"),
        (["--epsilon", ".5", "--queries", "1000"], 3, "voters are needed"),
        (["--epsilon", "1", "--gamma", ".1"], 2, "--sigma"),
        (["--epsilon", "1", "--sigma", "1.2345"], 2, "square root"),
        (["--epsilon", "-1"], 2, "budget"),
    ],
)
def test_pate_plan_refuses_what_cannot_work_in_one_line(
    options: list[str], expected: int, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, *PLAN_OF_VOTES, *options)
    assert code == expected
    assert named in err
    assert len(err.splitlines()) == 1
