"""A consortium's own `torch.nn.Module` as a learner, for classes of pictures.

Its code runs only when something is computed, and only if it is what the plan approves; see `approved_code`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput
from medfed.models.approved_code import load_approved
from medfed.models.course import FIRST, Course
from medfed.models.dataset import Dataset, check_dataset
from medfed.models.losses import ClassificationTask, probabilities
from medfed.models.parameters import Parameters
from medfed.models.settings import LocalTraining, ModuleModel
from medfed.models.torch_detector import detector_parameters, load_into, seeded, torch_module
from medfed.models.torch_training import train_in_batches
from medfed.models.training import LocalResult

__all__ = ["ModuleLearner"]

Array = NDArray[Any]
_ROWS: Final = 64
"""Pictures looked at at once when the model answers."""


@dataclass(frozen=True, slots=True)
class ModuleLearner:
    """A module for pictures of `shape` (channels, side, side) and so many `outputs`, which it gives as logits."""

    model: ModuleModel
    task: ClassificationTask
    outputs: int
    shape: tuple[int, int, int]

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Each parameter's shape by name, in order. Runs the module's code."""
        return self.initial(0).shapes

    def initial(self, seed: int) -> Parameters:
        """As the module draws them from torch's generator started with `seed`.

        Raises:
            InvalidInput: it is no module, keeps statistics of batches, or has another number of parameters than the
                plan says. Refused: its code is not what was approved. Unavailable: torch is not installed.
        """
        return detector_parameters(self._built(seed))

    def train(
        self,
        start: Parameters,
        data: Dataset,
        settings: LocalTraining,
        rng: np.random.Generator,
        correction: Array | None = None,
        course: Course = FIRST,
    ) -> LocalResult:
        """As `train_in_batches`."""
        check_dataset(data, self.task, int(np.prod(self.shape)), self.outputs)
        module, functional, torch = self._built(0), torch_module("torch.nn.functional"), torch_module()
        augment = settings.picture_training

        def loss(chosen: NDArray[np.int64], drawn: np.random.Generator) -> Any:
            pictures = data.features[chosen].reshape(-1, *self.shape)
            for axis, wanted in ((3, augment.flip_sideways), (2, augment.flip_upside)):
                if wanted:
                    mirrored = drawn.random(len(pictures)) < 0.5
                    pictures[mirrored] = np.flip(pictures[mirrored], axis)
            logits, targets = self._logits(module, pictures), torch.from_numpy(data.targets[chosen])
            if self.task == "multiclass":
                return functional.cross_entropy(logits, targets)
            wide = targets.reshape(len(chosen), -1)
            losses = functional.binary_cross_entropy_with_logits(logits, wide, reduction="none")
            return losses.sum(dim=1).mean()

        return train_in_batches(module, loss, start, len(data), settings, rng, correction, course)

    def answers(self, parameters: Parameters, data: Dataset) -> Array:
        """`predict` of the pictures in `data`."""
        return self.predict(parameters, data.features)

    def predict(self, parameters: Parameters, features: Array) -> Array:
        """Probabilities, float64: binary `(n,)`, multiclass and multilabel `(n, k)`."""
        torch, module = torch_module(), self._built(0)
        load_into(module, parameters)
        module.eval()
        parts: list[Array] = [np.empty((0,) if self.task == "binary" else (0, self.outputs), np.float64)]
        for first in range(0, len(features), _ROWS):
            pictures = np.array(features[first : first + _ROWS], dtype=np.float32).reshape(-1, *self.shape)
            with torch.no_grad(), seeded(0):
                logits = self._logits(module, pictures).numpy().astype(np.float64)
            parts.append(probabilities(logits, self.task))
        return np.concatenate(parts)

    def loss(self, parameters: Parameters, data: Dataset) -> float:
        """Not counted for modules of one's own.

        Raises:
            InvalidInput: always.
        """
        raise InvalidInput("module: its loss is counted by the federated evaluation only")

    def gradient(self, parameters: Parameters, data: Dataset) -> NDArray[np.float64]:
        """Not for modules of one's own: they are trained batch by batch.

        Raises:
            InvalidInput: always.
        """
        raise InvalidInput("module: gradients over a whole dataset are for tables")

    def _built(self, seed: int) -> Any:
        factory = load_approved(self.model.path, self.model.source)
        torch = torch_module()
        try:
            with seeded(seed):
                module = factory(self.shape, self.outputs)
        except Exception as error:  # noqa: BLE001 - the code is somebody else's
            raise InvalidInput(f"module {self.model.path}: it cannot be made ({type(error).__name__})") from None
        if not isinstance(module, torch.nn.Module):
            raise InvalidInput(f"module {self.model.path}: it makes no torch.nn.Module")
        found = sum(value.numel() for value in module.parameters())
        if found != self.model.parameters:
            raise InvalidInput(f"module {self.model.path}: {found} parameters; the plan says {self.model.parameters}")
        return module

    def _logits(self, module: Any, pictures: NDArray[np.float32]) -> Any:
        logits = module(torch_module().from_numpy(pictures))
        if tuple(logits.shape) != (len(pictures), self.outputs):
            raise InvalidInput(f"module {self.model.path}: expected {self.outputs} logits for each picture")
        return logits
