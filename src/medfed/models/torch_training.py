"""The loop that detectors and modules of one's own are trained by: one hospital's round.

Order and augmentation of a batch are drawn from the round's generator, the epoch and the batch alone, and what was
reached is handed to the checkpoints now and then, so a training that was killed goes on and ends in the same
parameters, bit for bit where torch computes the same way (one thread on a processor does). The optimizer's state stays
at the hospital.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Final

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from medfed.encoding import Record, decode, encode
from medfed.errors import InvalidInput
from medfed.models.course import Course
from medfed.models.parameters import Parameters
from medfed.models.settings import LocalTraining
from medfed.models.torch_detector import detector_parameters, load_into, seeded, torch_module
from medfed.models.training import CHECKPOINT_STEPS, LocalResult, check_correction

__all__ = ["BatchLoss", "one_cycle", "train_in_batches"]

_WARM_UP: Final = 0.3
_FIRST: Final = 1 / 25
_LAST: Final = 1 / 1e4

BatchLoss = Callable[[NDArray[np.int64], np.random.Generator], Any]
"""The loss of a batch, given by positions, as a torch scalar; augmentation is drawn from the generator."""


def one_cycle(peak: float, step: int, steps: int) -> float:
    """The rate of one cycle (Smith and Topin, 2018): up for three tenths of all `steps`, then down, along cosines."""
    last = max(steps - 1, 1)
    top, at = _WARM_UP * steps - 1, min(step, last)
    if at < top:
        return _between(peak * _FIRST, peak, at / top)
    top = max(top, 0.0)
    return _between(peak, peak * _FIRST * _LAST, (at - top) / (last - top))


def train_in_batches(
    module: Any,
    loss_of: BatchLoss,
    start: Parameters,
    examples: int,
    settings: LocalTraining,
    rng: np.random.Generator,
    correction: NDArray[Any] | None,
    course: Course,
) -> LocalResult:
    """Train for one round from `start`, or on from the middle of it.

    Args:
        module: the model; its own values do not matter.
        loss_of: the loss of a batch.
        start: the parameters that the round starts from.
        examples: how many this hospital has.
        settings: how.
        rng: of this hospital and round, in the same state whenever the round is started.
        correction: flat float32, joins every gradient; None for none.
        course: where the round stands.

    Raises:
        InvalidInput: no example, another model's parameters, or a loss that is not finite: training diverged.
    """
    if not examples:
        raise InvalidInput("local training: there is no example to train on")
    run = _Run(module, start, settings, check_correction(correction, start.flat.size), course)
    seed = int(rng.integers(2**31))
    batch = settings.batch_size or examples
    an_epoch = math.ceil(examples / batch)
    a_round = settings.steps or an_epoch * settings.epochs
    done, losses = run.restore(course), list[float]()
    for step in range(done, a_round):
        epoch, at = divmod(step, an_epoch)
        order = np.random.default_rng([seed, epoch]).permutation(examples)
        chosen = order[at * batch : (at + 1) * batch]
        drawn = np.random.default_rng([seed, epoch, at, 1])
        run.set_rate(course.index * a_round + step, a_round * course.rounds)
        with seeded(seed * 1_000_003 + step):
            losses.append(run.step(loss_of(chosen, drawn)))
        if (step + 1) % CHECKPOINT_STEPS == 0 and step + 1 < a_round:
            course.checkpoints.save(run.middle(step + 1))
    mean = float(np.mean(losses[-an_epoch:])) if losses else math.nan
    kept = encode(run.kept()) if settings.picture_training.keep_optimizer else b""
    return LocalResult(detector_parameters(module), a_round, examples, mean, kept)


class _Kept(Record):
    """An optimizer's state."""

    steps: Annotated[int, Meta(ge=0)]
    """Steps taken over all rounds."""
    first: bytes
    """`Parameters`: running means of gradients (adam) or the momentum (sgd); empty where there is none."""
    second: bytes
    """`Parameters`: running means of their squares (adam)."""


class _Middle(Record):
    """The middle of a round."""

    done: Annotated[int, Meta(ge=0)]
    """Batches of this round."""
    parameters: bytes
    kept: _Kept


class _Run:
    """A module with its optimizer in one round."""

    def __init__(
        self,
        module: Any,
        start: Parameters,
        settings: LocalTraining,
        correction: NDArray[np.float32] | None,
        course: Course,
    ) -> None:
        load_into(module, start)
        module.train()
        self._module, self._settings = module, settings
        self._trained = {name: value for name, value in module.named_parameters() if value.requires_grad}
        self._start = start if settings.proximal > 0 else None
        self._correction = start.with_flat(correction) if correction is not None else None
        self._optimizer = _optimizer(settings, list(self._trained.values()))
        self._steps = 0
        if course.kept and settings.picture_training.keep_optimizer:
            self._put_back(decode(course.kept, _Kept))

    def restore(self, course: Course) -> int:
        """Go to where the checkpoint was made; batches of the round that are done."""
        data = course.checkpoints.load()
        if data is None:
            return 0
        middle = decode(data, _Middle)
        load_into(self._module, Parameters.load(middle.parameters))
        self._put_back(middle.kept)
        return middle.done

    def set_rate(self, step: int, steps: int) -> None:
        """The learning rate of step `step` of all `steps` of the study."""
        settings = self._settings
        constant = settings.picture_training.schedule == "constant"
        rate = settings.learning_rate if constant else one_cycle(settings.learning_rate, step, steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate

    def step(self, loss: Any) -> float:
        """One step down; the loss."""
        torch = torch_module()
        if not bool(torch.isfinite(loss)):
            raise InvalidInput(f"local training diverged at step {self._steps}: lower the learning rate")
        self._optimizer.zero_grad()
        loss.backward()
        for name, value in self._trained.items():
            if value.grad is not None and self._start is not None:
                towards = torch.from_numpy(np.array(self._start[name]))
                value.grad.add_(value.detach() - towards, alpha=self._settings.proximal)
            if value.grad is not None and self._correction is not None:
                value.grad.add_(torch.from_numpy(np.array(self._correction[name])))
        torch.nn.utils.clip_grad_norm_(list(self._trained.values()), self._settings.picture_training.gradient_clip)
        self._optimizer.step()
        self._steps += 1
        return float(loss.detach())

    def middle(self, done: int) -> bytes:
        """What a checkpoint holds."""
        return encode(_Middle(done, detector_parameters(self._module).save(), self.kept()))

    def kept(self) -> _Kept:
        """The optimizer's state."""
        first, second = _FIELDS[self._settings.optimizer]
        return _Kept(self._steps, self._gathered(first), self._gathered(second))

    def _gathered(self, field: str) -> bytes:
        none = torch_module().zeros_like
        values = {
            name: self._optimizer.state.get(value, {}).get(field, none(value)) if field else None
            for name, value in self._trained.items()
        }
        known = {name: np.asarray(value.detach().numpy()) for name, value in values.items() if value is not None}
        return Parameters.from_arrays(known).save() if known else b""

    def _put_back(self, kept: _Kept) -> None:
        torch = torch_module()
        self._steps = kept.steps
        fields = _FIELDS[self._settings.optimizer]
        found = [Parameters.load(data) if data else None for data in (kept.first, kept.second)]
        for field, arrays in zip(fields, found, strict=True):
            if bool(field) != (arrays is not None) or (arrays is not None and list(arrays) != list(self._trained)):
                raise InvalidInput("local training: the kept state of the optimizer is that of another model")
        for name, value in self._trained.items():
            state = {
                field: torch.from_numpy(np.array(arrays[name]))
                for field, arrays in zip(fields, found, strict=True)
                if arrays is not None
            }
            if self._settings.optimizer != "sgd":
                state["step"] = torch.tensor(float(kept.steps))
            self._optimizer.state[value] = state


_FIELDS: Final = {"adamw": ("exp_avg", "exp_avg_sq"), "adam": ("exp_avg", "exp_avg_sq"), "sgd": ("momentum_buffer", "")}


def _optimizer(settings: LocalTraining, values: list[Any]) -> Any:
    optim = torch_module("torch.optim")
    groups = [
        {"params": [value for value in values if value.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [value for value in values if value.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimizer == "sgd":
        return optim.SGD(groups, lr=settings.learning_rate, momentum=settings.momentum)
    kind = optim.AdamW if settings.optimizer == "adamw" else optim.Adam
    return kind(groups, lr=settings.learning_rate, betas=(0.9, 0.999))


def _between(low: float, high: float, at: float) -> float:
    return low + (high - low) * (1 - math.cos(math.pi * at)) / 2
