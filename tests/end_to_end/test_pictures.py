"""A study over pictures as hospitals run it: image sets in `site.toml`, agents as processes, one killed in an epoch."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

pytest.importorskip("torchvision")
pytest.importorskip("PIL")

from tests.support.picture_study import PLACES, drawn_sets, picture_plan
from tests.support.processes import (
    APPROVE,
    CHEAP,
    LEDGER,
    PASSPHRASE,
    final_state,
    finish,
    kill,
    medfed,
    propose,
    start_agent,
)

from medfed.crypto import SiteKeys, system_entropy
from medfed.federation.baselines import federate_plainly
from medfed.federation.picture_table import picture_table
from medfed.federation.plan import Plan
from medfed.federation.plan_file import format_plan
from medfed.federation.prepared import prepare
from medfed.hospital.site_directory import create_site

pytestmark = [pytest.mark.torch, pytest.mark.slow]
VICTIM = PLACES[1]


def _consortium(root: Path, plan: Plan) -> bytes:
    """Sites with image sets, a ledger and a plan; returns the digest that plain sums in one process lead to."""
    prepared = {}
    for name, images in drawn_sets(root / "pictures").items():
        keys = SiteKeys.generate(name, system_entropy)
        create_site(root / "sites" / name, name, PASSPHRASE, cost=CHEAP, keys=keys)
        (root / "sites" / name / "site.toml").write_text(f'[data]\nimages = "../../pictures/{name}"\n{APPROVE}')
        prepared[name] = prepare(plan, picture_table(images), keys.split_key)
    create_site(root / "sites" / "organiser", "organiser", PASSPHRASE, cost=CHEAP)
    hospitals = [word for name in PLACES for word in ("--hospital", f"sites/{name}")]
    init = ("consortium", "init", "--ledger", LEDGER, "--name", "shapes", *hospitals)
    medfed(root, *init, "--organiser", "sites/organiser")
    (root / "plan.toml").write_text(format_plan(plan))
    return federate_plainly(plan, prepared).digest


def _has_checkpoint(root: Path) -> bool:
    """Whether the victim's vault holds the middle of a round; a vault that is being made holds nothing."""
    path = root / "sites" / VICTIM / "vault.db"
    if not path.exists():
        return False
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as vault:
        (made,) = vault.execute("SELECT count(*) FROM sqlite_master WHERE name = 'entry'").fetchone()
        found = made and vault.execute("SELECT count(*) FROM entry WHERE key LIKE '%/checkpoint'").fetchone()[0]
    return bool(found)


def test_an_agent_that_is_killed_in_the_middle_of_an_epoch_goes_on_to_the_very_same_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    plan = picture_plan(rounds=1, epochs=6, batch=1)
    expected = _consortium(tmp_path, plan)
    propose(tmp_path)
    agents = {name: start_agent(tmp_path, name) for name in PLACES}
    limit = time.monotonic() + 120
    while not _has_checkpoint(tmp_path):
        assert time.monotonic() < limit, "no checkpoint was made"
        assert agents[VICTIM].poll() is None, agents[VICTIM].communicate()[0]
        time.sleep(0.05)
    kill(agents[VICTIM])
    agents[VICTIM] = start_agent(tmp_path, VICTIM)
    finish(agents)
    assert final_state(tmp_path) == ("completed", 0, expected)
    assert not _has_checkpoint(tmp_path)
    medfed(tmp_path, "ledger", "verify", LEDGER, "--blobs", f"{LEDGER}.blobs")
