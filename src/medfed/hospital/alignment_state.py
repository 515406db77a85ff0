"""What a site keeps of an alignment in its vault: inputs, this attempt's secrets, and what came out of it.

Inputs and secrets go when the alignment has ended or goes on without this site; the result stays. Everything is
durable before the bytes made from it leave, so that after a crash the same bytes leave again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

from medfed.alignment.intersection import Sizes
from medfed.alignment.patients import keeps
from medfed.encoding import Record
from medfed.hospital.vault import Vault
from medfed.identifiers import Digest, Name, StudyId
from medfed.ledger.contracts.alignment import Alignment, AlignmentKind

__all__ = [
    "AlignmentResult",
    "AttemptSecret",
    "EntrySource",
    "KeptInputs",
    "alignment_key",
    "approve_alignment",
    "forget_alignment",
    "is_approved",
    "load_result",
]

EntrySource = Callable[[AlignmentKind, bytes], Mapping[bytes, Sequence[str]]]
"""Finds this site's entries for a question, each with the local ids that it stands for: cases, or patients.

Raises `InvalidInput` if the question cannot be answered here, `Unavailable` if it cannot now.
"""

_Part = Literal["approved", "inputs", "secret", "list", "cleared", "result"]
_SECRET_PARTS: Final[tuple[_Part, ...]] = ("inputs", "secret", "list", "cleared")


class KeptInputs(Record):
    """The entries that this site brings to every attempt, in their order."""

    salt: bytes
    entries: tuple[bytes, ...]
    ids: tuple[tuple[str, ...], ...]
    """The local ids that each entry stands for."""


class AttemptSecret(Record):
    """What was drawn for one attempt. The blinded list lies beside it: it is long, and few steps need it."""

    attempt: int
    scalar: bytes
    salt: bytes
    positions: tuple[int, ...]
    length: int


class AlignmentResult(Record):
    """What this site learnt: which of its own entries others have too."""

    kind: AlignmentKind
    study: StudyId
    question: Digest
    roster: tuple[Name, ...]
    entries: int
    """How many entries this site brought."""
    ids: tuple[tuple[str, ...], ...]
    """Local ids of every entry that others have."""
    holders: tuple[tuple[Name, ...], ...]
    """Who has that entry, this site included, in the same order."""
    sizes: Sizes

    def shared_with(self, least: int) -> frozenset[str]:
        """The local ids of entries that at least so many hospitals have, this site included."""
        rows = zip(self.ids, self.holders, strict=True)
        return frozenset(one for ids, holders in rows if len(holders) >= least for one in ids)

    def kept_elsewhere(self, me: Name) -> frozenset[str]:
        """The local ids of people who count at another hospital."""
        rows = zip(self.ids, self.holders, strict=True)
        return frozenset(one for ids, holders in rows if not keeps(me, holders) for one in ids)


def alignment_key(alignment: StudyId, part: _Part, *more: str | int) -> str:
    """The vault key of something of one alignment."""
    return "/".join(("alignment", alignment.hex(), part, *map(str, more)))


def approve_alignment(vault: Vault, record: Alignment) -> None:
    """A person agrees to take part, with exactly this question."""
    vault.put(alignment_key(record.alignment, "approved"), record.question)


def is_approved(vault: Vault, record: Alignment) -> bool:
    """Whether a person has agreed to what is asked."""
    return vault.get(alignment_key(record.alignment, "approved")) == record.question


def load_result(vault: Vault, alignment: StudyId) -> AlignmentResult | None:
    """What this site learnt from an alignment; None before it has matched the lists."""
    return vault.load(alignment_key(alignment, "result"), AlignmentResult)


def forget_alignment(vault: Vault, alignment: StudyId) -> None:
    """Delete scalars, lists and inputs; the result stays."""
    held = [key for part in _SECRET_PARTS for key in vault.keys_under(alignment_key(alignment, part))]
    if held:
        with vault.transaction("alignment-forgotten"):
            for key in held:
                vault.delete(key)
