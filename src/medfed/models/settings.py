"""What a plan says about a model and about training it at one hospital. Records only; no arrays, no learning."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from medfed.encoding import Record

__all__ = ["CoxModel", "LocalTraining", "MlpModel", "ModelSettings"]

PositiveFloat = Annotated[float, Meta(gt=0)]
NonNegativeFloat = Annotated[float, Meta(ge=0)]


class MlpModel(Record, tag_field="kind", tag="mlp"):
    """A fully connected network; no hidden layer makes it (multinomial) logistic regression."""

    hidden: tuple[Annotated[int, Meta(ge=1, le=4096)], ...] = ()
    activation: Literal["relu", "tanh"] = "relu"


class CoxModel(Record, tag_field="kind", tag="cox"):
    """A linear Cox proportional-hazards model (Breslow ties), its partial likelihood taken within each hospital."""


ModelSettings = MlpModel | CoxModel


class LocalTraining(Record):
    """One hospital's share of a training round. Exactly one of `steps` and `epochs` is positive."""

    steps: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    epochs: Annotated[int, Meta(ge=0, le=100_000)] = 0
    batch_size: Annotated[int, Meta(ge=0, le=1_000_000)] = 16
    """Examples a step; 0 means all of them."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: PositiveFloat = 0.02
    momentum: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    weight_decay: NonNegativeFloat = 0.0
    """L2 penalty: adds `weight_decay * w` to the gradient of weights, not of biases."""
    proximal: NonNegativeFloat = 0.0
    """FedProx's mu: adds `mu * (w - w_start)` to the gradient."""
