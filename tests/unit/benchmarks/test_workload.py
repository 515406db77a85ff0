from __future__ import annotations

import math

import numpy as np
import pytest
from benchmarks.growth_point import ledger_bytes
from benchmarks.ledger import Senders, consortium_of, hospital_keys
from benchmarks.secure_sum import masked_bytes
from benchmarks.workload import hidden_for, synthetic_plan, synthetic_tables

from medfed.federation.plan_rules import verify_plan
from medfed.federation.study import learner_of
from medfed.ledger.engines.memory import MemoryEngine
from medfed.ledger.verify import verify_ledger
from medfed.simulation.api import simulate
from medfed.simulation.clock import ManualClock


@pytest.mark.parametrize("parameters", [1_000, 10_000, 100_000, 1_000_000, 10_000_000])
def test_a_synthetic_plan_holds_together_and_has_about_the_parameters_asked_for(parameters: int) -> None:
    plan = synthetic_plan(4, 1, parameters)
    verify_plan(plan)
    size = sum(math.prod(shape) for shape in learner_of(plan).shapes.values())
    assert size == pytest.approx(parameters, rel=0.01)
    assert len(hidden_for(parameters)) <= 2


@pytest.mark.parametrize("hospitals", [3, 4, 10, 50])
def test_a_synthetic_plan_holds_together_for_any_number_of_hospitals(hospitals: int) -> None:
    plan = synthetic_plan(hospitals, 2, 1_000)
    verify_plan(plan)
    assert sorted(synthetic_tables(plan)) == sorted(plan.participation.hospitals)


def test_ledger_bytes_are_those_of_a_training_round_alone() -> None:
    once, twice = (
        ledger_bytes(simulate(plan, synthetic_tables(plan), progress=False).ledger.engine.blocks(), 4, rounds)
        for rounds in (1, 3)
        for plan in [synthetic_plan(4, rounds, 1_000)]
    )
    assert once == pytest.approx(twice, rel=0.01)
    assert 1_000 < once < 1_600


def test_a_cheap_ledger_is_valid_and_every_transaction_accepted() -> None:
    consortium = consortium_of(4)
    senders = Senders(MemoryEngine(consortium.genesis, ManualClock(), *consortium.sealers()), hospital_keys(consortium))
    for _ in range(3):
        senders.send(20)
    found, _ = verify_ledger(consortium.genesis, senders.engine.blocks(), consortium.genesis.digest)
    assert (found.transactions, found.refused, found.blocks) == (60, 0, 3)


def test_what_is_timed_as_the_client_is_four_bytes_an_element_and_new_masks_each_time() -> None:
    values = np.zeros(1_000, dtype=np.float32)
    first, second = masked_bytes(values, 4), masked_bytes(values, 4)
    assert len(first) == len(second) == 4_000
    assert bytes(first) != bytes(second)
