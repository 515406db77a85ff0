"""Arrays to learn from: features and targets of one hospital, checked once when they come in.

A `Dataset` never holds a feature that is missing or infinite, and never says which patient a row is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medfed.errors import InvalidInput

__all__ = ["Dataset", "Task", "check_dataset", "check_features"]

Task = Literal["binary", "multiclass", "multilabel", "survival", "detection"]
Float32Array = npt.NDArray[np.float32]
Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False, slots=True)
class Dataset:
    """`n` examples. Both arrays are read-only.

    Raises:
        InvalidInput: lengths that differ, wrong dimensions, or a value that is missing or infinite.
    """

    features: Array
    """float32 `(n, d)`, finite. Other real dtypes are rounded to float32."""
    targets: Array
    """binary float32 `(n,)`; multiclass int64 `(n,)`; multilabel float32 `(n, k)`; survival float32 `(n, 2)`,
    each row (time, event); detection float32 `(n, k)`, boxes of each class."""

    def __post_init__(self) -> None:
        features = _finite_float32(self.features, "features")
        targets = self.targets
        if targets.dtype.kind in "iu" and targets.ndim == 1:
            targets = np.array(targets, dtype=np.int64)
        else:
            targets = _finite_float32(targets, "targets")
        if features.ndim != 2 or targets.ndim not in (1, 2):
            found = f"{features.shape} and {targets.shape}"
            raise InvalidInput(f"dataset: expected features (n, d) and targets (n,) or (n, k), found {found}")
        if len(features) != len(targets):
            raise InvalidInput(f"dataset: found {len(features)} rows of features, {len(targets)} of targets")
        _set(self, features, targets)

    def __len__(self) -> int:
        return len(self.features)

    def take(self, indices: Array | slice) -> Dataset:
        """The examples at `indices` (integers, a boolean mask or a slice), in that order.

        Raises:
            InvalidInput: an index is out of range.
        """
        try:
            return _unchecked(self.features[indices], self.targets[indices])
        except IndexError as error:
            raise InvalidInput(f"dataset of {len(self)} examples: {error}") from None

    @staticmethod
    def concatenate(parts: Sequence[Dataset]) -> Dataset:
        """All examples of `parts`, one part after the other.

        Raises:
            InvalidInput: no part, or parts that differ in width or kind of target.
        """
        kinds = {(part.features.shape[1:], part.targets.shape[1:], part.targets.dtype) for part in parts}
        if len(kinds) != 1:
            raise InvalidInput(f"dataset: expected parts of one shape and dtype, found {len(kinds)}")
        return parts[0].joined(parts[1:])

    def joined(self, others: Sequence[Dataset]) -> Dataset:
        """This part and `others`, which are of one shape and dtype, one after the other."""
        features = np.concatenate([part.features for part in (self, *others)])
        return _unchecked(features, np.concatenate([part.targets for part in (self, *others)]))


def check_dataset(data: Dataset, task: Task, inputs: int, outputs: int) -> None:
    """Check that `data` fits a model of `inputs` features and `outputs` outputs for `task`.

    Raises:
        InvalidInput: the width, the kind of target or a target's value is not what the task has.
    """
    n = len(data)
    expected = {
        "binary": (n,),
        "multiclass": (n,),
        "multilabel": (n, outputs),
        "survival": (n, 2),
        "detection": (n, outputs),
    }[task]
    if data.features.shape[1] != inputs:
        raise InvalidInput(f"dataset: expected {inputs} features, found {data.features.shape[1]}")
    if data.targets.shape != expected:
        raise InvalidInput(f"{task} targets: expected shape {expected}, found {data.targets.shape}")
    if (data.targets.dtype.kind == "i") != (task == "multiclass"):
        raise InvalidInput(f"{task} targets: found dtype {data.targets.dtype}")
    if not _in_range(data.targets, task, outputs):
        raise InvalidInput(f"{task} targets: a value is out of range")


def check_features(features: Array, inputs: int) -> None:
    """Check that `features` can be predicted from: finite real numbers, `(n, inputs)`.

    Raises:
        InvalidInput: they cannot.
    """
    if features.ndim != 2 or features.shape[1] != inputs or features.dtype.kind not in "fiub":
        found = f"{features.dtype} {features.shape}"
        raise InvalidInput(f"features: expected real numbers of shape (n, {inputs}), found {found}")
    if not np.isfinite(features).all():
        raise InvalidInput("features: expected finite values, found a NaN or an infinity")


def _in_range(targets: Array, task: Task, outputs: int) -> bool:
    if len(targets) == 0:
        return True
    if task == "multiclass":
        return bool(targets.min() >= 0 and targets.max() < outputs)
    if task == "detection":
        return bool(targets.min() >= 0)
    marks = targets[:, 1] if task == "survival" else targets
    in_time = task != "survival" or bool(targets[:, 0].min() >= 0)
    return in_time and bool(((marks == 0) | (marks == 1)).all())


def _finite_float32(array: Array, what: str) -> Float32Array:
    if array.dtype.kind not in "fiub":
        raise InvalidInput(f"{what}: expected real numbers, found dtype {array.dtype}")
    with np.errstate(over="ignore"):
        own = np.array(array, dtype=np.float32, order="C")
    if not np.isfinite(own).all():
        raise InvalidInput(f"{what}: expected finite float32 values, found a NaN or an infinity")
    return own


def _unchecked(features: Float32Array, targets: Array) -> Dataset:
    """A dataset of arrays that were checked already and that nobody else holds."""
    data = object.__new__(Dataset)
    _set(data, features, targets)
    return data


def _set(data: Dataset, features: Float32Array, targets: Array) -> None:
    features.flags.writeable = False
    targets.flags.writeable = False
    object.__setattr__(data, "features", features)
    object.__setattr__(data, "targets", targets)
