"""Where the demo's time goes: wraps what the parts call while it measures, and puts everything back."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from medfed.hospital import aggregation
from medfed.hospital.duties import confirming, updating
from medfed.ledger.engines.embedded import EmbeddedEngine

__all__ = ["Stopwatch"]


class Stopwatch:
    """Seconds by part. Parts never overlap: what a part spends inside another counts for the inner one only."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {"training": 0.0, "encryption": 0.0, "ledger": 0.0}
        self._inner = 0.0

    @contextmanager
    def measuring(self) -> Generator[None]:
        """Measure training (with statistics and evaluation), masking and escrow, and the ledger's engine."""
        places: list[tuple[Any, str, str]] = [
            (updating, "contribution", "training"),
            (updating, "mask_update", "encryption"),
            (updating, "encode_vector", "encryption"),
            (aggregation, "unmask_sum", "encryption"),
            (confirming, "make_escrow", "encryption"),
            (EmbeddedEngine, "submit", "ledger"),
            (EmbeddedEngine, "view", "ledger"),
        ]
        originals = [(place, name, getattr(place, name)) for place, name, _ in places]
        for place, name, part in places:
            setattr(place, name, self._timed(getattr(place, name), part))
        try:
            yield
        finally:
            for place, name, original in originals:
                setattr(place, name, original)

    def _timed(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            outer, self._inner = self._inner, 0.0
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.perf_counter() - start
                self.seconds[part] += spent - self._inner
                self._inner = outer + spent

        return run
