"""What a person means by the first digits of an identifier: a blind test, a registered model, a dataset, a request."""

from __future__ import annotations

from medfed.errors import InvalidInput
from medfed.hospital.duties.exchanging import Matter
from medfed.identifiers import Digest, find_by_digits
from medfed.ledger.contracts.blind_test import BlindTest, blind_tests
from medfed.ledger.contracts.exchange import data_requests
from medfed.ledger.contracts.offered_data import OfferedDataset, offered_dataset, offered_datasets
from medfed.ledger.contracts.registry import artefacts
from medfed.ledger.state import Reader

__all__ = ["find_blind_test", "find_dataset", "find_matter", "find_model"]


def find_blind_test(reader: Reader, text: str) -> BlindTest:
    """The blind test whose identifier begins with `text`.

    Raises:
        InvalidInput: none does, or several do.
    """
    return find_by_digits("blind test", text, blind_tests(reader), lambda test: test.test)


def find_model(reader: Reader, text: str) -> Digest:
    """The digest of the registered model that begins with `text`.

    Raises:
        InvalidInput: none does, or several do.
    """
    models = [one.artefact for one in artefacts(reader) if one.kind == "model"]
    return find_by_digits("registered model", text, models, lambda digest: digest)


def find_dataset(reader: Reader, text: str) -> OfferedDataset:
    """The dataset whose name begins with `text`.

    Raises:
        InvalidInput: none does, or several do.
    """
    return find_by_digits("dataset", text, offered_datasets(reader), lambda one: one.dataset)


def find_matter(reader: Reader, text: str) -> Matter:
    """The data request whose identifier begins with `text`, with its dataset.

    Raises:
        InvalidInput: none does, or several do.
    """
    found = find_by_digits("request", text, data_requests(reader), lambda one: one.request)
    dataset = offered_dataset(reader, found.dataset)
    if dataset is None:
        raise InvalidInput(f"request {text[:70]!r}: its dataset is not on this ledger")
    return Matter(found, dataset)
