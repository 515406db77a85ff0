"""`kill -9` of real agents, at every fault point and at random moments: the final model is the same as without."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.support.fault_point import TIMES
from tests.support.processes import (
    LEDGER,
    expected_digest,
    final_state,
    finish,
    kill,
    make_consortium,
    medfed,
    phase,
    propose,
    run_with_deaths,
    start_agent,
)

from medfed.demo.heart import FILES

STUDIES = 10
KILLS = 20
LONGEST_BETWEEN = 0.5
"""Seconds between two kills; an agent is at work about 0.4 s after its start."""


def end_is_right(root: Path) -> None:
    assert final_state(root) == ("completed", 0, expected_digest())
    medfed(root, "ledger", "verify", LEDGER, "--blobs", f"{LEDGER}.blobs")


@pytest.mark.slow
def test_agents_that_are_killed_at_every_fault_point_end_with_the_same_model(tmp_path: Path) -> None:
    root = make_consortium(tmp_path)
    propose(root)
    deaths = run_with_deaths(root, {name: {TIMES: "2"} for name in FILES})
    end_is_right(root)
    for name in FILES:
        died = Counter(deaths[name])
        kinds = {kind.partition(" ")[2] for kind in died}
        assert {
            "work submit-update",
            "work reveal-seeds",
            "vector #",
            "blob",
            "submit",
            "append to the ledger",
        } <= kinds
        assert died.total() > 60, (name, died)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(STUDIES))
def test_agents_that_are_killed_at_random_moments_end_with_the_same_model(tmp_path: Path, seed: int) -> None:
    moments = random.Random(seed)
    root = make_consortium(tmp_path)
    propose(root)
    agents = {name: start_agent(root, name) for name in FILES}
    killed = 0
    while phase(root) != "completed":
        time.sleep(moments.uniform(0.0, LONGEST_BETWEEN))
        name = moments.choice(sorted(FILES))
        if agents[name].poll() is None and killed < KILLS:
            kill(agents[name])
            killed += 1
            agents[name] = start_agent(root, name)
    finish(agents)
    end_is_right(root)
    assert killed > KILLS // 2, "the study was over before it could be disturbed"
