"""Hospitals as processes on one embedded ledger: directories with keys, agents to start and kill, and the right end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from tests.support.fault_point import DIE_AT

from medfed import Site
from medfed.blobs import DirectoryBlobs
from medfed.crypto import KeystoreCost, SiteKeys, system_entropy
from medfed.demo.heart import COLUMNS, FILES, heart_plan, heart_tables, site_keys
from medfed.federation.baselines import federate_plainly
from medfed.federation.plan import Plan
from medfed.federation.plan_file import format_plan
from medfed.federation.prepared import prepare
from medfed.hospital.aggregation import recompute_state
from medfed.hospital.site_directory import create_site, shared_blobs
from medfed.ledger.contracts.studies import studies, study_record
from medfed.ledger.store import reading

DATA = Path(__file__).parents[2] / "src" / "medfed" / "demo" / "data"
PASSPHRASE = "correct horse"
ENVIRONMENT = {**os.environ, "MEDFED_PASSPHRASE": PASSPHRASE}
CHEAP = KeystoreCost(passes=1, memory=8 << 20)
LEDGER = "heart.db"
MEDFED = (sys.executable, "-m", "medfed")
FAULTY_MEDFED = (sys.executable, str(Path(__file__).with_name("fault_point.py")))
"""The same command with the fault points of the environment."""
APPROVE = '[[consent.rule]]\ndecision = "approve"\n'
AGENT_SECONDS = 240
STARTED: list[subprocess.Popen[str]] = []
"""Every agent that this process has started, so that a test that fails leaves none behind."""


def medfed(root: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command and hold it against its exit code; no command may end in a traceback."""
    done = subprocess.run([*MEDFED, *arguments], cwd=root, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, (arguments, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


def write_site_file(root: Path, name: str, more: str = APPROVE) -> None:
    columns = ", ".join(f'"{column}"' for column in COLUMNS)
    text = f'[data]\nfile = "{DATA / FILES[name]}"\ncolumns = [{columns}]\n{more}'
    (root / "sites" / name / "site.toml").write_text(text)


def make_consortium(root: Path, plan: Plan | None = None, *, auditor: bool = False) -> Path:
    """Sites with keys, a ledger, and a plan that is not proposed yet."""
    for name in FILES:
        keys: SiteKeys = site_keys(name, system_entropy)
        create_site(root / "sites" / name, name, PASSPHRASE, cost=CHEAP, keys=keys)
        write_site_file(root, name)
    others = ("organiser", "auditor") if auditor else ("organiser",)
    for name in others:
        create_site(root / "sites" / name, name, PASSPHRASE, cost=CHEAP)
    founders = [word for name in FILES for word in ("--hospital", f"sites/{name}")]
    founders += [word for name in others for word in (f"--{name}", f"sites/{name}")]
    medfed(root, "consortium", "init", "--ledger", LEDGER, "--name", "heart", *founders)
    (root / "plan.toml").write_text(format_plan(plan or heart_plan()))
    return root


def propose(root: Path) -> str:
    done = medfed(root, "study", "propose", "plan.toml", "--ledger", LEDGER, "--site", "sites/organiser", "--json")
    return json.loads(done.stdout)["study"]


def start_agent(root: Path, name: str, *, until_complete: bool = True, **fault: str) -> subprocess.Popen[str]:
    """Start a hospital's agent; `fault` are the environment variables of `tests/support/fault_point.py`."""
    command = [*(FAULTY_MEDFED if fault else MEDFED), "agent", "run", "--ledger", LEDGER, "--site", f"sites/{name}"]
    agent = subprocess.Popen(
        [*command, *(["--until-complete"] if until_complete else []), "--poll", "0.02"],
        cwd=root, env={**ENVIRONMENT, **fault}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    STARTED.append(agent)
    return agent


def run_together(sites: Mapping[str, Site]) -> None:
    """Run the agents of these sites in this process, each in a thread, until nothing is due to any."""
    threads = [threading.Thread(target=site.run) for site in sites.values()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=AGENT_SECONDS)
    assert not any(thread.is_alive() for thread in threads)


def finish(agents: dict[str, subprocess.Popen[str]]) -> dict[str, str]:
    """Wait until every agent has ended well; returns what each printed."""
    printed: dict[str, str] = {}
    for name, agent in agents.items():
        printed[name], _ = agent.communicate(timeout=AGENT_SECONDS)
        assert agent.returncode == 0, (name, printed[name])
        assert "Traceback" not in printed[name], (name, printed[name])
    return printed


def run_with_deaths(root: Path, faults: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """Run an agent for each name to its end, started again whenever its faults have killed it; where each has died."""

    def start(name: str) -> subprocess.Popen[str]:
        return start_agent(root, name, until_complete=True, **{DIE_AT: str(root / f"died-{name}"), **faults[name]})

    agents = {name: start(name) for name in faults}
    while not all(agent.poll() == 0 for agent in agents.values()):
        for name, agent in agents.items():
            if agent.poll() == -signal.SIGKILL:
                agent.communicate()
                agents[name] = start(name)
            assert agent.returncode in (None, 0, -signal.SIGKILL), agent.communicate()[0]
        time.sleep(0.01)
    finish(agents)
    return {name: (root / f"died-{name}").read_text().splitlines() for name in agents}


def kill(agent: subprocess.Popen[str]) -> None:
    agent.send_signal(signal.SIGKILL)
    agent.communicate()


def stop_all() -> None:
    """Kill what a failed test has left running."""
    while STARTED:
        agent = STARTED.pop()
        if agent.poll() is None:
            kill(agent)


def tip_height(root: Path) -> int:
    with reading(root / LEDGER) as store:
        return store.view().tip.height


def phase(root: Path) -> str:
    """The phase of the one study, as the ledger file has it now."""
    with reading(root / LEDGER) as store:
        view = store.view()
    study = study_record(view, studies(view)[0])
    assert study is not None
    return study.phase


def final_state(root: Path) -> tuple[str, int, bytes]:
    """The study's phase, its pauses, and the digest of the model, recomputed from the blobs."""
    with reading(root / LEDGER) as store:
        view = store.view()
    study = study_record(view, studies(view)[0])
    assert study is not None
    digest = recompute_state(view, study.study, DirectoryBlobs(shared_blobs(root / LEDGER))).digest
    assert digest == study.base
    return study.phase, study.pauses, digest


def expected_digest(plan: Plan | None = None) -> bytes:
    """The digest that the same training has without a ledger, without a secure sum, in one process."""
    plan = plan or heart_plan()
    keys = {name: site_keys(name, system_entropy).split_key for name in FILES}
    prepared = {name: prepare(plan, table, keys[name]) for name, table in heart_tables().items()}
    return federate_plainly(plan, prepared).digest
