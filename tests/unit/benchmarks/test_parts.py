from __future__ import annotations

import inspect

import pytest
from benchmarks.parts import CALLS, Parts
from benchmarks.workload import synthetic_plan, synthetic_tables

from medfed.demo.stopwatch import CALLS as DEMO_CALLS
from medfed.hospital import aggregation, computing, noisy_update, progress, vault
from medfed.hospital.duties import choosing, confirming, encrypting, joining, keying, revealing, sealing, updating
from medfed.hospital.duties.encrypting import SubmitEncryptedUpdate
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


def test_everything_cryptographic_that_a_study_calls_is_counted_also_in_the_demo() -> None:
    """Or the share of encryption looks smaller than it is. A name is counted where it is looked up."""
    counted = {(place, name) for place, name, _ in DEMO_CALLS}
    assert counted <= {(place, name) for place, name, _ in CALLS}
    places = (
        aggregation, choosing, computing, confirming, encrypting, joining, keying, noisy_update, progress, revealing,
        sealing, updating, vault,
    )  # fmt: skip
    views = {"encode_update", "decode_update", "mask_sign", "sealed_length", "is_available", "envelope_size"}  # no work
    inside = {
        (updating, "pair_seed"),  # only called by attempt_seed, which is counted where it is used
        (encrypting, "encrypt_vector"),  # by SubmitEncryptedUpdate._encrypted
        (encrypting, "seal_envelope"),
    }
    assert {(updating, "attempt_seed"), (SubmitEncryptedUpdate, "_encrypted")} <= counted
    lacking = [
        (place.__name__, name)
        for place in places
        for name, value in vars(place).items()
        if inspect.isfunction(value)
        and value.__module__.startswith(("medfed.crypto", "medfed.secure_sum", "medfed.homomorphic"))
        and (place, name) not in counted | inside
        and name not in views
    ]
    assert lacking == []
