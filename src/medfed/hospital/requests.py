"""What a person asks an agent to put on the ledger: only the agent signs, so others leave requests in its vault."""

from __future__ import annotations

from typing import Any, Final, cast

from medfed.encoding import decode, encode
from medfed.errors import InvalidInput
from medfed.hospital.vault import Vault
from medfed.identifiers import sha256
from medfed.ledger.transaction import Body

__all__ = ["REQUESTS", "decode_request", "forget_request", "request"]

REQUESTS: Final = "request/"


def request(vault: Vault, body: Body) -> str:
    """Leave a body for the agent to sign and send; the same body twice is one request. Returns its key."""
    data = encode(body)
    key = REQUESTS + sha256(data).hex()
    vault.put(key, data)
    return key


def forget_request(vault: Vault, body: Body) -> None:
    """Take back a request for `body`, if there is one: it is sent otherwise."""
    vault.delete(REQUESTS + sha256(encode(body)).hex())


def decode_request(data: bytes) -> Body:
    """The body that was asked for.

    Raises:
        InvalidInput: it does not decode.
    """
    try:
        return cast(Body, decode(data, cast("type[Any]", Body)))
    except InvalidInput as error:
        raise InvalidInput(f"request in the vault: {error}") from None
