"""What two participants have under way with each other: blind tests and data requests that concern this agent.

Read off the ledger once for each block, because looking for them walks the whole state.
"""

from __future__ import annotations

from collections.abc import Iterator

from medfed.hospital.duties.blind_testing import BLIND_TEST_DUTIES, UNDECIDED_TESTS, BlindTestDuty
from medfed.hospital.work import Me, Work
from medfed.identifiers import Digest, Name
from medfed.ledger.contracts.blind_test import BlindTest, blind_tests
from medfed.ledger.engine import StateView

__all__ = ["Dealings", "tests_under_way"]


class Dealings:
    """What is due in one participant's dealings. What is cached here can be lost at any time."""

    def __init__(self) -> None:
        self._block: Digest | None = None
        self._tests: list[BlindTest] = []

    def works(self, view: StateView, me: Me) -> Iterator[tuple[BlindTestDuty, Work]]:
        """Every work that is due now, with its duty."""
        if self._block != view.tip.block:
            self._tests = tests_under_way(view, me.name)
            self._block = view.tip.block
        for test in self._tests:
            for duty in BLIND_TEST_DUTIES:
                for work in duty.due(test, me):
                    yield duty, work


def tests_under_way(view: StateView, name: Name) -> list[BlindTest]:
    """The undecided blind tests in which `name` is one side."""
    return [
        test
        for test in blind_tests(view)
        if test.phase in UNDECIDED_TESTS and name in (test.requester, test.service)
    ]  # fmt: skip
