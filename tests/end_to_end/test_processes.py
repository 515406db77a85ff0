"""Four hospitals' agents as separate processes on one embedded ledger, and one of them killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import medfed as medfed_package
from medfed.crypto import KeystoreCost, SiteKeys, system_entropy
from medfed.demo.heart import COLUMNS, FILES, heart_plan, heart_tables, site_keys
from medfed.errors import InvalidInput, Refused
from medfed.federation.baselines import federate_plainly
from medfed.federation.plan_file import format_plan
from medfed.federation.prepared import prepare
from medfed.hospital.aggregation import recompute_state
from medfed.hospital.site_directory import create_site, shared_blobs
from medfed.ledger.contracts.studies import studies, study_record
from medfed.ledger.engine import StateView
from medfed.ledger.store import LedgerStore

DATA = Path(__file__).parents[2] / "src" / "medfed" / "demo" / "data"
MEDFED = [sys.executable, "-m", "medfed"]
ENVIRONMENT = {**os.environ, "MEDFED_PASSPHRASE": "correct horse"}
CHEAP = KeystoreCost(passes=1, memory=8 << 20)


def medfed(root: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*MEDFED, *arguments], cwd=root, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, (arguments, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


def write_site_file(root: Path, name: str, more: str = '[[consent.rule]]\ndecision = "approve"\n') -> None:
    columns = ", ".join(f'"{column}"' for column in COLUMNS)
    text = f'[data]\nfile = "{DATA / FILES[name]}"\ncolumns = [{columns}]\n{more}'
    (root / "sites" / name / "site.toml").write_text(text)


@pytest.fixture
def consortium(tmp_path: Path) -> Path:
    """Sites with keys, a ledger and a proposed study."""
    keys: dict[str, SiteKeys] = {}
    for name in FILES:
        keys[name] = site_keys(name, system_entropy)
        create_site(tmp_path / "sites" / name, name, "correct horse", cost=CHEAP, keys=keys[name])
        write_site_file(tmp_path, name)
    create_site(tmp_path / "sites" / "organiser", "organiser", "correct horse", cost=CHEAP)
    hospitals = [word for name in FILES for word in ("--hospital", f"sites/{name}")]
    medfed(
        tmp_path, "consortium", "init", "--ledger", "heart.db", "--name", "heart", *hospitals, "--organiser",
        "sites/organiser",
    )  # fmt: skip
    (tmp_path / "plan.toml").write_text(format_plan(heart_plan()))
    return tmp_path


def propose(root: Path) -> str:
    done = medfed(root, "study", "propose", "plan.toml", "--ledger", "heart.db", "--site", "sites/organiser", "--json")
    return json.loads(done.stdout)["study"]


def start_agent(root: Path, name: str) -> subprocess.Popen[str]:
    command = [*MEDFED, "agent", "run", "--ledger", "heart.db", "--site", f"sites/{name}", "--until-complete"]
    return subprocess.Popen(
        [*command, "--poll", "0.02"], cwd=root, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip


def final_digest(root: Path) -> tuple[str, bytes]:
    store = LedgerStore.open(root / "heart.db", read_only=True)
    state, tip = store.load_state()
    view = StateView(store.genesis, state, tip)
    from medfed.blobs import DirectoryBlobs

    study = study_record(view, studies(view)[0])
    assert study is not None
    digest = recompute_state(view, study.study, DirectoryBlobs(shared_blobs(root / "heart.db"))).digest
    store.close()
    assert digest == study.base
    return study.phase, digest


def expected_digest() -> bytes:
    plan = heart_plan()
    keys = {name: site_keys(name, system_entropy).split_key for name in FILES}
    prepared = {name: prepare(plan, table, keys[name]) for name, table in heart_tables().items()}
    return federate_plainly(plan, prepared).digest


def test_four_processes_end_with_the_model_of_one_process_bit_for_bit(consortium: Path) -> None:
    study = propose(consortium)
    agents = {name: start_agent(consortium, name) for name in FILES}
    for name, agent in agents.items():
        output, _ = agent.communicate(timeout=120)
        assert agent.returncode == 0, (name, output)
    assert final_digest(consortium) == ("completed", expected_digest())
    medfed(consortium, "model", "save", study, "--ledger", "heart.db", "heart.safetensors")
    card = json.loads(medfed(consortium, "model", "card", "heart.safetensors", "--json").stdout)
    assert card["card"]["state"] == expected_digest().hex()
    medfed(consortium, "ledger", "verify", "heart.db", "--blobs", "heart.db.blobs")
    points = json.loads(medfed(consortium, "rewards", "--ledger", "heart.db", "--json").stdout)["points"]
    assert all(points[name] > 0 for name in FILES)


@pytest.mark.slow
@pytest.mark.parametrize("height", [12, 30, 47])
def test_an_agent_that_is_killed_in_the_middle_and_restarted_changes_nothing(consortium: Path, height: int) -> None:
    propose(consortium)
    agents = {name: start_agent(consortium, name) for name in FILES}
    store = LedgerStore.open(consortium / "heart.db", read_only=True)
    while store.load_state()[1].height < height:
        time.sleep(0.005)
    store.close()
    agents["hungary"].send_signal(signal.SIGKILL)
    agents["hungary"].communicate()
    agents["hungary"] = start_agent(consortium, "hungary")
    for name, agent in agents.items():
        output, _ = agent.communicate(timeout=120)
        assert agent.returncode == 0, (name, output)
    assert final_digest(consortium) == ("completed", expected_digest())


def test_a_second_agent_on_the_same_site_is_refused(consortium: Path) -> None:
    propose(consortium)
    first = start_agent(consortium, "cleveland")
    lock = consortium / "sites" / "cleveland" / "agent.lock"
    while not lock.exists() or not lock.read_text().strip():
        time.sleep(0.02)
    second = medfed(
        consortium, "agent", "run", "--ledger", "heart.db", "--site", "sites/cleveland", "--until-complete", code=4
    )
    assert "another agent is running" in second.stderr
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=30)
    assert first.returncode == 0


def test_a_person_decides_while_the_agent_runs_and_the_agent_signs(consortium: Path) -> None:
    study = propose(consortium)
    for name in FILES:
        write_site_file(consortium, name, "")
    agent = start_agent(consortium, "cleveland")
    lock = consortium / "sites" / "cleveland" / "agent.lock"
    while not lock.exists() or not lock.read_text().strip():
        time.sleep(0.02)
    left = medfed(consortium, "study", "approve", study, "--ledger", "heart.db", "--site", "sites/cleveland")
    assert "left for the agent" in left.stderr
    done = medfed(consortium, "study", "approve", study[:6], "--ledger", "heart.db", "--site", "sites/hungary")
    assert "approved" in done.stdout
    again = medfed(consortium, "study", "approve", study, "--ledger", "heart.db", "--site", "sites/hungary", code=3)
    assert "already-answered" in again.stderr
    for _ in range(200):
        shown = json.loads(medfed(consortium, "study", "show", study, "--ledger", "heart.db", "--json").stdout)
        if shown["study"]["approved"] == ["cleveland", "hungary"]:
            break
        time.sleep(0.05)
    assert shown["study"]["approved"] == ["cleveland", "hungary"]
    agent.send_signal(signal.SIGTERM)
    agent.communicate(timeout=30)


def test_a_site_is_used_from_python(consortium: Path) -> None:
    study = propose(consortium)
    for name in FILES:
        write_site_file(consortium, name, "")
    handles = {}
    for name in FILES:
        site = medfed_package.Site.open(consortium / "sites" / name, consortium / "heart.db", "correct horse")
        assert site.name == name
        assert next(record.phase for record in site.studies()) in ("proposed", "enrolling")
        site.approve(study)
        handles[name] = site
    with pytest.raises(Refused, match=r"answered|proposed|enrolling"):
        handles["cleveland"].approve(study)
    threads = [threading.Thread(target=handles[name].run) for name in FILES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    model = handles["hungary"].model(study)
    assert model.card.state == expected_digest()
    with pytest.raises(InvalidInput, match="wrong passphrase"):
        medfed_package.Site.open(consortium / "sites" / "cleveland", consortium / "heart.db", "wrong")
