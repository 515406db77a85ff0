"""What two participants have under way with each other: blind tests and data requests that concern this agent.

Read off the ledger once for each block, because looking for them walks the whole state. What has ended is cleared up
once: encrypted images and deliveries are deleted here, and a key that an arbiter has handed over is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

from medfed.hospital.duties.blind_testing import BLIND_TEST_DUTIES, UNDECIDED_TESTS
from medfed.hospital.duties.exchanging import REQUEST_DUTIES, UNDECIDED_REQUESTS, Matter, take_handed_over
from medfed.hospital.exchange_state import KeptDelivery, exchange_key
from medfed.hospital.site import Site
from medfed.hospital.vault import Vault
from medfed.hospital.work import Me, Performer, Work
from medfed.identifiers import Digest, Name
from medfed.ledger.contracts.blind_test import BlindTest, blind_test, blind_tests
from medfed.ledger.contracts.exchange import data_request, data_requests, delivery
from medfed.ledger.contracts.offered_data import OfferedDataset, offered_datasets
from medfed.ledger.engine import StateView
from medfed.ledger.state import Reader
from medfed.ledger.transaction import Body

__all__ = ["Dealings", "UnderWay", "all_dealings"]


class UnderWay(NamedTuple):
    """What concerns one participant."""

    tests: list[BlindTest]
    matters: list[Matter]
    ended: list[bytes]
    """Identifiers of tests and requests that have ended."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing awaits anybody."""
        return not self.tests and not self.matters


class ClearUp:
    """Delete what nobody needs any more of a test or a request that has ended."""

    name: ClassVar[str] = "clear-up"
    is_atomic: ClassVar[bool] = False

    def perform(self, work: Work, site: Site, view: StateView) -> Sequence[Body]:
        """Nothing goes on the ledger."""
        test, request = blind_test(view, work.study), data_request(view, work.study)
        if test is not None:
            for case in test.cases:
                site.blobs.delete(case)
        delivered = delivery(view, work.study) if request is not None else None
        made = site.vault.load(exchange_key("delivered", work.study), KeptDelivery)
        if made is not None:
            if delivered is None:  # encrypted, and the deadline passed before the ledger had it
                site.blobs.delete(made.body.blob)
            site.vault.delete(exchange_key("delivered", work.study))
        if request is not None and delivered is not None:
            if site.name == request.requester:
                take_handed_over(site, view, work.study)
            if site.name == request.requester or request.fault != "nobody":  # its requester still needs it
                site.blobs.delete(delivered.blob)
        site.vault.put(_cleared(work.study), b"")
        return ()


class Dealings:
    """What is due in one participant's dealings. What is cached here can be lost at any time."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._block: Digest | None = None
        self._found = UnderWay([], [], [])
        self._cleared: set[bytes] = set()

    def works(self, view: StateView, me: Me) -> Iterator[tuple[Performer, Work]]:
        """Every work that is due now, with its duty."""
        if self._block != view.tip.block:
            self._found = all_dealings(view, me.name)
            self._block = view.tip.block
        for test in self._found.tests:
            for duty in BLIND_TEST_DUTIES:
                for work in duty.due(test, me):
                    yield duty, work
        for matter in self._found.matters:
            for duty in REQUEST_DUTIES:
                for work in duty.due(matter, me):
                    yield duty, work
        for identifier in self._found.ended:
            if identifier in self._cleared:
                continue
            if self._vault.get(_cleared(identifier)) is None:
                yield ClearUp(), Work(ClearUp.name, identifier)
            else:
                self._cleared.add(identifier)


def all_dealings(reader: Reader, name: Name) -> UnderWay:
    """The blind tests and data requests that `name` is a side of, or arbiter."""
    tests = [test for test in blind_tests(reader) if name in (test.requester, test.service)]
    datasets: dict[Digest, OfferedDataset] = {one.dataset: one for one in offered_datasets(reader)}
    matters = [Matter(request, datasets[request.dataset]) for request in data_requests(reader)]
    mine = [
        matter
        for matter in matters
        if name in (matter.request.owner, matter.request.requester, matter.dataset.terms.arbiter)
    ]
    ended = [test.test for test in tests if test.phase not in UNDECIDED_TESTS]
    ended += [matter.request.request for matter in mine if matter.request.phase not in UNDECIDED_REQUESTS]
    return UnderWay(
        [test for test in tests if test.phase in UNDECIDED_TESTS],
        [matter for matter in mine if matter.request.phase in UNDECIDED_REQUESTS],
        ended,
    )


def _cleared(identifier: bytes) -> str:
    return f"cleared/{identifier.hex()}"
