"""`medfed demo imaging` with one round of training: the whole first system by separate agents, on real pictures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

pytest.importorskip("torchvision")
pytest.importorskip("PIL")

from medfed.demo.imaging_place import CLINIC, HOSPITALS
from medfed.federation.model_file import load_model
from medfed.imaging.image_set import load_image_set

MEDFED = [sys.executable, "-m", "medfed"]
pytestmark = [pytest.mark.slow, pytest.mark.torch]


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*MEDFED, *arguments], cwd=cwd, capture_output=True, text=True, timeout=900)


def agents_in(root: Path) -> list[int]:
    """Processes whose command names a site of this directory."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"agent" in command and str(root).encode() in command:
                found.append(int(entry.name))
    return found


def test_the_first_system_runs_whole_on_real_pictures_after_a_run_that_was_killed(tmp_path: Path) -> None:
    root = tmp_path / "medfed-imaging-demo"
    killed = subprocess.Popen([*MEDFED, "demo", "imaging", "--rounds", "1", "--json"], cwd=tmp_path)
    while not (root / "clinic.log").exists():
        assert killed.poll() is None
        time.sleep(0.05)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    done = run("demo", "imaging", "--rounds", "1", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert agents_in(root) == []
    assert [facts["pictures"][name]["pictures"] for name in (*HOSPITALS, CLINIC)] == [56, 36, 24, 32]
    assert facts["updates"] == dict.fromkeys(HOSPITALS, 3)  # statistics, one of training, evaluation
    assert all(facts["points"][name] > 0 for name in HOSPITALS)
    good, strict = facts["blind_tests"]
    assert [good["service"], strict["service"]] == ["east", "west"]
    assert good["passed"] == (4 * (good["equal_codes"] - 1) > 3 * 24)
    assert (strict["phase"], strict["diagnosis"]) == ("failed", False)
    assert strict["equal_codes"] <= 12
    exchange = facts["exchange"]
    assert (exchange["phase"], exchange["pictures"]) == ("accepted", 56)
    with tarfile.open(tmp_path / exchange["file"]) as archive:
        delivered = {name for name in archive.getnames() if name.endswith(".png")}
    assert delivered == {picture.file for picture in load_image_set(root / "sites" / "east" / "pictures").pictures}
    assert load_model(root / "cells.safetensors").digest.hex() == facts["model"]
    page = (root / "report.html").read_text()
    for words in ("Blind assisted diagnosis", "FALSE", "A data request", facts["genesis"], "test pictures"):
        assert words in page
    assert page.count("data:image/png;base64,") == len(list((root / "boxes").glob("*.png"))) == 6
    assert page.count("patients") == 1  # not for their care
    ledger = "medfed-imaging-demo/ledger.db"
    checked = run("ledger", "verify", ledger, "--blobs", f"{ledger}.blobs", "--genesis", facts["genesis"], cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert "agreed result follows" in checked.stdout


def test_without_torch_it_is_one_clear_line(tmp_path: Path) -> None:
    code = (
        "import importlib.util as u; found = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'torch' else found(name, *rest)\n"
        "import sys; sys.argv = ['medfed', 'demo', 'imaging']\n"
        "from medfed.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 4, done.stderr
    assert done.stderr.strip() == "medfed: the imaging demo needs torch: install medfed[imaging,torch]"
    assert not (tmp_path / "medfed-imaging-demo").exists()
