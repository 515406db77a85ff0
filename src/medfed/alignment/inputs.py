"""One hospital's list for one attempt: its entries hashed to the group, blinded, padded and shuffled, once.

The list is what leaves the hospital; which position stands for which entry stays. Padding is random elements, so that
nobody sees how many entries are real: lengths come from a public scale with steps of at most a fifth. The same entries
must never be listed again under the same scalar in another order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

from msgspec import Meta

from medfed.alignment.blinding import blind_list, elements_of
from medfed.crypto import Entropy, commit, hash_to_element, random_element
from medfed.encoding import Record, digest_of, encode
from medfed.errors import InvalidInput
from medfed.identifiers import Digest

__all__ = [
    "LEAST_LENGTH",
    "MAX_ENTRIES",
    "PreparedList",
    "inputs_commitment",
    "normalise",
    "padded_length",
    "prepare_list",
    "run_domain",
]

MAX_ENTRIES: Final = 1_000_000
LEAST_LENGTH: Final = 16
MAX_ENTRY_BYTES: Final = 4096


class PreparedList(Record):
    """A hospital's list and what it alone knows of it."""

    elements: bytes
    """The elements of all positions, 32 bytes each."""
    positions: Annotated[tuple[int, ...], Meta(max_length=MAX_ENTRIES)]
    """Where each entry stands, in the order of the entries; the other positions are padding."""


def normalise(entries: Sequence[bytes]) -> tuple[bytes, ...]:
    """Every entry once, in bytewise order.

    Raises:
        InvalidInput: more entries than a list holds, or one that is empty or too long.
    """
    if len(entries) > MAX_ENTRIES:
        raise InvalidInput(f"alignment entries: at most {MAX_ENTRIES}, found {len(entries)}")
    if any(not 1 <= len(entry) <= MAX_ENTRY_BYTES for entry in entries):
        raise InvalidInput(f"alignment entries: expected 1 to {MAX_ENTRY_BYTES} bytes each")
    return tuple(sorted(set(entries)))


def padded_length(count: int) -> int:
    """The length of a list of `count` entries: the next step of a scale that everybody uses.

    A step is at most 1.2 times the one before, and the first is 16; so a length tells the count to within a fifth.

    Raises:
        InvalidInput: a negative count, or more than `MAX_ENTRIES`.
    """
    if not 0 <= count <= MAX_ENTRIES:
        raise InvalidInput(f"alignment entries: expected 0 to {MAX_ENTRIES}, found {count}")
    step = LEAST_LENGTH
    while step < count:
        step = step * 6 // 5
    return step


def run_domain(chain: Digest, alignment: bytes, kind: str, question: Digest) -> bytes:
    """What entries are hashed under: in another run, or asked otherwise, the same entry is another element."""
    return b"medfed/alignment/1\0" + digest_of("medfed/alignment-run", chain, alignment, kind, question)


def inputs_commitment(salt: bytes, entries: Sequence[bytes]) -> Digest:
    """The salted digest of the normalised entries: an auditor on site can compare it, nobody else can open it."""
    return commit(salt, encode(tuple(entries)))


def prepare_list(
    entries: Sequence[bytes], length: int, domain: bytes, scalar: bytes, entropy: Entropy, workers: int | None = None
) -> PreparedList:
    """Hash, blind, pad to `length` and shuffle.

    Args:
        entries: as `normalise` gives them.
        scalar: this attempt's secret; never used for another list of one's own.
        workers: as in `blind_list`.

    Raises:
        InvalidInput: more entries than `length`.
    """
    if len(entries) > length:
        raise InvalidInput(f"alignment list: {len(entries)} entries do not fit into {length}")
    hashed = b"".join(hash_to_element(entry, domain) for entry in entries)
    elements = elements_of(blind_list(scalar, hashed, len(entries), workers))
    elements += [random_element(entropy) for _ in range(length - len(entries))]
    order = _shuffled(length, entropy)
    listed = b"".join(elements[index] for index in order)
    positions = [0] * length
    for position, index in enumerate(order):
        positions[index] = position
    return PreparedList(listed, tuple(positions[: len(entries)]))


def _shuffled(length: int, entropy: Entropy) -> list[int]:
    """A uniform permutation (Fisher and Yates); 16 random bytes a draw keep its bias below 2^-100."""
    order = list(range(length))
    pool = entropy(16 * length)
    for at in range(length - 1, 0, -1):
        other = int.from_bytes(pool[16 * at : 16 * at + 16], "little") % (at + 1)
        order[at], order[other] = order[other], order[at]
    return order
