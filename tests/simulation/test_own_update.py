"""What a hospital gives away as its own past update is what it has contributed: together they make the released sum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from tests.support.study import NAMES, STUDY, TestWorld, small_plan

from medfed.errors import InvalidInput
from medfed.federation.plan import StrategySettings
from medfed.federation.prepared import prepare
from medfed.federation.tables import table_from
from medfed.hospital.aggregation import manifest_of, unmasked_total, weight_of
from medfed.hospital.exchange_material import own_update, pack_update
from medfed.ledger.contracts.rounds import Round, round_record
from medfed.ledger.contracts.studies import Study, study_record
from medfed.secure_sum import encode_vector


def _finished(strategy: str) -> tuple[TestWorld, Study, list[Round]]:
    world = TestWorld.build(small_plan(NAMES, rounds=3, strategy=StrategySettings(strategy)))  # type: ignore[arg-type]
    world.propose()
    study = world.run()
    found = [round_record(world.engine.view(), STUDY, number) for number in range(study.next_round)]
    return world, study, [one for one in found if one is not None and one.kind == "training"]


@pytest.mark.parametrize("strategy", ["fedavg", "scaffold"])
def test_the_updates_of_all_survivors_add_up_to_what_the_round_released(strategy: str) -> None:
    """SCAFFOLD's depend on what each hospital remembers, which is made again round by round."""
    world, study, rounds = _finished(strategy)
    view, plan = world.engine.view(), world.plan
    assert len(rounds) == 3
    for current in rounds:
        manifest = manifest_of(view, plan, current)
        total = np.zeros(manifest.length, dtype=np.uint32)
        for name in current.survivors:
            values = own_update(world.agents[name].site, view, STUDY, current.number)
            total += encode_vector(manifest, values, weight_of(view, study, name), len(study.roster))[0]
        assert np.array_equal(total, unmasked_total(view, study, plan, current, world.blobs))


def test_an_update_is_packed_once_and_no_update_is_made_of_other_data_or_of_no_training_round(tmp_path: Path) -> None:
    world, _, rounds = _finished("fedavg")
    view, site = world.engine.view(), world.agents["beta"].site
    packed = pack_update(site, view, STUDY, rounds[1].number, tmp_path)
    assert packed.stat().st_mode & 0o077 == 0
    arrays = safetensors.numpy.load_file(packed)
    assert arrays.keys() == own_update(site, view, STUDY, rounds[1].number).keys()
    for number in (0, 99):
        with pytest.raises(InvalidInput, match="no accepted update"):
            pack_update(site, view, STUDY, number, tmp_path)
    columns = {name: values[:-20] for name, values in world.tables["beta"].columns.items()}
    site._prepared[world.plan.digest] = prepare(world.plan, table_from(columns, name="beta"), site.keys.split_key)
    with pytest.raises(InvalidInput, match="not what it has enrolled with"):
        pack_update(site, view, STUDY, rounds[1].number, tmp_path)
    assert len(list((tmp_path / "offered").iterdir())) == 1
    assert study_record(view, STUDY) is not None
