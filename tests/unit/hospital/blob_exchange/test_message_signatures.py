"""Signed requests: who asks, and nothing that was signed for something else."""

from __future__ import annotations

import base64

import pytest
from tests.support.ledger import key_of

from medfed.crypto import is_valid_signature
from medfed.errors import Refused
from medfed.hospital.blob_exchange.message_signatures import FRESH_SECONDS, sign_request, verify_request

CHAIN = bytes(range(32))
PATH = "/blobs/" + "ab" * 32
NOW = 1_700_000_000


def signed(**changes: object) -> dict[str, str]:
    given = {"method": "GET", "path": PATH, "chain": CHAIN, "to": "beta", "sender": "alpha", "seconds": NOW} | changes
    return sign_request(key=key_of("alpha"), **given)  # type: ignore[arg-type]


def verified(headers: dict[str, str], method: str = "GET", path: str = PATH, seconds: int = NOW) -> str:
    keys = {"alpha": key_of("alpha").public, "gamma": key_of("gamma").public}
    return verify_request(method, path, headers, CHAIN, "beta", keys.get, seconds)


def test_a_signed_request_says_who_asks() -> None:
    assert verified(signed()) == "alpha"
    assert verified(signed(), seconds=NOW + FRESH_SECONDS) == "alpha"


def test_the_signature_is_over_what_rfc_9421_says() -> None:
    headers = signed()
    base = (
        f'"@method": GET\n"@path": {PATH}\n"medfed-chain": {CHAIN.hex()}\n"medfed-to": beta\n'
        '"@signature-params": ("@method" "@path" "medfed-chain" "medfed-to")'
        f';created={NOW};keyid="alpha";alg="ed25519"'
    )
    value = base64.b64decode(headers["signature"].removeprefix("medfed=:").removesuffix(":"))
    assert is_valid_signature(key_of("alpha").public, base.encode(), value)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "unsigned"),
        (signed() | {"signature": "medfed=:AAAA:"}, "unsigned"),
        (signed() | {"signature-input": 'medfed=("@method");created=1;keyid="alpha";alg="ed25519"'}, "unsigned"),
        (signed(chain=bytes(32)), "other-ledger"),
        (signed(to="gamma"), "other-server"),
        (signed() | {"medfed-to": "beta", "medfed-chain": "00"}, "other-ledger"),
        (signed(seconds=NOW - FRESH_SECONDS - 1), "stale-request"),
        (signed(seconds=NOW + FRESH_SECONDS + 1), "stale-request"),
        (signed(sender="omega"), "unknown-sender"),
        (signed(sender="gamma"), "bad-signature"),
        (signed(path="/blobs/" + "00" * 32), "bad-signature"),
        (signed(method="PUT"), "bad-signature"),
        (signed(to="gamma") | {"medfed-to": "beta"}, "bad-signature"),
    ],
)
def test_anything_else_is_refused(headers: dict[str, str], code: str) -> None:
    with pytest.raises(Refused) as refused:
        verified(headers)
    assert refused.value.code == code
