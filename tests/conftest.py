"""For every test: nothing generated is timed, as machines that run other tests too are slow now and then.
And what failed is named in the very last lines, as a log's end is often all that is kept of it."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("untimed", settings.get_profile(settings.get_current_profile_name()), deadline=None)
settings.load_profile("untimed")


def pytest_unconfigure(config: pytest.Config) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        for outcome in ("failed", "error"):
            for report in reporter.stats.get(outcome, ()):
                print(f"{outcome}: {report.nodeid}")
