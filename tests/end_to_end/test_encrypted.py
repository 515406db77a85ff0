"""Encrypted updates as a user meets them: the demo, the command line, office holders as processes of their own."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from medfed.cli.main import main
from medfed.homomorphic import is_available

pytestmark = pytest.mark.skipif(not is_available(), reason="needs TenSEAL")


def _demo(output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "medfed", "demo", "--output", str(output), *options]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ.copy(), check=False)


@pytest.mark.slow
def test_the_demo_runs_encrypted_with_the_masked_figures_and_says_who_adds_and_opens(tmp_path: Path) -> None:
    masked = json.loads(_demo(tmp_path / "masked", "--no-report", "--json").stdout)
    done = _demo(tmp_path / "encrypted", "--protection", "homomorphic", "--json")
    encrypted = json.loads(done.stdout)
    assert encrypted["metrics"] == masked["metrics"]
    page = (tmp_path / "encrypted" / "report.html").read_text(encoding="utf-8")
    assert "decrypted totals" in page
    assert "masked updates" not in page
    assert encrypted["bytes"]["updates"]["hungary"] > 10 * masked["bytes"]["updates"]["hungary"]


@pytest.mark.slow
def test_the_demo_survives_a_kill_with_office_holders_in_processes_of_their_own(tmp_path: Path) -> None:
    done = _demo(tmp_path / "demo", "--kill", "--protection", "homomorphic", "--no-report")
    assert done.returncode == 0, done.stderr
    assert "aggregator adds what it cannot read; key-holder opens the sum" in done.stdout
    assert "kill -9" in done.stdout
    assert "ended released" in done.stdout


def test_where_tenseal_is_absent_the_demo_says_so_in_one_line_and_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tenseal" else found(name))
    arguments = ["medfed", "demo", "--protection", "homomorphic", "--output", str(tmp_path / "demo")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 4
    assert not (tmp_path / "demo").exists()


def test_an_office_holders_vote_needs_a_study_with_offices(tmp_path: Path) -> None:
    from medfed.cli.study import study

    result = CliRunner().invoke(study, ["succeed", "--help"])
    assert result.exit_code == 0
    assert "follows LEAVES" in " ".join(result.output.split())


@pytest.mark.slow
def test_the_demo_runs_sealed_with_the_masked_figures_and_says_who_reads_updates(tmp_path: Path) -> None:
    masked = json.loads(_demo(tmp_path / "masked", "--no-report", "--json").stdout)
    sealed = json.loads(_demo(tmp_path / "sealed", "--protection", "sealed", "--json").stdout)
    assert sealed["metrics"] == masked["metrics"]
    page = (tmp_path / "sealed" / "report.html").read_text(encoding="utf-8")
    assert "published aggregates" in page
    assert "the aggregator has read every hospital" in page


@pytest.mark.slow
def test_the_sealed_demo_survives_a_kill_with_the_aggregator_in_a_process_of_its_own(tmp_path: Path) -> None:
    done = _demo(tmp_path / "demo", "--kill", "--protection", "sealed", "--no-report")
    assert done.returncode == 0, done.stderr
    assert "aggregator opens every update, checks it, and publishes what it makes of all" in done.stdout
    assert "ended released" in done.stdout
