"""`medfed.simulate` as a data scientist uses it, and what it says of bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.support.study import NAMES, patients, small_plan

import medfed
from medfed.errors import InvalidInput, Tampered
from medfed.federation.plan_file import format_plan
from medfed.federation.tables import Table
from medfed.ledger.archive import read_archive
from medfed.ledger.verify import verify_ledger


def columns_of(table: Table) -> dict[str, list[object]]:
    return {name: list(cells) for name, cells in table.columns.items()}


def tables(names: tuple[str, ...] = NAMES) -> dict[str, Table]:
    return {name: patients(name) for name in names}


def test_from_tables_to_a_model_that_predicts(tmp_path: Path) -> None:
    study = medfed.simulate(small_plan(rounds=3), tables(), progress=False)
    assert study.study.phase == "completed"
    assert 0 <= study.metrics()["AUC"].value <= 1
    assert [row["round"] for row in study.history()] == [1, 2, 3, 4]
    probabilities = study.model.predict(columns_of(patients("beta")))
    assert probabilities.shape == (40,)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    assert set(study.rewards) == set(NAMES)
    assert study.ledger.verify().blocks > 10
    study.ledger.export(tmp_path / "ledger.medfed")
    genesis, blocks, tip = read_archive(tmp_path / "ledger.medfed")
    assert verify_ledger(genesis, blocks)[0].tip == tip


def test_a_plan_file_and_plain_dicts_will_do(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(format_plan(small_plan()))
    study = medfed.simulate(path, {name: columns_of(patients(name)) for name in NAMES}, progress=False)
    same = medfed.simulate(small_plan(), tables(), progress=False)
    assert study.state.digest == same.state.digest


def test_numpy_structured_arrays_will_do() -> None:
    arrays = {}
    for name in NAMES:
        table = patients(name)
        kinds = [("age", "f8"), ("dose", "f8"), ("ward", "U8"), ("ill", "i8")]
        rows = list(zip(*(table.columns[column] for column, _ in kinds), strict=True))
        arrays[name] = np.array(rows, dtype=kinds)
    assert (
        medfed.simulate(small_plan(), arrays, progress=False).state.digest
        == medfed.simulate(small_plan(), tables(), progress=False).state.digest
    )


def test_a_durable_simulation_gives_the_same_model_as_one_in_memory(tmp_path: Path) -> None:
    durable = medfed.simulate(small_plan(), tables(), directory=tmp_path / "run", progress=False)
    assert durable.state.digest == medfed.simulate(small_plan(), tables(), progress=False).state.digest
    assert (tmp_path / "run" / "ledger.db").is_file()


def test_progress_is_called_and_grows() -> None:
    seen: list[tuple[int, int, str]] = []
    medfed.simulate(small_plan(), tables(), progress=lambda done, total, phase: seen.append((done, total, phase)))
    assert seen[0][2] == "proposed"
    assert seen[-1][2] == "completed"
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)


def test_hospitals_that_plan_and_tables_do_not_share_are_named() -> None:
    given = tables(("alpha", "beta", "delta"))
    with pytest.raises(InvalidInput, match="no table for gamma"):
        medfed.simulate(small_plan(), given, progress=False)
    with pytest.raises(InvalidInput, match="the plan does not name omega"):
        medfed.simulate(small_plan(), tables((*NAMES, "omega")), progress=False)


def test_a_table_that_does_not_fit_is_named_with_hospital_and_column_and_no_value() -> None:
    broken = columns_of(patients("beta"))
    broken["age"][3] = "Mrs Miller"
    with pytest.raises(InvalidInput) as caught:
        medfed.simulate(small_plan(quorum=4), {**tables(), "beta": broken}, progress=False)
    assert "'age'" in str(caught.value)
    assert "beta" in str(caught.value)
    assert "Miller" not in str(caught.value)


def test_an_absent_hospital_is_survived_and_too_many_are_not() -> None:
    study = medfed.simulate(small_plan(rounds=3), tables(), away={"beta": medfed.Absence(1)}, progress=False)
    assert study.study.phase == "completed"


def test_the_comparison_judges_the_released_model_not_one_trained_with_everybody() -> None:
    study = medfed.simulate(small_plan(rounds=3), tables(), away={"beta": medfed.Absence(1)}, progress=False)
    present = [
        row for row in study.comparison() if row.model == "federated" and row.patients in ("alpha", "delta", "gamma")
    ]
    assert study.state.test is not None
    negative = [sum(cells) for cells in zip(*(row.evaluation.negative for row in present), strict=True)]
    assert tuple(negative) == study.state.test.negative


def test_a_tampered_ledger_does_not_verify() -> None:
    study = medfed.simulate(small_plan(), tables(), progress=False)
    blocks = list(study.ledger.engine.blocks())
    with pytest.raises(Tampered, match="block 3"):
        verify_ledger(study.ledger.engine.genesis, blocks[:2] + blocks[3:])


def test_importing_medfed_is_light_and_unknown_names_are_said() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        medfed.nonsense  # noqa: B018
    assert "simulate" in dir(medfed)
