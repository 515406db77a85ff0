"""A detector as a learner: what a plan with boxes for a target trains, round by round.

Torch is imported when something is computed, never before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput
from medfed.models.course import FIRST, Course
from medfed.models.dataset import Dataset
from medfed.models.parameters import Parameters
from medfed.models.picture_dataset import pictures_in
from medfed.models.settings import DetectorModel, LocalTraining
from medfed.models.torch_detection import Detections, detect_each, detection_loss, detector_loss
from medfed.models.torch_detector import DetectorSettings, build_detector, detector_parameters
from medfed.models.torch_training import train_in_batches
from medfed.models.training import LocalResult

__all__ = ["DetectorLearner"]

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class DetectorLearner:
    """A detector of `classes` classes in pictures whose longer side is scaled to `side` pixels."""

    model: DetectorModel
    classes: int
    side: int

    @property
    def settings(self) -> DetectorSettings:
        """As the detector's builder wants it."""
        model = self.model
        return DetectorSettings(model.architecture, self.classes, self.side, model.channels, model.trainable)

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Each parameter's shape by name, in order."""
        return _shapes(self.settings)

    def initial(self, seed: int) -> Parameters:
        """Drawn by torch: the same bits wherever the same version of torch draws them."""
        return detector_parameters(build_detector(self.settings, seed))

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
        module, pictures = build_detector(self.settings, 0), pictures_in(data)
        augment = settings.picture_training
        loss = detector_loss(self.settings, module, pictures, (augment.flip_sideways, augment.flip_upside))
        return train_in_batches(module, loss, start, len(pictures), settings, rng, correction, course)

    def detections(self, parameters: Parameters, data: Dataset) -> Iterator[Detections]:
        """What the detector finds in each picture, best first; one picture after the other."""
        return detect_each(self.settings, parameters, (sample.pixels for sample in pictures_in(data).samples()))

    def answers(self, parameters: Parameters, data: Dataset) -> Array:
        """float64 (n, k): the best score of each class in each picture, 0 where it finds none."""
        best = np.zeros((len(data), self.classes))
        for row, found in enumerate(self.detections(parameters, data)):
            np.maximum.at(best[row], found.labels, found.scores)
        return best

    def predict(self, parameters: Parameters, features: Array) -> Array:
        """Never: a detector looks at pictures, not at columns.

        Raises:
            InvalidInput: always.
        """
        raise InvalidInput("detector: it finds boxes in pictures and predicts nothing from a table")

    def loss(self, parameters: Parameters, data: Dataset) -> float:
        """Mean loss over the pictures."""
        return detection_loss(self.settings, parameters, list(pictures_in(data).samples()))

    def gradient(self, parameters: Parameters, data: Dataset) -> NDArray[np.float64]:
        """Not for detectors: they are trained batch by batch.

        Raises:
            InvalidInput: always.
        """
        raise InvalidInput("detector: gradients over a whole dataset are for tables")


@lru_cache(maxsize=16)
def _shapes(settings: DetectorSettings) -> Mapping[str, tuple[int, ...]]:
    return detector_parameters(build_detector(settings, 0)).shapes
