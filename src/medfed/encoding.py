"""Strict canonical MessagePack: one value, one byte string.

Bytes are canonical exactly when `encode(decode(b)) == b`; everything else is refused. Records are frozen structs that
forbid unknown fields and bound every field, so a decoder never builds more than its input's size times a constant.
This module must never fall back to a lenient reading.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, TypeVar, cast, dataclass_transform

import msgspec

from medfed.errors import InvalidInput, brief
from medfed.identifiers import Digest, sha256

__all__ = ["Record", "decode", "digest_of", "encode"]

T = TypeVar("T")
_encoder: Final = msgspec.msgpack.Encoder(order="deterministic")


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ancestor of everything that is hashed, signed or stored."""


def encode(value: Any) -> bytes:
    """The canonical bytes of `value`: a record, a number, a string, bytes, or a container of these.

    Maps are ordered by key. Floating-point numbers are allowed here (plans have them); ledger records have none.
    """
    return _encoder.encode(value)


def decode(data: bytes, kind: type[T]) -> T:
    """The value of type `kind` whose canonical bytes are `data`.

    Raises:
        InvalidInput: `data` is malformed, breaks a bound, nests too deeply or is not canonical; or it is no bytes, as
            where a database gives back what somebody else wrote into it.
    """
    try:
        value = _decoder(kind).decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError, ValueError, TypeError) as error:
        raise InvalidInput(f"{_name(kind)}: {brief(error)}") from None
    if _encoder.encode(value) != data:
        raise InvalidInput(f"{_name(kind)}: bytes are not canonical")
    return cast(T, value)


def digest_of(label: str, *parts: Any) -> Digest:
    """SHA-256 of the canonical encoding of `(label, *parts)`; the label keeps uses apart."""
    return sha256(encode((label, *parts)))


@lru_cache(maxsize=512)
def _decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(kind, strict=True)


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))
