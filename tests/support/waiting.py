"""Waiting for what other processes and threads bring about."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Look again and again; an assertion fails when it has not come about in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"it has not come about in {seconds:g} s"
        time.sleep(0.05)
