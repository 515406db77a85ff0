"""Four hospitals' agents as separate processes on one embedded ledger, and one of them killed in the middle."""

from __future__ import annotations

import json
import signal
import threading
import time
from pathlib import Path

import pytest
from tests.support.processes import (
    expected_digest,
    final_state,
    finish,
    kill,
    make_consortium,
    medfed,
    propose,
    start_agent,
    tip_height,
    write_site_file,
)

import medfed as medfed_package
from medfed.demo.heart import FILES
from medfed.errors import InvalidInput, Refused


@pytest.fixture
def consortium(tmp_path: Path) -> Path:
    return make_consortium(tmp_path)


def test_four_processes_end_with_the_model_of_one_process_bit_for_bit(consortium: Path) -> None:
    study = propose(consortium)
    agents = {name: start_agent(consortium, name) for name in FILES}
    finish(agents)
    assert final_state(consortium) == ("completed", 0, expected_digest())
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
    while tip_height(consortium) < height:
        time.sleep(0.005)
    kill(agents["hungary"])
    agents["hungary"] = start_agent(consortium, "hungary")
    finish(agents)
    assert final_state(consortium) == ("completed", 0, expected_digest())


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
