"""No test here leaves a process behind, however it ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.processes import stop_all


@pytest.fixture(autouse=True)
def no_agent_outlives_its_test() -> Iterator[None]:
    yield
    stop_all()
