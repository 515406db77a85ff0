"""For every test: one thread for linear algebra, no time limits, and the names of what failed at the end.

Torch adds up in one order with one thread only, and tests compare bits; threads that wait for each other also make a
busy machine five times as slow. Nothing generated is timed, as machines that run other tests too are slow now and then.
What failed is named in the very last lines, as a log's end is often all that is kept of it.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when NumPy and torch are imported, which is later

settings.register_profile("untimed", settings.get_profile(settings.get_current_profile_name()), deadline=None)
settings.load_profile("untimed")


def pytest_unconfigure(config: pytest.Config) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        for outcome in ("failed", "error"):
            for report in reporter.stats.get(outcome, ()):
                print(f"{outcome}: {report.nodeid}")
