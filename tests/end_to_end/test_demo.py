"""`medfed demo` as a newcomer runs it, killed and resumed, and with a hospital that dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

MEDFED = [sys.executable, "-m", "medfed"]


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*MEDFED, *arguments], cwd=cwd, capture_output=True, text=True, timeout=180)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    root = tmp_path_factory.mktemp("demo")
    done = run("demo", "--json", cwd=root)
    assert done.returncode == 0, done.stderr
    return root, json.loads(done.stdout)


class Page(HTMLParser):
    """Collects what must not be in a page that needs no network."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "line", "circle", "polyline", "polygon"):
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()


def test_the_report_is_one_well_formed_page_without_addresses(finished: tuple[Path, dict]) -> None:
    text = (finished[0] / "medfed-demo" / "report.html").read_text()
    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.addresses == []
    assert "http" not in text.replace("http-equiv", "")
    assert text.count("<svg") >= 6
    assert finished[1]["genesis"] in text
    assert "few records" in text


def test_the_facts_hold_together(finished: tuple[Path, dict]) -> None:
    facts = finished[1]
    assert facts["metrics"]["AUC"]["value"] > 0.8
    assert facts["verified"]["tip"]["block"] == facts["head"]["block"]
    assert set(facts["points"]) == {"cleveland", "hungary", "long-beach", "switzerland"}
    assert all(points > 0 for points in facts["points"].values())
    assert {row["model"] for row in facts["comparison"]} >= {"federated", "pooled", "cleveland"}
    assert facts["tampering"].startswith("block ")


def test_the_ledger_of_the_demo_verifies_with_the_printed_command(finished: tuple[Path, dict]) -> None:
    root, facts = finished
    ledger = "medfed-demo/ledger.db"
    done = run("ledger", "verify", ledger, "--blobs", f"{ledger}.blobs", "--genesis", facts["genesis"], cwd=root)
    assert done.returncode == 0, done.stderr
    assert "agreed result follows" in done.stdout
    other = run("ledger", "verify", ledger, "--genesis", "00" * 32, cwd=root)
    assert other.returncode == 5
    assert "genesis" in other.stderr


def test_no_secret_and_no_patient_is_in_plaintext_in_the_demo_directory(finished: tuple[Path, dict]) -> None:
    root = finished[0] / "medfed-demo"
    row = b"63.0,1.0,1.0,145.0,233.0"
    for path in root.rglob("*"):
        if path.is_file():
            assert row not in path.read_bytes(), path
    for name in ("cleveland", "hungary"):
        assert (root / "sites" / name / "keys" / "site.key").stat().st_mode & 0o077 == 0


def test_the_story_is_told_within_eighty_columns_or_as_commands(tmp_path: Path) -> None:
    done = run("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for words in ("Four hospitals, 920 patients", "federated", "pooled", "points", "ledger head", "block "):
        assert words in done.stdout
    long = [line for line in done.stdout.splitlines() if len(line.rstrip()) > 80]
    assert all("ledger verify" in line or "head" in line or "genesis" in line or "seconds" in line for line in long), (
        long
    )


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.8, 1.1, 1.4])
def test_a_demo_that_is_killed_resumes_to_the_same_model(
    after: float, tmp_path: Path, finished: tuple[Path, dict]
) -> None:
    process = subprocess.Popen([*MEDFED, "demo"], cwd=tmp_path, stdout=subprocess.DEVNULL)
    mark = tmp_path / "medfed-demo" / ".medfed-demo"
    while not mark.exists():
        time.sleep(0.01)
    time.sleep(after - 0.7)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = run("demo", "--resume", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == finished[1]["state"]


@pytest.mark.slow
def test_a_study_finishes_without_the_hospital_whose_process_is_killed(tmp_path: Path) -> None:
    done = run("demo", "--kill", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "kill -9" in done.stdout
    assert "hungary dies in round" in done.stdout
    shown = run("study", "list", "--ledger", "medfed-demo/ledger.db", "--json", cwd=tmp_path)
    assert json.loads(shown.stdout)[0]["phase"] == "completed"


def test_a_directory_that_is_not_a_demos_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "medfed-demo"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    done = run("demo", cwd=tmp_path)
    assert done.returncode == 3
    assert "not a demo's" in done.stderr
    assert (mine / "thesis.txt").read_text() == "years of work"
    assert run("demo", "--resume", "--output", "nowhere", cwd=tmp_path).returncode == 2
