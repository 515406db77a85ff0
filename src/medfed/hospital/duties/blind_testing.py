"""Taking part in blind tests: revealing and ending what was asked, answering and opening what others ask.

A service's answer is in its vault before the commitment to it leaves, so that it says the same after a crash. This
module must never reveal codes before the service has committed to its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, Protocol

from medfed.errors import InvalidInput, Refused
from medfed.hospital.blind_service import diagnosing
from medfed.hospital.blind_testing import answer_test, answers_to_open, codes_to_reveal
from medfed.hospital.site import Site
from medfed.hospital.work import Me, Work
from medfed.ledger.contracts.blind_test import BlindTest, ExpireBlindTest, blind_test
from medfed.ledger.engine import StateView
from medfed.ledger.transaction import Body

__all__ = ["BLIND_TEST_DUTIES", "UNDECIDED_TESTS", "BlindTestDuty"]

UNDECIDED_TESTS: Final = ("open", "answered", "revealed")
RANK_DELAY_MS: Final = 2_000
START_GRACE_MS: Final = 1_000


class BlindTestDuty(Protocol):
    """One kind of duty in blind tests; otherwise as `work.Duty`."""

    name: ClassVar[str]
    is_atomic: ClassVar[bool]

    def due(self, test: BlindTest, me: Me) -> Sequence[Work]:
        """What is owed to a test now; pure."""
        ...

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Do it."""
        ...


class AnswerOpenTest:
    """Diagnose every case with the model that is offered, and commit to the answer."""

    name: ClassVar[str] = "answer-blind-test"
    is_atomic: ClassVar[bool] = False

    def due(self, test: BlindTest, me: Me) -> Sequence[Work]:
        """Due to the service, in time."""
        return _turn(self, test, me, "open", test.service)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Waits for the cases. What cannot be read is not looked at again: the test expires."""
        test = blind_test(view, work.study)
        unreadable = f"blind-test/unreadable/{work.study.hex()}"
        if test is None or site.vault.get(unreadable) is not None:
            return ()
        diagnose = diagnosing(site, test.model)
        try:
            return (
                answer_test(view, test, site.vault, site.blobs, site.keys.sealing_key, site.entropy, diagnose),
            )  # fmt: skip
        except InvalidInput as error:
            site.vault.put(unreadable, b"")
            raise Refused("unreadable", f"blind test {test.test.hex()[:12]} of {test.requester}: {error}") from None


class RevealOwnCodes:
    """Open the requester's commitment once the service has made its own."""

    name: ClassVar[str] = "reveal-codes"
    is_atomic: ClassVar[bool] = True

    def due(self, test: BlindTest, me: Me) -> Sequence[Work]:
        """Due to the requester, in time."""
        return _turn(self, test, me, "answered", test.requester)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Nothing where its person has stopped the test."""
        test = blind_test(view, work.study)
        found = codes_to_reveal(test, site.vault) if test is not None else None
        return () if found is None else (found,)


class OpenOwnAnswers:
    """Open the service's commitment once the requester has revealed."""

    name: ClassVar[str] = "open-answers"
    is_atomic: ClassVar[bool] = True

    def due(self, test: BlindTest, me: Me) -> Sequence[Work]:
        """Due to the service, in time."""
        return _turn(self, test, me, "revealed", test.service)

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """The same bytes as were committed to."""
        test = blind_test(view, work.study)
        found = answers_to_open(test, site.vault) if test is not None else None
        return () if found is None else (found,)


class ExpireOverdueTest:
    """Say that a deadline has passed; the requester first, then the service."""

    name: ClassVar[str] = "expire-blind-test"
    is_atomic: ClassVar[bool] = True

    def due(self, test: BlindTest, me: Me) -> Sequence[Work]:
        """Due to both sides once a deadline has passed and their turn has come."""
        if test.phase not in UNDECIDED_TESTS or me.name not in (test.requester, test.service):
            return ()
        rank = int(me.name == test.service)
        turn = max(test.deadline_ms, me.started_ms + START_GRACE_MS) + RANK_DELAY_MS * rank
        return (Work(self.name, test.test, detail=f"{test.deadline_ms}"),) if me.now_ms > turn else ()

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Say so; refused as too early, it is said again."""
        return (ExpireBlindTest(work.study),)


BLIND_TEST_DUTIES: Final[tuple[BlindTestDuty, ...]] = (
    AnswerOpenTest(),
    RevealOwnCodes(),
    OpenOwnAnswers(),
    ExpireOverdueTest(),
)


def _turn(duty: BlindTestDuty, test: BlindTest, me: Me, phase: str, who: str) -> Sequence[Work]:
    """The test's identifier stands where other works have a study's."""
    if test.phase != phase or me.name != who or me.now_ms > test.deadline_ms:
        return ()
    return (Work(duty.name, test.test, detail=phase),)
