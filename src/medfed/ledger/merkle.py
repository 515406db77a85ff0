"""Merkle trees as in RFC 6962, section 2.1: roots, inclusion paths and their verification."""

from __future__ import annotations

from collections.abc import Sequence

from medfed.errors import Tampered
from medfed.identifiers import Digest, sha256

__all__ = ["inclusion_path", "merkle_root", "verify_inclusion_path"]


def merkle_root(leaves: Sequence[bytes]) -> Digest:
    """MTH(leaves)."""
    return _root([_leaf(leaf) for leaf in leaves])


def inclusion_path(leaves: Sequence[bytes], index: int) -> tuple[Digest, ...]:
    """PATH(index, leaves): the sibling digests from the leaf upwards."""
    if not 0 <= index < len(leaves):
        raise IndexError(f"leaf {index} of {len(leaves)}")
    return tuple(_path([_leaf(leaf) for leaf in leaves], index))


def verify_inclusion_path(leaf: bytes, index: int, size: int, path: Sequence[Digest], root: Digest) -> None:
    """Check that `leaf` is number `index` of the `size` leaves under `root` (RFC 9162, section 2.1.3.2).

    Raises:
        Tampered: it is not.
    """
    if not 0 <= index < size:
        raise Tampered(f"inclusion proof: leaf {index} of {size}")
    first, last, digest = index, size - 1, _leaf(leaf)
    for sibling in path:
        if last == 0:
            raise Tampered("inclusion proof: the path is too long")
        if first & 1 or first == last:
            digest = _node(sibling, digest)
            while first and not first & 1:
                first >>= 1
                last >>= 1
        else:
            digest = _node(digest, sibling)
        first >>= 1
        last >>= 1
    if last != 0 or digest != root:
        raise Tampered("inclusion proof: the path does not lead to the root")


def _leaf(data: bytes) -> Digest:
    return sha256(b"\x00" + data)


def _node(left: Digest, right: Digest) -> Digest:
    return sha256(b"\x01" + left + right)


def _split(size: int) -> int:
    return 1 << (size - 1).bit_length() - 1


def _root(hashes: list[Digest]) -> Digest:
    if not hashes:
        return sha256(b"")
    if len(hashes) == 1:
        return hashes[0]
    k = _split(len(hashes))
    return _node(_root(hashes[:k]), _root(hashes[k:]))


def _path(hashes: list[Digest], index: int) -> list[Digest]:
    if len(hashes) == 1:
        return []
    k = _split(len(hashes))
    if index < k:
        return [*_path(hashes[:k], index), _root(hashes[k:])]
    return [*_path(hashes[k:], index - k), _root(hashes[:k])]
