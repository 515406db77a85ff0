"""TLS certificates that are nothing but a participant's key: self-signed, and worth what the ledger says of that key.

No authority vouches for them and their dates mean nothing. Whoever meets one takes its key and asks the ledger whose it
is; TLS itself proves that the other side holds the key.
"""

from __future__ import annotations

import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import NameOID

from medfed.crypto.signing import SigningKey
from medfed.errors import InvalidInput

__all__ = ["certificate_key", "make_certificate"]

_MAX_BYTES: Final = 16 * 1024
_FIRST: Final = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
_LAST: Final = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)


def make_certificate(key: SigningKey, name: str) -> tuple[bytes, bytes]:
    """A certificate for `key` and the key itself, both PEM. The second is a secret."""
    private = Ed25519PrivateKey.from_private_bytes(key.seed)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(_FIRST)
        .not_valid_after(_LAST)
        .sign(private, None)
    )
    encoding = serialization.Encoding.PEM
    secret = private.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(encoding), secret


def certificate_key(der: bytes) -> bytes:
    """The Ed25519 key (32 bytes) of a certificate.

    Raises:
        InvalidInput: it is no certificate, or one of another kind of key.
    """
    if len(der) > _MAX_BYTES:
        raise InvalidInput(f"certificate of {len(der)} bytes: at most {_MAX_BYTES} are read")
    try:
        key = x509.load_der_x509_certificate(der).public_key()
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"certificate: malformed ({type(error).__name__})") from None
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidInput("certificate: expected an Ed25519 key")
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
