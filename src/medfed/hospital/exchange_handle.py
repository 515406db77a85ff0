"""Data requests from Python: what `medfed exchange` does, for `medfed.Site.exchange`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, NamedTuple

from medfed.crypto import system_entropy
from medfed.hospital.acting import Acting, acting_for
from medfed.hospital.data_exchange import Outcome
from medfed.hospital.exchange_material import offered_file
from medfed.hospital.exchange_state import offer_file, outcome_of, received_file
from medfed.hospital.lookup import find_dataset, find_matter
from medfed.hospital.site_directory import open_site
from medfed.identifiers import parse_code, parse_study_id
from medfed.ledger.contracts.exchange import DataRequest, DecideRequest, RequestData, data_requests
from medfed.ledger.contracts.offered_data import (
    ExchangeTerms,
    Kind,
    OfferedDataset,
    Purpose,
    TakeDatasetBack,
    offered_datasets,
)
from medfed.ledger.store import reading
from medfed.ledger.transaction import Body

__all__ = ["Exchange", "Received"]

_HOUR_MS: Final = 3_600_000


class Received(NamedTuple):
    """What came of a delivery."""

    outcome: Outcome
    """`good`; or what is wrong: its `key` does not open, or its `data` is not what was committed to."""
    file: Path | None
    """Where it is, if it is good."""


class Exchange:
    """One site's side of data requests. Datasets and requests are named by the first digits of their identifiers.

    What goes on the ledger is sent at once, or left for the site's agent where that is running; it does the rest.
    """

    def __init__(self, directory: Path, ledger: Path, passphrase: str) -> None:
        self._directory, self._ledger, self._passphrase = directory, ledger, passphrase

    def offer(
        self,
        data: Path | str | None = None,
        *,
        kind: Kind,
        arbiter: str,
        purposes: Sequence[Purpose],
        hours: float = 72.0,
        study: str | None = None,
        round: int | None = None,
    ) -> str:
        """Offer a file, an image set, or this site's own past update; the dataset's identifier.

        Nothing of it leaves before somebody has asked and this site has granted that. A file must stay where and as it
        is.

        Args:
            data: a file; for images also the folder of an image set.
            kind: `images`, `cases` or `updates`.
            arbiter: an auditor who decides disputes.
            purposes: what it may be asked for.
            hours: for each step of a request.
            study: with updates, in place of `data`: of which study,
            round: and of which training round.

        Raises:
            InvalidInput: there is no such file, or no such update. Refused: text may be burnt into a picture, or a rule
                said no.
        """
        terms = ExchangeTerms(arbiter, tuple(sorted(set(purposes))), int(hours * _HOUR_MS))
        update = None if study is None or round is None else (parse_study_id(study), round)
        with self._acting() as acting:
            given = Path(data) if data is not None else None
            file = offered_file(acting.site, acting.view, self._directory, kind, given, update)
            body = offer_file(acting.site, file, kind, terms)
            acting.send(body)
        return body.dataset.hex()

    def take_back(self, dataset: str) -> None:
        """Take no new requests for a dataset of this site.

        Raises:
            InvalidInput: no such dataset. Refused: a rule said no.
        """
        with self._acting() as acting:
            acting.send(TakeDatasetBack(find_dataset(acting.view, dataset).dataset))

    def datasets(self) -> list[OfferedDataset]:
        """All datasets of the ledger."""
        with reading(self._ledger) as store:
            return offered_datasets(store.view())

    def requests(self) -> list[DataRequest]:
        """All requests of the ledger."""
        with reading(self._ledger) as store:
            return data_requests(store.view())

    def request(self, dataset: str, purpose: Purpose) -> str:
        """Ask an owner for a dataset; the request's identifier. This site's agent receives it and compares it.

        Raises:
            InvalidInput: no such dataset. Refused: a rule said no.
        """
        identifier = system_entropy(16)
        with self._acting() as acting:
            acting.send(RequestData(identifier, find_dataset(acting.view, dataset).dataset, purpose))
        return identifier.hex()

    def grant(self, request: str) -> None:
        """Grant a request for data of this site; the agent delivers.

        Raises:
            InvalidInput: no such request. Refused: a rule said no.
        """
        self._decide(request, lambda identifier: DecideRequest(identifier, True))

    def refuse(self, request: str, code: str = "declined") -> None:
        """Refuse a request for data of this site, with a reason code.

        Raises:
            InvalidInput: no such request, or no code. Refused: a rule said no.
        """
        reason = parse_code(code)
        self._decide(request, lambda identifier: DecideRequest(identifier, False, reason))

    def received(self, request: str) -> Received | None:
        """What came of the delivery for a request of this site; None before its agent has received it.

        Raises:
            InvalidInput: the ledger has no such request; one that is left for a running agent is there a moment after
                `request`.
        """
        with reading(self._ledger) as store:
            identifier = find_matter(store.view(), request).request.request
        opened = open_site(self._directory, self._passphrase, ledger=self._ledger)
        try:
            outcome = outcome_of(opened, identifier)
            file = received_file(opened, identifier)
        finally:
            opened.vault.close()
        return None if outcome is None else Received(outcome, file if outcome == "good" else None)

    def _decide(self, request: str, body: Callable[[bytes], Body]) -> None:
        with self._acting() as acting:
            acting.send(body(find_matter(acting.view, request).request.request))

    def _acting(self) -> AbstractContextManager[Acting]:
        return acting_for(self._directory, self._ledger, self._passphrase)
