"""A training that dies between two checkpoints and is started again ends in the very same parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from medfed.crypto import system_entropy
from medfed.errors import InvalidInput
from medfed.hospital.checkpoints import VaultCheckpoints
from medfed.hospital.vault import Vault
from medfed.models.course import Course
from medfed.models.parameters import Parameters
from medfed.models.settings import LocalTraining, PictureTraining
from medfed.models.torch_detector import detector_parameters, torch_module
from medfed.models.torch_training import one_cycle, train_in_batches
from medfed.models.training import CHECKPOINT_STEPS, LocalResult

pytestmark = pytest.mark.torch
torch: Any = torch_module()
STUDY, BASE, KEY = b"a study for test", bytes(32), bytes(range(32))
INPUTS: Any = torch.from_numpy(np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32))


class Killed(BaseException):
    """The process dies here."""


def _train(course: Course, optimizer: Any = "adamw", dies_at: int = -1, **settings: Any) -> LocalResult:
    module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1))
    rng = np.random.default_rng(1)
    arrays = {name: rng.normal(size=tuple(value.shape)) for name, value in module.named_parameters()}
    seen = 0

    def loss(chosen: Any, drawn: np.random.Generator) -> Any:
        nonlocal seen
        if seen == dies_at:
            raise Killed
        seen += 1
        noise = torch.from_numpy(drawn.normal(size=(len(chosen), 4)).astype(np.float32))
        return ((module(INPUTS[chosen] + noise) - 1) ** 2).mean()

    local = LocalTraining(
        epochs=5, batch_size=2, optimizer=optimizer, learning_rate=0.02, pictures=PictureTraining(), **settings
    )
    start = Parameters.from_arrays(arrays)
    return train_in_batches(module, loss, start, len(INPUTS), local, np.random.default_rng(2), None, course)


def _vault(path: Path) -> Vault:
    return Vault(path / "vault.db", KEY, system_entropy)


@pytest.mark.parametrize(("optimizer", "more"), [("adamw", {}), ("adam", {}), ("sgd", {"momentum": 0.9})])
def test_killed_at_any_batch_and_started_from_the_vault_it_is_the_training_that_never_died(
    tmp_path: Path, optimizer: str, more: dict[str, Any]
) -> None:
    whole = _train(Course(1, 3), optimizer, proximal=0.1, **more)
    for dies_at in (3, CHECKPOINT_STEPS, CHECKPOINT_STEPS + 7, 3 * CHECKPOINT_STEPS + 1):
        folder = tmp_path / f"{optimizer}{dies_at}"
        folder.mkdir()
        vault = _vault(folder)
        with pytest.raises(Killed):
            kept = VaultCheckpoints(vault, STUDY, 2, BASE)
            _train(Course(1, 3, checkpoints=kept), optimizer, dies_at, proximal=0.1, **more)
        vault.close()
        again = _vault(folder)
        kept = VaultCheckpoints(again, STUDY, 2, BASE)
        assert (kept.load() is not None) == (dies_at >= CHECKPOINT_STEPS)
        result = _train(Course(1, 3, checkpoints=kept), optimizer, proximal=0.1, **more)
        assert result.parameters == whole.parameters, dies_at
        assert result.kept == whole.kept
        again.close()


def test_a_checkpoint_of_another_round_or_another_start_is_not_taken(tmp_path: Path) -> None:
    vault = _vault(tmp_path)
    VaultCheckpoints(vault, STUDY, 2, BASE).save(b"the middle")
    assert VaultCheckpoints(vault, STUDY, 2, BASE).load() == b"the middle"
    assert VaultCheckpoints(vault, STUDY, 3, BASE).load() is None
    assert VaultCheckpoints(vault, STUDY, 2, bytes(31) + b"\1").load() is None
    assert VaultCheckpoints(vault, b"another study...", 2, BASE).load() is None
    vault.close()


def test_what_the_optimizer_kept_goes_into_the_next_round_and_belongs_to_its_model() -> None:
    first = _train(Course(0, 3))
    assert first.kept
    fresh, warm = _train(Course(1, 3)), _train(Course(1, 3, first.kept))
    assert warm.parameters != fresh.parameters
    with pytest.raises(InvalidInput, match="another model"):
        other = torch.nn.Linear(4, 1)
        start = detector_parameters(other)
        local = LocalTraining(epochs=1, optimizer="adamw")
        train_in_batches(other, lambda chosen, drawn: other(INPUTS[chosen]).mean(), start, 4, local,
                         np.random.default_rng(0), None, Course(1, 3, first.kept))  # fmt: skip


def test_the_rate_goes_up_for_three_tenths_and_down_to_almost_nothing_as_torchs_does() -> None:
    value = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([value], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=101)
    for step in range(101):
        expected = schedule.get_last_lr()[0]
        assert one_cycle(2e-3, step, 101) == pytest.approx(expected, rel=1e-6, abs=1e-12)
        optimizer.step()
        if step < 100:
            schedule.step()
