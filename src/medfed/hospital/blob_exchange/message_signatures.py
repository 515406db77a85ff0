"""HTTP requests with the asking participant's signature (RFC 9421, Ed25519), checked against the ledger's keys.

A signature covers the method, the path, the chain and the name of the participant that is asked, so it is of no use on
another ledger or with another server, and after some minutes of no use at all. It answers who asks, not what they may.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Final

from medfed.crypto import SigningKey, is_valid_signature
from medfed.errors import Refused
from medfed.identifiers import Digest, Name

__all__ = ["CHAIN_HEADER", "FRESH_SECONDS", "TO_HEADER", "sign_request", "verify_request"]

CHAIN_HEADER: Final = "medfed-chain"
TO_HEADER: Final = "medfed-to"
FRESH_SECONDS: Final = 300
_COVERED: Final = f'("@method" "@path" "{CHAIN_HEADER}" "{TO_HEADER}")'
_INPUT: Final = re.compile(
    rf"^medfed={re.escape(_COVERED)}"
    r';created=(?P<created>[0-9]{1,12});keyid="(?P<keyid>[a-z0-9-]{1,40})";alg="ed25519"\Z'
)
_SIGNATURE: Final = re.compile(r"^medfed=:(?P<value>[A-Za-z0-9+/]{86}==):\Z")


def sign_request(
    method: str, path: str, chain: Digest, to: Name, sender: Name, key: SigningKey, seconds: int
) -> dict[str, str]:
    """The headers of a request of `sender` to `to` at `seconds` since 1970."""
    parameters = f'{_COVERED};created={seconds};keyid="{sender}";alg="ed25519"'
    headers = {CHAIN_HEADER: chain.hex(), TO_HEADER: to}
    signature = base64.b64encode(key.sign(_base(method, path, headers, parameters))).decode()
    return headers | {"signature-input": f"medfed={parameters}", "signature": f"medfed=:{signature}:"}


def verify_request(
    method: str,
    path: str,
    headers: Mapping[str, str],
    chain: Digest,
    me: Name,
    key_of: Callable[[Name], bytes | None],
    seconds: int,
) -> Name:
    """Who asks. `headers` are by their names in lower case; `key_of` gives the key that the ledger knows now.

    Raises:
        Refused: `unsigned`, `other-ledger`, `other-server`, `stale-request`, `unknown-sender` or `bad-signature`.
    """
    given = _INPUT.match(headers.get("signature-input", ""))
    signature = _SIGNATURE.match(headers.get("signature", ""))
    if given is None or signature is None:
        raise Refused("unsigned", "the request has no signature of the expected form")
    if headers.get(CHAIN_HEADER) != chain.hex():
        raise Refused("other-ledger", "the request is for another ledger")
    if headers.get(TO_HEADER) != me:
        raise Refused("other-server", f"the request is for another server than {me}")
    if abs(seconds - int(given["created"])) > FRESH_SECONDS:
        raise Refused("stale-request", "the request was signed too long ago, or the two clocks differ")
    sender = given["keyid"]
    key = key_of(sender)
    if key is None:
        raise Refused("unknown-sender", "the sender is not an active participant")
    parameters = headers["signature-input"].removeprefix("medfed=")
    if not is_valid_signature(key, _base(method, path, headers, parameters), _decoded(signature["value"])):
        raise Refused("bad-signature", f"the signature is not that of {sender}'s key")
    return sender


def _base(method: str, path: str, headers: Mapping[str, str], parameters: str) -> bytes:
    """RFC 9421, section 2.5."""
    lines = (
        f'"@method": {method}',
        f'"@path": {path}',
        f'"{CHAIN_HEADER}": {headers[CHAIN_HEADER]}',
        f'"{TO_HEADER}": {headers[TO_HEADER]}',
        f'"@signature-params": {parameters}',
    )
    return "\n".join(lines).encode()


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        return b""
