"""A released student behind a door: so many questions a user and hour, answers rounded.

Limits make a copy dearer and a probe coarser; they protect the owner's model, not the patients, whom the labelling
study's noise protects whatever is asked. Holds counts in memory only, and never what was asked.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput, Refused

__all__ = ["MOST_USERS", "PredictionService"]

MOST_USERS: Final = 10_000
_HOUR_MS: Final = 3_600_000
_MOST_DECIMALS: Final = 6


@dataclass
class PredictionService:
    """Answers about rows of features, within each user's limit."""

    predict: Callable[[NDArray[Any]], NDArray[Any]]
    """Features to probabilities."""
    clock: Callable[[], int]
    """Milliseconds."""
    per_hour: int = 100
    """Rows that one user may ask about in any hour."""
    decimals: int = 2
    _asked: OrderedDict[str, list[tuple[int, int]]] = field(
        default_factory=OrderedDict[str, list[tuple[int, int]]], repr=False
    )
    """By user, (when, how many rows), the last hour's only."""

    def __post_init__(self) -> None:
        if not 1 <= self.per_hour <= 1_000_000 or not 0 <= self.decimals <= _MOST_DECIMALS:
            raise InvalidInput(
                f"prediction service: expected 1 to 1,000,000 rows an hour and 0 to {_MOST_DECIMALS} decimals, found "
                f"{self.per_hour} and {self.decimals}"
            )

    def ask(self, user: str, features: NDArray[Any]) -> NDArray[np.float64]:
        """Rounded probabilities of the rows. Nothing is answered where the limit allows only some of them.

        Raises:
            InvalidInput: no user, no rows, or rows that the model cannot read; those are not counted.
            Refused: `rate-limit`, with the seconds to wait, or `too-many-users`.
        """
        if not user or len(user) > 100:
            raise InvalidInput("prediction service: expected a user's name of 1 to 100 characters")
        if features.ndim != 2 or not len(features):
            raise InvalidInput(f"prediction service: expected rows of features, found shape {features.shape}")
        now = self.clock()
        self._admit(user, len(features), now)
        answers = np.round(self.predict(features).astype(np.float64), self.decimals)
        self._asked.setdefault(user, []).append((now, len(features)))
        self._asked.move_to_end(user)
        return answers

    def left(self, user: str) -> int:
        """Rows that the user may still ask about now."""
        return self.per_hour - sum(count for _, count in self._recent(user, self.clock()))

    def _admit(self, user: str, count: int, now: int) -> None:
        if count > self.per_hour:
            raise Refused("rate-limit", f"{count} rows at once; {self.per_hour} an hour are allowed")
        recent = self._recent(user, now)
        used = sum(one for _, one in recent)
        for when, one in recent:
            if used + count <= self.per_hour:
                break
            used -= one
            if used + count <= self.per_hour:
                seconds = max(1, -(-(when + _HOUR_MS - now) // 1000))
                raise Refused("rate-limit", f"{self.per_hour} rows an hour are allowed; wait {seconds} seconds")
        if user not in self._asked and len(self._asked) >= MOST_USERS:
            self._forget_idle(now)
            if len(self._asked) >= MOST_USERS:
                raise Refused("too-many-users", f"{MOST_USERS} users have asked within an hour")

    def _recent(self, user: str, now: int) -> list[tuple[int, int]]:
        recent = [(when, count) for when, count in self._asked.get(user, []) if now - when < _HOUR_MS]
        if user in self._asked:
            self._asked[user] = recent
        return recent

    def _forget_idle(self, now: int) -> None:
        for user in list(self._asked):
            if not self._recent(user, now):
                del self._asked[user]
