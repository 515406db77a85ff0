"""Giving and getting data that was asked for on the ledger: committing, delivering, checking, and judging a dispute.

Data is streamed in chunks at every step and never held whole. What is delivered is salt and data under a content key of
this one delivery; the key travels sealed to one receiver. Received data appears under its name only when it is what the
owner committed to. This module must never write a patient's data outside the target that it is given.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

from medfed.blobs import BlobStore, awaiting_good_copy
from medfed.crypto import SALT_BYTES, Entropy, SealingKey, equal, seal
from medfed.crypto.private_file import sync_directory
from medfed.crypto.streams import decrypt_chunks, encrypt_chunks, encrypted_length
from medfed.encoding import encode
from medfed.errors import InvalidInput, Tampered, Unavailable
from medfed.identifiers import Digest, Name, sha256
from medfed.ledger.contracts.exchange import (
    DataRequest,
    DecideDispute,
    DeliverData,
    Delivery,
    content_key_digest,
    content_key_info,
)
from medfed.ledger.contracts.offered_data import OfferedDataset

__all__ = [
    "Committed",
    "Outcome",
    "commit_file",
    "deliver_file",
    "judge_delivery",
    "receive_delivery",
    "seal_for_arbiter",
]

_READ: Final = 1 << 20
_KEY_BYTES: Final = 32
Outcome = Literal["good", "key", "data"]
"""As it should be; or what is wrong: see `exchange.Claim`."""


class Committed(NamedTuple):
    """What the owner keeps of a dataset; commitment and size go on the ledger."""

    salt: bytes
    commitment: Digest
    size: int


def commit_file(path: Path, entropy: Entropy) -> Committed:
    """A salted commitment to a file's bytes.

    Raises:
        InvalidInput: it cannot be read.
    """
    salt = entropy(SALT_BYTES)
    state, size = hashlib.sha256(salt), 0
    for part in _parts(path):
        state.update(part)
        size += len(part)
    return Committed(salt, state.digest(), size)


def deliver_file(
    path: Path,
    salt: bytes,
    chain: Digest,
    request: DataRequest,
    receiver_key: bytes,
    blobs: BlobStore,
    entropy: Entropy,
    commitment: Digest | None = None,
) -> tuple[DeliverData, bytes]:
    """Encrypt the file for one request into a blob; the body to send, and the content key for the owner's vault.

    The file is read once. With `commitment`, a file that is no longer what was committed to is not delivered; without,
    the receiver will see that, and so will the arbiter.

    Raises:
        InvalidInput: the file cannot be read, or has changed. Unavailable: there is no room for the blob.
    """
    content_key = entropy(_KEY_BYTES)
    length, state = 0, hashlib.sha256()

    def noted() -> Iterator[bytes]:
        for part in _salted(salt, path):
            state.update(part)
            yield part

    def counted() -> Iterator[bytes]:
        nonlocal length
        for chunk in encrypt_chunks(content_key, noted(), _stream_context(chain, request)):
            length += len(chunk)
            yield chunk
        if commitment is not None and not equal(state.digest(), commitment):
            raise InvalidInput(f"{path.name}: it is no longer what was offered; offer it anew under another name")

    blob = blobs.put_parts(counted())
    sealed = seal(receiver_key, content_key, content_key_info(chain, request, request.requester))
    return DeliverData(request.request, blob, length, sealed, content_key_digest(content_key)), content_key


def receive_delivery(
    delivered: Delivery,
    dataset: OfferedDataset,
    chain: Digest,
    request: DataRequest,
    own: SealingKey,
    blobs: BlobStore,
    target: Path,
) -> Outcome:
    """Decrypt, compare with the ledger, and keep the data at `target` only if it is what was committed to.

    Raises:
        InvalidInput: `target` exists. Unavailable: the blob is not here, or the disk is full.
    """
    content_key = _opened_key(own, delivered.sealed, delivered, chain, request, request.requester)
    if content_key is None:
        return "key"
    if target.exists():
        raise InvalidInput(f"data request {request.request.hex()}: {target.name} exists already")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            good = _is_as_committed(content_key, delivered, dataset, chain, request, blobs, file.write)
            file.flush()
            os.fsync(file.fileno())
        if good:
            temporary.rename(target)
            sync_directory(target.parent)
    except OSError as error:
        raise Unavailable(f"data request {request.request.hex()}: cannot be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)
    return "good" if good else "data"


def seal_for_arbiter(
    content_key: bytes, chain: Digest, request: DataRequest, arbiter: Name, arbiter_key: bytes
) -> bytes:
    """The content key for the arbiter of a dispute."""
    return seal(arbiter_key, content_key, content_key_info(chain, request, arbiter))


def judge_delivery(
    sealed: bytes,
    delivered: Delivery,
    dataset: OfferedDataset,
    chain: Digest,
    request: DataRequest,
    own: SealingKey,
    requester_key: bytes,
    blobs: BlobStore,
) -> DecideDispute:
    """What the arbiter decides: who is at fault, by what was committed to. The data is looked at and not kept.

    An owner whose key does not open, is not the one committed to, or whose blob is not the data, is at fault; else a
    requester who disputes the data is, and one who says that its key did not open is handed the key.

    Raises:
        Unavailable: the blob is not here. The arbiter must then ask every holder before it decides.
    """
    content_key = _opened_key(own, sealed, delivered, chain, request, dataset.terms.arbiter)
    if content_key is None:
        return DecideDispute(request.request, "owner")
    if not _is_as_committed(content_key, delivered, dataset, chain, request, blobs, len):
        return DecideDispute(request.request, "owner")
    if request.claim == "data":
        return DecideDispute(request.request, "requester")
    again = seal(requester_key, content_key, content_key_info(chain, request, request.requester))
    return DecideDispute(request.request, "nobody", again)


def _opened_key(
    own: SealingKey, sealed: bytes, delivered: Delivery, chain: Digest, request: DataRequest, receiver: Name
) -> bytes | None:
    try:
        key = own.open(sealed, content_key_info(chain, request, receiver))
    except InvalidInput:
        return None
    return key if len(key) == _KEY_BYTES and equal(content_key_digest(key), delivered.key_digest) else None


def _is_as_committed(
    content_key: bytes,
    delivered: Delivery,
    dataset: OfferedDataset,
    chain: Digest,
    request: DataRequest,
    blobs: BlobStore,
    take: Callable[[bytes], int],
) -> bool:
    """Whether the blob holds the data; `take` is given the data piece by piece, before that is known."""
    if (
        delivered.length != encrypted_length(dataset.size + SALT_BYTES)
        or blobs.size(delivered.blob) != delivered.length
    ):
        return False
    state, size, salt = hashlib.sha256(), 0, b""
    try:
        with blobs.open_stream(delivered.blob) as source:
            for chunk in decrypt_chunks(content_key, source, _stream_context(chain, request)):
                state.update(chunk)
                if not salt:
                    salt, chunk = chunk[:SALT_BYTES], chunk[SALT_BYTES:]
                size += len(chunk)
                take(chunk)
    except (InvalidInput, Tampered):
        _check_copy(blobs, delivered.blob)
        return False
    return size == dataset.size and equal(state.digest(), dataset.commitment)


def _check_copy(blobs: BlobStore, blob: Digest) -> None:
    """A copy that was damaged here says nothing about what was delivered: nobody is blamed for it.

    Raises:
        Unavailable: the bytes here are not the blob.
    """
    with awaiting_good_copy("delivery"), blobs.open_stream(blob) as source:
        while source.read(_READ):
            pass


def _salted(salt: bytes, path: Path) -> Iterator[bytes]:
    yield salt
    yield from _parts(path)


def _parts(path: Path) -> Iterable[bytes]:
    try:
        with path.open("rb") as file:
            while part := file.read(_READ):
                yield part
    except OSError as error:
        raise InvalidInput(f"{path.name}: cannot be read: {error.strerror}") from None


def _stream_context(chain: Digest, request: DataRequest) -> bytes:
    return sha256(encode(("medfed/delivery", chain, request.request, request.dataset, request.owner)))
