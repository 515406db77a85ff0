"""Names and digests: how participants, studies, blobs and blocks are called everywhere.

A participant's `Name` is chosen once and stays; keys behind it may change. Names compare bytewise.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Annotated, Final, TypeVar

from msgspec import Meta

from medfed.errors import InvalidInput

__all__ = [
    "DIGEST_BYTES",
    "Code",
    "Digest",
    "Height",
    "Name",
    "Signature",
    "StudyId",
    "check_name",
    "find_by_digits",
    "parse_code",
    "parse_digest",
    "parse_study_id",
    "sha256",
    "short",
]

T = TypeVar("T")
DIGEST_BYTES: Final = 32
_CODE: Final = r"^[a-z0-9-]+\Z"
_NAME: Final = r"^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?\Z"

Digest = Annotated[bytes, Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]
"""SHA-256 of something, 32 bytes."""

Name = Annotated[str, Meta(min_length=1, max_length=40, pattern=_NAME)]
"""A participant: 1 to 40 of `a-z 0-9 -`, neither end a hyphen."""

StudyId = Annotated[bytes, Meta(min_length=16, max_length=16)]
"""A study: 16 bytes chosen at random by whoever proposes it."""

Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
"""An Ed25519 signature."""

Height = Annotated[int, Meta(ge=0, lt=2**53)]
"""Number of a block; the genesis is height 0."""

Code = Annotated[str, Meta(min_length=1, max_length=40, pattern=_CODE)]
"""A stable reason code: the only kind of remark that the ledger holds."""


def sha256(data: bytes | bytearray | memoryview) -> Digest:
    """SHA-256 of `data`."""
    return hashlib.sha256(data).digest()


def check_name(text: str) -> str:
    """Return `text` if it is a valid participant name.

    Raises:
        InvalidInput: it is not.
    """
    if not re.match(_NAME, text):
        raise InvalidInput(f"participant name {text[:80]!r}: expected 1 to 40 of a-z, 0-9 and inner hyphens")
    return text


def parse_digest(text: str) -> Digest:
    """A digest from its 64 hexadecimal digits.

    Raises:
        InvalidInput: `text` is something else.
    """
    return _from_hex(text, DIGEST_BYTES, "digest")


def parse_study_id(text: str) -> StudyId:
    """A study's identifier from its 32 hexadecimal digits.

    Raises:
        InvalidInput: `text` is something else.
    """
    return _from_hex(text, 16, "study")


def short(identifier: bytes) -> str:
    """The first 12 hexadecimal digits, for people to read."""
    return identifier.hex()[:12]


def parse_code(text: str) -> Code:
    """A reason code as it may stand on the ledger.

    Raises:
        InvalidInput: `text` is something else.
    """
    if len(text) > 40 or not re.match(_CODE, text):
        raise InvalidInput(f"code {text[:80]!r}: expected 1 to 40 of a-z, 0-9 and hyphens")
    return text


def find_by_digits(what: str, text: str, entries: Iterable[T], identifier: Callable[[T], bytes], hint: str = "") -> T:
    """The one of `entries` whose identifier begins with the hexadecimal digits in `text`; `what` is one of them.

    Raises:
        InvalidInput: none begins so, or several do; with `hint` at the end.
    """
    found = [entry for entry in entries if identifier(entry).hex().startswith(text.lower())]
    if not text or len(found) != 1:
        some = "studies" if what == "study" else f"{what}s"
        reason = f"no {what}" if not found else f"{len(found)} {some}"
        raise InvalidInput(f"{what} {text[:70]!r}: {reason} on this ledger with that identifier{hint}")
    return found[0]


def _from_hex(text: str, size: int, what: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != size:
        raise InvalidInput(f"{what} {text[:80]!r}: expected {2 * size} hexadecimal digits")
    return value
