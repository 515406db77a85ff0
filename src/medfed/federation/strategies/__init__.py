"""How the mean of the updates becomes the next model: one module a strategy, and the choice that a plan
names.

It must never learn from data: training is `medfed.models`, summing is `medfed.secure_sum`.
"""

from __future__ import annotations

from medfed.errors import InvalidInput
from medfed.federation.plan import Training
from medfed.federation.strategies.fedavg import FedAvg
from medfed.federation.strategies.fedavgm import FedAvgM
from medfed.federation.strategies.fedopt import FedOpt
from medfed.federation.strategies.memory import EMPTY, Memory
from medfed.federation.strategies.scaffold import Scaffold
from medfed.federation.strategies.strategy import Strategy

__all__ = ["EMPTY", "FedAvg", "FedAvgM", "FedOpt", "Memory", "Scaffold", "Strategy", "strategy_for"]


def strategy_for(training: Training) -> Strategy:
    """The strategy that a plan's training section names.

    Raises:
        InvalidInput: its settings contradict each other.
    """
    settings, local = training.strategy, training.local
    match settings.name:
        case "fedavg":
            return FedAvg(settings.rate)
        case "fedprox":
            if local.proximal <= 0:
                raise InvalidInput("training.local.proximal: fedprox expects a positive value, found 0")
            return FedAvg(settings.rate)
        case "fedavgm":
            return FedAvgM(settings.rate, settings.momentum)
        case "fedadagrad":
            return FedOpt(settings.rate, "adagrad", settings.beta1, settings.beta2, settings.tau)
        case "fedadam":
            return FedOpt(settings.rate, "adam", settings.beta1, settings.beta2, settings.tau)
        case "fedyogi":
            return FedOpt(settings.rate, "yogi", settings.beta1, settings.beta2, settings.tau)
        case "scaffold":
            if local.optimizer != "sgd" or local.momentum > 0:
                raise InvalidInput(
                    "training.local: scaffold expects plain sgd without momentum (its control variates are gradients)"
                )
            return Scaffold(settings.rate, local.learning_rate)
