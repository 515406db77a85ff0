"""Transactions: one value, one byte string, one signature."""

from __future__ import annotations

import hashlib

import pytest
from msgspec.structs import replace
from tests.support.ledger import key_of

from medfed.encoding import encode
from medfed.errors import InvalidInput
from medfed.ledger.contracts.keying import SealPairSecrets
from medfed.ledger.contracts.membership import ChangeAddress
from medfed.ledger.contracts.studies import SealedSecret
from medfed.ledger.transaction import MAX_TRANSACTION_BYTES, Anchor, SignedTransaction, Transaction, sign

TRANSACTION = Transaction(bytes(32), "alpha", 0, Anchor(0, bytes(32)), ChangeAddress("host:1"))


def test_the_id_is_the_digest_of_the_payload_and_the_signature_covers_it_under_a_label() -> None:
    signed = sign(TRANSACTION, key_of("alpha"))
    assert signed.payload == encode(TRANSACTION)
    assert signed.id == hashlib.sha256(signed.payload).digest()
    assert signed.signature == key_of("alpha").sign(b"medfed/transaction/1\0" + signed.payload)
    assert signed.is_signed_by(key_of("alpha").public)
    assert not signed.is_signed_by(key_of("beta").public)


def test_the_wire_form_is_the_signature_and_the_payload() -> None:
    signed = sign(TRANSACTION, key_of("alpha"))
    assert signed.to_bytes() == signed.signature + signed.payload
    assert SignedTransaction.from_bytes(signed.to_bytes()) == signed


@pytest.mark.parametrize("size", [0, 1, 63, 64])
def test_what_is_no_longer_than_a_signature_is_no_transaction(size: int) -> None:
    with pytest.raises(InvalidInput, match="shorter than a signature"):
        SignedTransaction.from_bytes(bytes(size))


def test_a_transaction_of_the_greatest_size_passes_and_one_more_byte_does_not() -> None:
    def of(last: int) -> Transaction:
        secrets = tuple(SealedSecret("omega", bytes(size)) for size in (*[2048] * 30, last, 1024))
        return Transaction(bytes(32), "alpha", 0, Anchor(0, bytes(32)), SealPairSecrets(bytes(16), secrets))

    room = 1000 + MAX_TRANSACTION_BYTES - 64 - len(encode(of(1000)))
    signed = sign(of(room), key_of("alpha"))
    assert len(signed.to_bytes()) == MAX_TRANSACTION_BYTES
    assert SignedTransaction.from_bytes(signed.to_bytes()) == signed
    with pytest.raises(InvalidInput, match="at most 65536"):
        sign(of(room + 1), key_of("alpha"))
    with pytest.raises(InvalidInput, match="at most 65536"):
        SignedTransaction.from_bytes(signed.to_bytes() + b"\0")


def test_what_nobody_could_decode_is_not_signed() -> None:
    for body in (ChangeAddress("a b"), SealPairSecrets(bytes(15), ())):
        with pytest.raises(InvalidInput, match=r"body\."):
            sign(replace(TRANSACTION, body=body), key_of("alpha"))
    with pytest.raises(InvalidInput, match=r"sequence"):
        sign(replace(TRANSACTION, sequence=-1), key_of("alpha"))
