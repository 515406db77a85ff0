"""`medfed pate` as people use it: plan, cases, run, audit, budget, serve; one clear line for what is wrong."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.labelling import TEN, labelling_plan, public_csv, rows, tables
from tests.support.study import small_plan

from medfed.cli.main import main
from medfed.federation.plan_file import format_plan


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


def _write(path: Path, table: dict[str, list[Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "plan.toml").write_text(format_plan(labelling_plan()))
    (tmp_path / "cases.csv").write_bytes(public_csv())
    data = [f"--data={name}={_write(tmp_path / f'{name}.csv', table)}" for name, table in tables().items()]
    outsiders = _write(tmp_path / "outsiders.csv", rows("elsewhere", 300))
    return {
        "directory": tmp_path,
        "plan": tmp_path / "plan.toml",
        "cases": tmp_path / "cases.csv",
        "data": data,
        "outsiders": outsiders,
    }


@pytest.fixture
def student(files: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> Path:
    path = files["directory"] / "student.safetensors"
    code, _, err = run(
        capsys, "pate", "run", files["plan"], *files["data"], "--cases", files["cases"], "--save-model", path
    )
    assert code == 0, err
    return path


def test_run_prints_what_was_labelled_and_spent_and_writes_what_it_is_asked_for(
    files: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    place = files["directory"]
    command = ["pate", "run", files["plan"], *files["data"], "--cases", files["cases"]]
    report, ledger = place / "r.html", place / "l.medfed"
    code, out, err = run(capsys, *command, "--report", report, "--export-ledger", ledger, "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert facts["spent"] == facts["budget"] == [40]
    assert len(facts["labels"]) == 40
    assert facts["card"]["student"]["mechanism"] == "laplace"
    page = report.read_text()
    assert "The privacy curve" in page
    assert "<svg" in page
    assert "40 of 40" in page
    code, out, _ = run(capsys, "ledger", "verify", ledger, "--genesis", facts["genesis"], "--json")
    assert code == 0
    code, out, err = run(capsys, *command)
    assert code == 0, err
    assert "40 of 40 public cases" in out
    assert "whatever the data" in out


def test_a_student_s_card_says_where_it_comes_from(student: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "model", "card", student)
    assert code == 0
    assert "50 voters" in out
    assert "never saw a patient" in " ".join(out.split())


def test_audit_shows_all_attacks(student: Path, files: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    members = files["directory"] / f"{TEN[0]}.csv"
    options = ["--members", members, "--outsiders", files["outsiders"], "--teachers", "5"]
    code, out, err = run(capsys, "pate", "audit", student, *options, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["members"] == 80
    assert found["outsiders"] == 300
    assert 0 <= found["membership_of_student"] <= 1
    assert found["questions"] == 150
    code, out, err = run(capsys, "pate", "audit", student, *options)
    assert code == 0, err
    assert "one leaked teacher" in out


def test_budget_shows_what_the_ledger_counted(files: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    place = files["directory"] / "run"
    command = ["pate", "run", files["plan"], *files["data"], "--cases", files["cases"], "--directory", place]
    code, _, err = run(capsys, *command)
    assert code == 0, err
    ledger = place / "ledger.db"
    _, out, _ = run(capsys, "study", "list", "--ledger", ledger, "--json")
    study = json.loads(out)[0]["study"]
    code, out, err = run(capsys, "pate", "budget", study, "--ledger", ledger, "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert (facts["spent"], facts["budget"]) == ([40], [40])
    assert facts["epsilon_of_spent"] == facts["epsilon_of_budget"] <= facts["epsilon_charged"]
    code, out, _ = run(capsys, "pate", "budget", study, "--ledger", ledger)
    assert "40 of 40 histograms" in out


def test_cases_are_checked_and_their_digest_printed(files: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "pate", "cases", files["plan"], files["cases"], "--json")
    assert code == 0
    assert json.loads(out)["named_by_plan"] is True
    ledger = files["directory"] / "some.db"
    code, _, _ = run(capsys, "pate", "cases", files["plan"], files["cases"], "--ledger", ledger)
    assert code == 0
    assert list((files["directory"] / "some.db.blobs").iterdir())
    other = files["directory"] / "other.csv"
    other.write_bytes(public_csv(50))
    code, out, err = run(capsys, "pate", "cases", files["plan"], other)
    assert code == 0
    assert "the plan names other cases" in err
    other.write_bytes(public_csv().replace(b"north", b"Jane Roe"))
    code, out, err = run(capsys, "pate", "cases", files["plan"], other)
    assert code == 3
    assert "none of the plan's values" in err
    assert "Jane" not in err


def test_serve_answers_line_by_line(
    student: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = '{"age": 50, "dose": 2, "ward": "north"}'
    lines = [
        f'{{"user": "ana", "rows": [{row}, {row}]}}',
        f'{{"user": "ana", "rows": [{row}, {row}]}}',
        '{"user": "ana", "rows": [{"age": 50}]}',
        "nonsense",
    ]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(lines).encode() + b"\n\xff\xfe\n[")))
    code, out, err = run(capsys, "pate", "serve", student, "--per-hour", "3", "--decimals", "1")
    assert code == 0, err
    first, second, third, fourth, *more = map(json.loads, out.splitlines())
    assert [one["code"] for one in more] == ["invalid-input"] * 2, "bytes that are no text end the service for nobody"
    assert len(first["probabilities"]) == 2
    assert all(round(value, 1) == value for value in first["probabilities"])
    assert second["code"] == "rate-limit"
    assert "dose" in third["error"]
    assert fourth["code"] == "invalid-input"


def test_a_plan_without_a_labelling_section_is_refused(
    files: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    other = files["directory"] / "other.toml"
    other.write_text(format_plan(small_plan()))
    code, _, err = run(capsys, "pate", "run", other, *files["data"], "--cases", files["cases"])
    assert code == 2
    assert "no section [labelling]" in err


def test_study_check_says_what_votes_reveal_and_cost(files: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "study", "check", files["plan"])
    assert code == 0
    words = " ".join(out.split())
    assert "how many of all hospitals' 50 teachers vote" in words
    assert "Whatever the data are, that costs a patient at most ε" in words
    assert "spare is 0" in " ".join(err.split())
