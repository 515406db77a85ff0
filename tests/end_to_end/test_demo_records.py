"""`medfed demo records` on the eICU demo set: the whole loop by separate agents, within a minute."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

EICU = Path(__file__).parents[3] / "shared" / "data" / "eicu_demo"
MEDFED = [sys.executable, "-m", "medfed"]
pytestmark = pytest.mark.slow


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*MEDFED, *arguments], cwd=cwd, capture_output=True, text=True, timeout=300)


def people_at_several_sites() -> int:
    sites: defaultdict[str, set[int]] = defaultdict(set)
    with (EICU / "patient.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            sites[row["uniquepid"]].add(int(row["hospitalid"]) % 4)
    return sum(len(found) > 1 for found in sites.values())


@pytest.mark.skipif(not EICU.is_dir(), reason="the eICU demo set is not here")
def test_the_whole_loop_on_real_records(tmp_path: Path) -> None:
    done = run("demo", "records", "--data", str(EICU), "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["patients"]["shared"] == people_at_several_sites()
    assert facts["signatures"]["shared"] > 0
    for name in facts["stays"]:
        shared, entries = facts["signatures"]["sites"][name]
        assert 0 < shared < entries
        assert 0 < facts["first"]["examples"][name] < facts["again"]["examples"][name]
    patients = facts["consultation"]["patients"]
    assert patients
    for row in patients:
        assert row["found_after"]
        assert not row["found_before"]
        assert row["case"]
    assert facts["first"]["model"] != facts["again"]["model"]
    root = tmp_path / "medfed-records-demo"
    checked = run("ledger", "verify", "ledger.db", cwd=root)
    assert checked.returncode == 0, checked.stderr
    kept = b"".join(
        path.read_bytes() for path in [root / "ledger.db", *(root / "ledger.db.blobs").rglob("*")] if path.is_file()
    )
    for name in facts["stays"]:
        for line in (root / "sites" / name / "people.csv").read_text().splitlines()[1:]:
            assert line.split(",")[0].encode() not in kept


def test_another_folder_is_one_clear_line(tmp_path: Path) -> None:
    done = run("demo", "records", "--data", ".", cwd=tmp_path)
    assert done.returncode == 2
    assert "expected the CSV files of the eICU demo set" in done.stderr
    assert "Traceback" not in done.stderr
