"""A hospital gives its own past update to another: offered, asked for, granted and received while both agents run."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy
from msgspec.structs import replace
from tests.support.processes import LEDGER, finish, make_consortium, medfed, propose, start_agent

from medfed.demo.heart import FILES, heart_plan
from medfed.ledger.contracts.exchange import data_requests
from medfed.ledger.contracts.offered_data import offered_datasets
from medfed.ledger.contracts.rounds import round_record
from medfed.ledger.contracts.studies import studies, study_record
from medfed.ledger.store import reading

pytestmark = pytest.mark.slow
ON = ("--ledger", LEDGER)


def run(root: Path, site: str, *words: str, code: int = 0) -> Any:
    done = medfed(root, "exchange", *words, *ON, "--site", f"sites/{site}", "--json", code=code)
    return json.loads(done.stdout) if not code else done.stderr


def training_rounds(root: Path) -> list[int]:
    with reading(root / LEDGER) as store:
        view = store.view()
        record = study_record(view, studies(view)[0])
        assert record is not None
        found = [round_record(view, record.study, number) for number in range(record.next_round)]
    return [one.number for one in found if one is not None and one.kind == "training"]


def wait_for(root: Path, rows: Any, wanted: Any) -> Any:
    """The first of `rows` of the ledger for which `wanted` holds."""
    for _ in range(9_000):  # three minutes: a machine that runs other tests too is slow
        with reading(root / LEDGER) as store:
            found = [row for row in rows(store.view()) if wanted(row)]
        if found:
            return found[0]
        time.sleep(0.02)
    raise AssertionError("it does not come about")


def test_a_past_update_is_offered_asked_for_and_received_while_both_agents_run(tmp_path: Path) -> None:
    plan = heart_plan()
    plan = replace(plan, training=replace(plan.training, rounds=2))
    root = make_consortium(tmp_path, plan, auditor=True)
    study = propose(root)
    finish({name: start_agent(root, name) for name in FILES})
    last = training_rounds(root)[-1]
    wanted = ("offer", "--kind", "updates", "--study", study[:10], "--arbiter", "auditor", "--purpose", "research")
    assert "no accepted update of a training round 0" in run(root, "cleveland", *wanted, "--round", "0", code=2)
    assert "expected DATA, or" in run(root, "cleveland", *wanted, code=2)
    agents = {name: start_agent(root, name, until_complete=False) for name in ("cleveland", "hungary")}
    dataset = run(root, "cleveland", *wanted, "--round", str(last))["dataset"]
    offered = wait_for(root, offered_datasets, lambda row: row.dataset.hex() == dataset)
    assert (offered.kind, offered.owner) == ("updates", "cleveland")
    request = run(root, "hungary", "request", dataset, "--purpose", "research")["request"]
    wait_for(root, data_requests, lambda row: row.request.hex() == request)
    run(root, "cleveland", "decide", request, "--grant")
    wait_for(root, data_requests, lambda row: row.phase == "accepted")
    for agent in agents.values():
        agent.terminate()
    finish(agents)
    verified = run(root, "hungary", "verify", request)
    assert verified["outcome"] == "good"
    arrays = safetensors.numpy.load_file(root / verified["file"])
    assert arrays["update"].ndim == 1
    assert abs(arrays["update"]).max() > 0
    (kept,) = (root / "sites" / "cleveland" / "offered").iterdir()
    assert kept.stat().st_mode & 0o077 == 0
    assert kept.read_bytes() == (root / verified["file"]).read_bytes()
