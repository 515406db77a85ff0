"""A study over pictures by hospitals as separate processes, each killed where it hurts: the same model as without."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torchvision")
pytest.importorskip("PIL")

from tests.support.fault_point import KINDS, TIMES
from tests.support.picture_study import PLACES, classified_sets, picture_plan
from tests.support.processes import (
    APPROVE,
    CHEAP,
    LEDGER,
    PASSPHRASE,
    final_state,
    medfed,
    propose,
    run_with_deaths,
)

from medfed.crypto import system_entropy
from medfed.demo.heart import site_keys
from medfed.federation.baselines import federate_plainly
from medfed.federation.picture_table import load_picture_table
from medfed.federation.plan import BinaryTarget, Plan
from medfed.federation.plan_file import format_plan
from medfed.federation.prepared import prepare
from medfed.hospital.site_directory import create_site
from medfed.models.settings import SmallCnnModel

pytestmark = [pytest.mark.slow, pytest.mark.torch]
DEATHS = {"east": "after vault-put .*/checkpoint", "north": "before vector #", "west": "before blob"}
"""Where each hospital dies: in the middle of an epoch, with its training done and lost, before its update leaves."""


def _plan() -> Plan:
    return picture_plan(
        side=16,
        batch=1,
        epochs=4,
        rounds=1,
        model=SmallCnnModel(side=16, channels=3, filters=8, flip=True, shift=1),
        target=BinaryTarget("class", ("light",), ("dark",)),
        optimizer="adam",
        learning_rate=0.01,
        plain=True,
    )


def _consortium(root: Path, plan: Plan) -> Path:
    """Sites with keys and image sets; the plan is not proposed yet."""
    for name in PLACES:
        site = root / "sites" / name
        create_site(site, name, PASSPHRASE, cost=CHEAP, keys=site_keys(name, system_entropy))
        (site / "site.toml").write_text(f'[data]\nimages = "../../sets/{name}"\n{APPROVE}')
    create_site(root / "sites" / "organiser", "organiser", PASSPHRASE, cost=CHEAP)
    hospitals = [word for name in PLACES for word in ("--hospital", f"sites/{name}")]
    medfed(root, "consortium", "init", "--ledger", LEDGER, "--name", "x", *hospitals, "--organiser", "sites/organiser")
    (root / "plan.toml").write_text(format_plan(plan))
    return root


def _expected(root: Path, plan: Plan) -> bytes:
    """The digest of the same training without a ledger, without masks, without deaths, in one process."""
    tables = {name: load_picture_table(root / "sets" / name) for name in PLACES}
    keys = {name: site_keys(name, system_entropy).split_key for name in PLACES}
    return federate_plainly(plan, {name: prepare(plan, tables[name], keys[name]) for name in PLACES}).digest


def test_three_processes_that_are_killed_in_training_and_around_it_end_with_the_model_of_one_process(
    tmp_path: Path,
) -> None:
    plan = _plan()
    classified_sets(tmp_path / "sets")
    root = _consortium(tmp_path, plan)
    propose(root)
    died = run_with_deaths(root, {name: {TIMES: "1", KINDS: kinds} for name, kinds in DEATHS.items()})
    assert final_state(root) == ("completed", 0, _expected(root, plan))
    assert died["east"] == ["after vault-put study/#/checkpoint"]
    assert died["north"] == ["before vector #"]
    assert died["west"] == ["before blob"]
    medfed(root, "ledger", "verify", LEDGER, "--blobs", f"{LEDGER}.blobs")
