"""What a site keeps of data requests in its vault, and where received data goes.

An owner's salts and content keys, and what came of what a requester has received. Everything is durable before the
transaction that depends on it leaves. This module must never keep the data itself.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Final, Literal

from msgspec import Meta

from medfed.encoding import Record
from medfed.errors import InvalidInput, Unavailable
from medfed.hospital.data_exchange import Outcome, commit_file
from medfed.hospital.requests import request
from medfed.hospital.site import Site
from medfed.identifiers import Digest
from medfed.ledger.contracts.exchange import DeliverData
from medfed.ledger.contracts.offered_data import ExchangeTerms, Kind, OfferDataset

__all__ = ["KeptDelivery", "KeptOffer", "exchange_key", "offer_file", "outcome_of", "received_file"]

_Part = Literal["offered", "delivered", "received", "ended"]
_OUTCOMES: Final[tuple[Outcome, ...]] = ("good", "key", "data")


class KeptOffer(Record):
    """A dataset that this site has offered."""

    file: Annotated[str, Meta(max_length=4096)]
    """An absolute path at this site; it is never on the ledger."""
    salt: bytes


class KeptDelivery(Record):
    """What this site has delivered for a request."""

    body: DeliverData
    content_key: bytes


def exchange_key(part: _Part, identifier: bytes) -> str:
    """The vault's key for a part of a dataset (`offered`) or of a request."""
    return f"exchange/{part}/{identifier.hex()}"


def offer_file(site: Site, file: Path, kind: Kind, terms: ExchangeTerms) -> OfferDataset:
    """Commit to a file and leave the offer for the agent to send. The file must stay where and as it is.

    Raises:
        InvalidInput: it is no file that can be read.
    """
    path = file.resolve()
    if not path.is_file():
        raise InvalidInput(f"{file}: expected a file")
    committed = commit_file(path, site.entropy)
    dataset: Digest = site.entropy(32)
    body = OfferDataset(dataset, committed.commitment, committed.size, kind, terms)
    with site.vault.transaction("dataset-offered"):
        site.vault.store(exchange_key("offered", dataset), KeptOffer(str(path), committed.salt))
        request(site.vault, body)
    return body


def outcome_of(site: Site, identifier: bytes) -> Outcome | None:
    """What came of the delivery that this site has received; None before that."""
    found = site.vault.load(exchange_key("received", identifier), str)
    return next((outcome for outcome in _OUTCOMES if outcome == found), None)


def received_file(site: Site, identifier: bytes, *, clear: bool = False) -> Path:
    """Where the data of a request goes at this site; with `clear`, nothing is there afterwards.

    Raises:
        Unavailable: the directory cannot be made or cleared. InvalidInput: the site has none.
    """
    if site.received is None:
        raise InvalidInput("data request: this site has no directory for received data")
    target = site.received / identifier.hex()
    if clear:
        try:
            site.received.mkdir(mode=0o700, exist_ok=True)
            target.unlink(missing_ok=True)
            for partial in site.received.glob(f".{target.name}.*.new"):  # of a process that died while it wrote
                with contextlib.suppress(FileNotFoundError):
                    partial.unlink()
        except OSError as error:
            raise Unavailable(f"{site.received}: {error.strerror or error}") from None
    return target
