from __future__ import annotations

import inspect

import pytest
from benchmarks.parts import CALLS, Parts
from benchmarks.workload import synthetic_plan, synthetic_tables

from medfed.hospital import aggregation, progress, vault
from medfed.hospital.duties import choosing, confirming, joining, keying, revealing, updating
from medfed.hospital.vault import Vault
from medfed.simulation.api import simulate


def test_what_is_inside_another_part_counts_once() -> None:
    now = iter([0.0, 1.0, 4.0, 10.0])
    parts = Parts(lambda: next(now))
    with parts.part("ledger"), parts.part("encryption"):
        pass
    assert parts.seconds["encryption"] == 3.0
    assert parts.seconds["ledger"] == 7.0


def test_measuring_changes_no_outcome_and_leaves_nothing_behind() -> None:
    plan = synthetic_plan(4, 1, 1_000)
    tables = synthetic_tables(plan)
    before = [getattr(place, name) for place, name, _ in CALLS] + [Vault.transaction]
    plain = simulate(plan, tables, progress=False)
    parts = Parts()
    with parts.measuring():
        measured = simulate(plan, tables, progress=False)
    assert measured.state.digest == plain.state.digest
    assert measured.ledger.view.tip.height == plain.ledger.view.tip.height
    assert min(parts.seconds.values()) > 0
    assert [getattr(place, name) for place, name, _ in CALLS] + [Vault.transaction] == before


def test_a_refused_vault_transaction_is_rolled_back_while_measured() -> None:
    vault = Vault(None, bytes(32), lambda size: bytes(size))
    with Parts().measuring(), pytest.raises(ValueError, match="no"), vault.transaction("work"):
        vault.put("key", b"value")
        raise ValueError("no")
    assert vault.get("key") is None
    vault.close()


def test_everything_cryptographic_that_a_masked_study_calls_is_counted() -> None:
    """Or the share of encryption looks smaller than it is. A name is counted where it is looked up."""
    counted = {(place, name) for place, name, _ in CALLS}
    places = (aggregation, choosing, confirming, joining, keying, progress, revealing, updating, vault)
    views = {"encode_update", "decode_update", "mask_sign"}  # no work: a view of bytes, a sign
    inside = {(updating, "pair_seed")}  # only called by attempt_seed, which is counted where it is used
    assert (updating, "attempt_seed") in counted
    lacking = [
        (place.__name__, name)
        for place in places
        for name, value in vars(place).items()
        if inspect.isfunction(value)
        and value.__module__.startswith(("medfed.crypto", "medfed.secure_sum"))
        and (place, name) not in counted | inside
        and name not in views
    ]
    assert lacking == []
