"""What a person asks an agent to put on the ledger: only the agent signs, so others leave requests in its vault."""

from __future__ import annotations

from typing import Final

import msgspec

from medfed.encoding import encode
from medfed.errors import InvalidInput
from medfed.hospital.vault import Vault
from medfed.identifiers import sha256
from medfed.ledger.transaction import Body

__all__ = ["REQUESTS", "decode_request", "request"]

REQUESTS: Final = "request/"
_decoder: Final[msgspec.msgpack.Decoder[Body]] = msgspec.msgpack.Decoder(Body, strict=True)


def request(vault: Vault, body: Body) -> str:
    """Leave a body for the agent to sign and send; the same body twice is one request. Returns its key."""
    data = encode(body)
    key = REQUESTS + sha256(data).hex()
    vault.put(key, data)
    return key


def decode_request(data: bytes) -> Body:
    """The body that was asked for.

    Raises:
        InvalidInput: it does not decode.
    """
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"request in the vault: {error}") from None
