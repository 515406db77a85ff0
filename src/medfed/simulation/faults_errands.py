"""What people want of each other in a run: a blind test, or data. Each errand goes on from what vault and ledger say.

A person's program dies like an agent does, and the person tries again; so what is asked for twice must come about once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from medfed.errors import Refused
from medfed.hospital.blind_testing import earlier_test_of, open_blind_test
from medfed.hospital.data_exchange import deliver_file
from medfed.hospital.exchange_state import KeptDelivery, KeptOffer, exchange_key, offer_file
from medfed.hospital.requests import request
from medfed.identifiers import Digest
from medfed.ledger.contracts.blind_test import blind_test, is_offered
from medfed.ledger.contracts.exchange import DataRequest, DecideRequest, RequestData, data_request
from medfed.ledger.contracts.membership import participant
from medfed.ledger.contracts.offered_data import ExchangeTerms, OfferedDataset, offered_dataset
from medfed.ledger.engine import StateView
from medfed.simulation.consortium import seeded_site_entropy
from medfed.simulation.faults_dealing_site import DealingSite
from medfed.simulation.faults_dealings import (
    ARBITER,
    DIAGNOSED,
    LABELS,
    OWNER,
    REQUESTER,
    THRESHOLD,
    DealingCast,
    Trick,
    case_of,
    truth_of,
)

__all__ = ["BlindErrand", "DataErrand"]

_OFFERED: Final = "exchange/offered/"


class BlindErrand:
    """The requester wants to know what its undiagnosed case is."""

    def __init__(self, cast: DealingCast, number: int, model: Digest) -> None:
        self.number = number
        self.test: bytes | None = None
        """Once it is in the requester's vault."""
        self._cast, self._model = cast, model
        self._diagnosed = [case_of(number, at) for at in range(1, 3 * DIAGNOSED)]

    def act(self, view: StateView, sites: dict[str, DealingSite]) -> None:
        """Open the test, once the service offers its model."""
        site = sites[REQUESTER].agent.site
        self.test = earlier_test_of(site.vault, OWNER, case_of(self.number, 0))
        if self.test is not None or not is_offered(view, OWNER, self._model):
            return  # perhaps opened by a program that died before it could say so
        body = open_blind_test(
            view=view,
            me=site.name,
            vault=site.vault,
            blobs=site.blobs,
            entropy=site.entropy,
            service=OWNER,
            model=self._model,
            diagnosed=[(case, truth_of(case.data)) for case in self._diagnosed],
            undiagnosed=case_of(self.number, 0),
            candidates=LABELS,
            count=DIAGNOSED,
            threshold=THRESHOLD,
            phase_ms=self._cast.phase_ms,
        )
        self.test = body.test

    def is_done(self, view: StateView) -> bool:
        """Whether it has come to an end on the ledger."""
        found = blind_test(view, self.test) if self.test is not None else None
        return found is not None and found.phase in ("passed", "failed", "expired")


class DataErrand:
    """The requester wants a file of the owner's."""

    def __init__(self, cast: DealingCast, number: int, folder: Path) -> None:
        self.number = number
        self.trick: Trick = cast.requests[number]
        self.request = seeded_site_entropy(cast.seed, REQUESTER, f"request {number}")(16)
        self.file = folder / f"offered-{number}"
        self.data = seeded_site_entropy(cast.seed, OWNER, f"data {number}")(700 + 90 * number)
        self.file.write_bytes(self.data)
        self._other = folder / f"other-{number}"
        self._other.write_bytes(bytes(reversed(self.data)))
        self._terms = ExchangeTerms(ARBITER, ("research",), cast.phase_ms)

    def act(self, view: StateView, sites: dict[str, DealingSite]) -> None:
        """One step of it: offer, ask, grant."""
        owner, requester = sites[OWNER].agent.site, sites[REQUESTER].agent.site
        dataset = self._offered(sites[OWNER])
        if dataset is None:
            offer_file(owner, self.file, "cases", self._terms)
            return
        offered, asked = offered_dataset(view, dataset), data_request(view, self.request)
        if offered is None:
            return
        if asked is None:
            if self.trick == "false-dispute":
                requester.vault.store(exchange_key("received", self.request), "data")
            request(requester.vault, RequestData(self.request, dataset, "research"))
        elif asked.phase == "requested":
            self._prepare_lie(view, sites[OWNER], offered, asked)
            request(owner.vault, DecideRequest(self.request, True))

    def is_done(self, view: StateView) -> bool:
        """Whether it has come to an end on the ledger."""
        found = data_request(view, self.request)
        return found is not None and found.phase in ("refused", "accepted", "decided", "expired")

    def _offered(self, owner: DealingSite) -> Digest | None:
        for key in owner.vault.keys_under(_OFFERED):
            kept = owner.vault.load(key, KeptOffer)
            if kept is not None and Path(kept.file) == self.file.resolve():
                return bytes.fromhex(key.removeprefix(_OFFERED))
        return None

    def _prepare_lie(self, view: StateView, owner: DealingSite, offered: OfferedDataset, asked: DataRequest) -> None:
        """A delivery that the owner's agent then sends as if it were its own."""
        site, key = owner.agent.site, exchange_key("delivered", self.request)
        if self.trick not in ("other-data", "wrong-key") or site.vault.get(key) is not None:
            return
        kept = site.vault.load(exchange_key("offered", offered.dataset), KeptOffer)
        receiver = participant(view, "gamma" if self.trick == "wrong-key" else REQUESTER)
        if kept is None or receiver is None:
            raise Refused("no-lie", "what is needed to deliver is not there")
        file = self.file if self.trick == "wrong-key" else self._other
        body, content_key = deliver_file(
            file, kept.salt, view.chain, asked, receiver.sealing_key, site.blobs, site.entropy
        )  # fmt: skip
        site.vault.store(key, KeptDelivery(body, content_key))
