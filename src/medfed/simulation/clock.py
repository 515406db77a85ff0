"""Time in a simulation: it stands still until somebody moves it."""

from __future__ import annotations

__all__ = ["ManualClock"]


class ManualClock:
    """Milliseconds that only `advance` changes."""

    def __init__(self, start_ms: int = 1_700_000_000_000) -> None:
        self.now_ms = start_ms

    def __call__(self) -> int:
        """The time."""
        return self.now_ms

    def advance(self, milliseconds: int) -> None:
        """Move on."""
        self.now_ms += milliseconds
