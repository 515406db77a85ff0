"""A service's public record from blind tests, with its interval: what the ledger's counts say about its accuracy.

Of each test one position may agree only because a label was invented so; it is taken off, so the record errs against
the service. Every requester stands for itself, because one that lies spoils only its own row.
"""

from __future__ import annotations

from typing import NamedTuple

from medfed.diagnosis.blind_odds import Interval, accuracy_interval
from medfed.identifiers import Digest, Name
from medfed.ledger.contracts.blind_test import BlindCounts, blind_counts, offered_models
from medfed.ledger.state import Reader

__all__ = ["RecordRow", "ServiceRecord", "service_record", "tested_services"]


class RecordRow(NamedTuple):
    """What one requester's tests say."""

    requester: Name
    counts: BlindCounts
    accuracy: Interval | None
    """None without a verdict."""


class ServiceRecord(NamedTuple):
    """What all say."""

    rows: tuple[RecordRow, ...]
    """By requester."""
    accuracy: Interval | None
    """Over all diagnosed images of all requesters."""
    requesters: int
    """With at least one verdict."""


def service_record(reader: Reader, service: Name, model: Digest, confidence: float = 0.95) -> ServiceRecord:
    """The record of a service's model.

    Raises:
        InvalidInput: a confidence outside 0 to 1.
    """
    rows: list[RecordRow] = []
    right, of = 0, 0
    for requester, counts in sorted(blind_counts(reader, service, model).items()):
        agreed = _agreed(counts)
        interval = accuracy_interval(agreed, counts.diagnosed, confidence) if counts.diagnosed else None
        rows.append(RecordRow(requester, counts, interval))
        right, of = right + agreed, of + counts.diagnosed
    overall = accuracy_interval(right, of, confidence) if of else None
    return ServiceRecord(tuple(rows), overall, sum(row.accuracy is not None for row in rows))


def tested_services(reader: Reader) -> list[tuple[Name, Digest]]:
    """Every service and model that is or was offered, in order."""
    return sorted(offered_models(reader))


def _agreed(counts: BlindCounts) -> int:
    return max(counts.equal_codes - counts.passed - counts.failed, 0)
