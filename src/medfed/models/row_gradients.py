"""The loss's gradient of each row by itself: what a patient's influence on a step is clipped by.

Logistic regressions in closed form, anything else row by row. Nothing here clips or adds noise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medfed.models.dataset import Dataset
from medfed.models.learner import Learner
from medfed.models.mlp import Mlp
from medfed.models.parameters import Parameters

__all__ = ["row_gradients"]

Array = npt.NDArray[Any]


def row_gradients(learner: Learner, parameters: Parameters, data: Dataset) -> npt.NDArray[np.float64]:
    """float64 (rows, size): for each row the gradient of its loss by the flat parameters.

    Raises:
        InvalidInput: as the learner's `gradient`.
    """
    if isinstance(learner, Mlp) and not learner.model.hidden and learner.task in ("binary", "multiclass"):
        return _linear(learner, parameters, data)
    rows = [learner.gradient(parameters, data.take(slice(at, at + 1))) for at in range(len(data))]
    return np.stack(rows) if rows else np.empty((0, parameters.flat.size))


def _linear(learner: Mlp, parameters: Parameters, data: Dataset) -> npt.NDArray[np.float64]:
    """(prediction - target) times (features, 1), weights `(in, out)` before the bias."""
    said: Array = learner.predict(parameters, data.features)
    if learner.task == "binary":
        residual = (said - data.targets)[:, np.newaxis]
    else:
        residual = said.copy()
        residual[np.arange(len(data)), data.targets] -= 1.0
    inputs = np.ones((len(data), learner.inputs + 1))
    inputs[:, :-1] = data.features
    return (inputs[:, :, np.newaxis] * residual[:, np.newaxis, :]).reshape(len(data), parameters.flat.size)
