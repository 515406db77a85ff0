"""What data is on offer, whose it is, and on which terms.

Rules:
1. A dataset is registered once by its owner, with a salted commitment, its size and terms that name an arbiter, who is
   an active auditor and not the owner.
2. Only its owner takes it back; requests that are under way go on.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta
from msgspec.structs import replace

from medfed.encoding import Record
from medfed.errors import Refused
from medfed.identifiers import Digest, Name
from medfed.ledger.contracts.context import Call
from medfed.ledger.contracts.membership import participant
from medfed.ledger.contracts.terms import Duration
from medfed.ledger.state import Overlay, Reader, Table

__all__ = [
    "ExchangeTerms",
    "Kind",
    "OfferDataset",
    "OfferedDataset",
    "Purpose",
    "TakeDatasetBack",
    "need_dataset",
    "offered_dataset",
    "offered_datasets",
]

Kind = Literal["images", "cases", "updates"]
Purpose = Literal["research", "training", "validation", "quality-control", "audit"]


class ExchangeTerms(Record):
    """Under which conditions data is given."""

    arbiter: Name
    purposes: Annotated[tuple[Purpose, ...], Meta(min_length=1, max_length=5)]
    phase_ms: Duration
    """How long each phase of a request may last."""


class OfferedDataset(Record):
    """A dataset that may be asked for."""

    dataset: Digest
    """Its name: any digest that the owner chose; not that of the data."""
    owner: Name
    commitment: Digest
    """SHA-256(salt(32) ‖ data)."""
    size: int
    kind: Kind
    terms: ExchangeTerms
    withdrawn: bool = False


class OfferDataset(Record, tag_field="type", tag="offer-dataset"):
    """Register a dataset that may be asked for."""

    dataset: Digest
    commitment: Digest
    size: Annotated[int, Meta(ge=0, lt=2**53)]
    kind: Kind
    terms: ExchangeTerms


class TakeDatasetBack(Record, tag_field="type", tag="take-dataset-back"):
    """No new request is taken."""

    dataset: Digest


_DATASETS: Final[Table[OfferedDataset]] = Table("offered-dataset", OfferedDataset)


def offered_dataset(reader: Reader, dataset: Digest) -> OfferedDataset | None:
    """The dataset of that name."""
    return _DATASETS.get(reader, dataset)


def offered_datasets(reader: Reader) -> list[OfferedDataset]:
    """All datasets, by name."""
    return [record for _, record in _DATASETS.rows(reader)]


def need_dataset(overlay: Overlay, dataset: Digest) -> OfferedDataset:
    """The dataset of that name, or `no-such-dataset`."""
    known = offered_dataset(overlay, dataset)
    if known is None:
        raise Refused("no-such-dataset", "no dataset of this name is on offer")
    return known


def apply_offer_dataset(overlay: Overlay, call: Call, body: OfferDataset) -> None:
    """Rule 1."""
    if offered_dataset(overlay, body.dataset) is not None:
        raise Refused("dataset-exists", "a dataset of this name is registered")
    arbiter = participant(overlay, body.terms.arbiter)
    if arbiter is None or arbiter.status != "active" or arbiter.role != "auditor":
        raise Refused("no-arbiter", f"{body.terms.arbiter} is not an active auditor")
    if body.terms.arbiter == call.sender:
        raise Refused("own-arbiter", "nobody judges its own deliveries")
    if list(body.terms.purposes) != sorted(set(body.terms.purposes)):
        raise Refused("bad-terms", "the purposes must be sorted and different")
    new = OfferedDataset(body.dataset, call.sender, body.commitment, body.size, body.kind, body.terms)
    _DATASETS.put(overlay, new, body.dataset)


def apply_take_dataset_back(overlay: Overlay, call: Call, body: TakeDatasetBack) -> None:
    """Rule 2."""
    known = need_dataset(overlay, body.dataset)
    if known.owner != call.sender:
        raise Refused("not-yours", f"the dataset belongs to {known.owner}")
    if known.withdrawn:
        raise Refused("already-withdrawn", "the dataset was taken back before")
    _DATASETS.put(overlay, replace(known, withdrawn=True), body.dataset)
