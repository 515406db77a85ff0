"""A short coverage-guided run of every decoder, always the same one. Skipped where atheris is not installed."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
RUNS = 300
PARTS = 6

needs_atheris = pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")


@needs_atheris
@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_no_input_that_coverage_leads_to_makes_a_decoder_fail(part: int) -> None:
    names = sorted(TARGETS)[part::PARTS]
    chosen = [word for name in names for word in ("--target", name)]
    command = [sys.executable, "-m", "tests.fuzz.guided", "--runs", str(RUNS), "--seed", "1", "--no-corpus", *chosen]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-6_000:]
    assert re.findall(r"^(\S+): \d+ runs, passed$", done.stdout, re.M) == names
