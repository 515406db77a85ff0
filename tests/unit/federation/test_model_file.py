"""A released model's file: complete, repeatable, and refused when damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from medfed.demo.heart import COLUMNS, heart_plan, heart_table, heart_tables
from medfed.errors import InvalidInput, Unavailable
from medfed.federation.baselines import federate_plainly
from medfed.federation.model_file import Model, decode_model, encode_model, load_model, model_of, save_model
from medfed.federation.prepared import prepare
from medfed.federation.study import initial_state, learner_of


@pytest.fixture(scope="module")
def model() -> Model:
    plan = heart_plan()
    return model_of(plan, federate_plainly(plan, {n: prepare(plan, t, bytes(32)) for n, t in heart_tables().items()}))


def test_a_loaded_model_predicts_what_the_study_would(model: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "heart.safetensors", model)
    loaded = load_model(tmp_path / "heart.safetensors")
    table = heart_table("cleveland")
    prepared = prepare(model.plan, table, bytes(32))
    features = prepared.datasets(model.standardisation)["test"].features
    expected = learner_of(model.plan).predict(model.parameters, features)
    found = loaded.predict({name: table.columns[name] for name in COLUMNS[:-1]})
    np.testing.assert_array_equal(found[prepared.split == 2], expected)
    assert loaded.card == model.card


def test_the_card_says_what_was_measured_on_whom(model: Model) -> None:
    assert model.card.plan == model.plan.digest
    assert model.card.test is not None
    assert model.card.validation is not None
    assert 0 < model.card.aggregates <= model.plan.training.rounds
    assert model.card.hospitals == model.plan.participation.hospitals


def test_equal_models_have_equal_bytes_that_other_tools_can_read(model: Model) -> None:
    data = encode_model(model)
    assert data == encode_model(decode_model(data))
    arrays = safetensors.numpy.load(data)
    assert {name: array.shape for name, array in arrays.items()} == dict(model.parameters.shapes)


def test_one_patient_without_a_single_finding_still_gets_a_probability(model: Model) -> None:
    blank = {name: [None] for name in COLUMNS[:-1]}
    found = model.predict(blank)
    assert found.shape == (1,)
    assert 0 < found[0] < 1


def test_a_table_without_a_column_is_refused_by_name(model: Model) -> None:
    with pytest.raises(InvalidInput, match="thalach"):
        model.predict({name: [1.0] for name in COLUMNS if name != "thalach"})


def test_damage_anywhere_is_refused_or_changes_the_digest(model: Model) -> None:
    data = encode_model(model)
    for at in range(0, len(data), max(1, len(data) // 80)):
        damaged = data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]
        try:
            assert decode_model(damaged).digest != model.digest
        except InvalidInput:
            continue
    for size in (0, 7, 8, 100, len(data) - 1):
        with pytest.raises(InvalidInput):
            decode_model(data[:size])


def test_files_that_are_no_models_are_refused(model: Model, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="absent"):
        load_model(tmp_path / "absent")
    with pytest.raises(InvalidInput, match="metadata"):
        decode_model(safetensors.numpy.save({"w": np.zeros(2, dtype=np.float32)}))
    with pytest.raises(Unavailable):
        save_model(tmp_path / "no" / "such" / "folder", model)
    with pytest.raises(InvalidInput, match="statistics"):
        model_of(model.plan, initial_state(model.plan))
