"""The linear Cox proportional-hazards model: Breslow's partial likelihood within one hospital's examples.

`score = features @ coefficients`; a higher score means an earlier event. The loss is the negative log partial
likelihood divided by the number of examples (censored ones included), so a batch without an event has loss and
gradient 0. Risk sets never cross hospitals: that would tell one hospital another's times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medfed.errors import InvalidInput
from medfed.models.batches import draw_batches
from medfed.models.concordance import concordance_counts
from medfed.models.course import FIRST, Course
from medfed.models.dataset import Dataset, check_dataset, check_features
from medfed.models.optimizers import Penalties
from medfed.models.parameters import Parameters
from medfed.models.settings import LocalTraining
from medfed.models.training import MAX_REPORTED, LocalResult, check_correction, descend

__all__ = ["Cox", "RiskSets", "concordance_counts", "partial_likelihood"]

Array = npt.NDArray[Any]
Float64Array = npt.NDArray[np.float64]


class RiskSets:
    """Who was at risk when, for `n` examples in order of falling time: risk sets are prefixes of that order."""

    def __init__(self, time: Array, event: Array) -> None:
        """`time` and `event`, both `(n,)`; an event is marked by 1, a censoring by 0."""
        later = -time
        self._order = np.argsort(later, kind="stable")
        ordered = later[self._order]
        self._is_event = event[self._order] > 0
        self._first = np.searchsorted(ordered, ordered, side="left")
        self._last = np.searchsorted(ordered, ordered, side="right") - 1

    def likelihood(self, scores: Array) -> tuple[float, Float64Array]:
        """The negative log partial likelihood with Breslow's ties, and its gradient by `scores`, float64 `(n,)`.

        Breslow, "Covariance analysis of censored survival data" (1974). Computed on a log scale throughout, so that
        scores of any size neither overflow nor lose a risk set.
        """
        ordered = scores[self._order].astype(np.float64)
        is_event = self._is_event
        # The risk set of an example ends with the last one of the same time.
        log_risk = np.logaddexp.accumulate(ordered)[self._last]
        # An example is in the risk sets of all events at its time or before: from its tie group on.
        inverse = np.where(is_event, -log_risk, -np.inf)
        log_hazard = np.logaddexp.accumulate(inverse[::-1])[::-1][self._first]
        gradient = np.empty_like(ordered)
        gradient[self._order] = np.exp(ordered + log_hazard) - is_event
        return float((log_risk - ordered)[is_event].sum()), gradient


def partial_likelihood(scores: Array, time: Array, event: Array) -> tuple[float, Float64Array]:
    """The negative log partial likelihood of `scores` and its gradient by them; see `RiskSets`. O(n log n)."""
    return RiskSets(time, event).likelihood(scores)


@dataclass(frozen=True)
class Cox:
    """The learner of a `CoxModel`."""

    inputs: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The coefficients."""
        return {"coefficients": (self.inputs,)}

    def initial(self, seed: int) -> Parameters:
        """All coefficients 0, whatever the seed."""
        return Parameters.from_arrays({"coefficients": np.zeros(self.inputs, np.float32)})

    def train(
        self,
        start: Parameters,
        data: Dataset,
        settings: LocalTraining,
        rng: np.random.Generator,
        correction: Array | None = None,
        course: Course = FIRST,
    ) -> LocalResult:
        """Train from `start` on `data`; a mini-batch's risk sets are those within the batch, as in FLamby.

        Raises:
            InvalidInput: `start` or `data` does not fit, `data` is empty, or training diverged.
        """
        self._check(start, data)
        weights = start.flat.copy()
        gradient = np.empty_like(weights)

        gradient_of = _BatchGradient(weights, gradient)
        batches = draw_batches(data, settings, rng, lambda features: features, lambda targets: targets)
        checked = check_correction(correction, weights.size)
        penalties = Penalties(start.flat, np.ones(self.inputs, np.bool_), settings, checked)
        steps = descend(weights, gradient, gradient_of, batches, settings, penalties)
        parameters = start.with_flat(weights)
        return LocalResult(parameters, steps, len(data), self.loss(parameters, data.take(slice(MAX_REPORTED))))

    def answers(self, parameters: Parameters, data: Dataset) -> Array:
        """`predict` of the features of `data`."""
        return self.predict(parameters, data.features)

    def predict(self, parameters: Parameters, features: Array) -> Array:
        """Risk scores, float64 `(n,)`: the logarithm of the hazard relative to all features 0.

        Raises:
            InvalidInput: `parameters` or `features` does not fit.
        """
        self._check_parameters(parameters)
        check_features(features, self.inputs)
        return features.astype(np.float64) @ parameters.flat.astype(np.float64)

    def loss(self, parameters: Parameters, data: Dataset) -> float:
        """The negative log partial likelihood over `data`, divided by its number of examples.

        Raises:
            InvalidInput: `parameters` or `data` does not fit, or `data` is empty.
        """
        self._check(parameters, data)
        return self._likelihood(parameters, data)[0] / len(data)

    def gradient(self, parameters: Parameters, data: Dataset) -> Float64Array:
        """The gradient of `loss` by the coefficients, float64 `(inputs,)`.

        Raises:
            InvalidInput: as `loss`.
        """
        self._check(parameters, data)
        return self._likelihood(parameters, data)[1] @ data.features.astype(np.float64) / len(data)

    def _likelihood(self, parameters: Parameters, data: Dataset) -> tuple[float, Float64Array]:
        scores = self.predict(parameters, data.features)
        return partial_likelihood(scores, data.targets[:, 0], data.targets[:, 1])

    def _check_parameters(self, parameters: Parameters) -> None:
        if dict(parameters.shapes) != {"coefficients": (self.inputs,)}:
            raise InvalidInput(f"parameters: do not belong to a Cox model of {self.inputs} inputs")

    def _check(self, parameters: Parameters, data: Dataset) -> None:
        self._check_parameters(parameters)
        check_dataset(data, "survival", self.inputs, 1)
        if len(data) == 0:
            raise InvalidInput("dataset: has no example")


class _BatchGradient:
    """The gradient of a batch's mean loss; the risk sets are kept as long as the batch stays the same."""

    def __init__(self, weights: Array, gradient: Array) -> None:
        self._weights, self._gradient = weights, gradient
        self._targets: Array | None = None
        self._risk_sets = RiskSets(np.empty(0), np.empty(0))

    def __call__(self, features: Array, targets: Array) -> None:
        if targets is not self._targets:
            self._targets, self._risk_sets = targets, RiskSets(targets[:, 0], targets[:, 1])
        _, by_score = self._risk_sets.likelihood(np.dot(features, self._weights))
        by_score /= len(features)
        np.dot(by_score.astype(np.float32), features, self._gradient)
