"""RFC 6962 Merkle trees against the published vectors of Certificate Transparency.

Source: google/certificate-transparency, `cpp/merkletree/merkle_tree_test.cc` (the same as in transparency-dev/merkle):
eight leaves, the roots of their prefixes, and inclusion paths (there counted from leaf 1, here from 0).
"""

from __future__ import annotations

import hashlib

import pytest

from medfed.errors import Tampered
from medfed.identifiers import sha256
from medfed.ledger.merkle import inclusion_path, merkle_root, verify_inclusion_path

LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
PATHS = {
    (0, 1): (),
    (0, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (5, 8): (
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 3): ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",),
    (1, 5): (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
}
PLACES = [(size, index) for size in range(1, 41) for index in range(size)]
"""Every place in trees of 1 to 40 leaves."""


def leaves_of(size: int) -> list[bytes]:
    return [sha256(n.to_bytes(4, "big")) for n in range(size)]


@pytest.mark.parametrize("size", range(9))
def test_a_root_is_the_published_one(size: int) -> None:
    assert merkle_root(LEAVES[:size]).hex() == ROOTS[size]


@pytest.mark.parametrize(("place", "published"), PATHS.items())
def test_a_path_is_the_published_one(place: tuple[int, int], published: tuple[str, ...]) -> None:
    index, size = place
    path = inclusion_path(LEAVES[:size], index)
    assert tuple(node.hex() for node in path) == published
    verify_inclusion_path(LEAVES[index], index, size, path, bytes.fromhex(ROOTS[size]))


def test_a_root_is_that_of_the_definition_written_down_literally() -> None:
    """MTH of RFC 6962, section 2.1, with k found by doubling."""

    def mth(leaves: list[bytes]) -> bytes:
        if not leaves:
            return hashlib.sha256(b"").digest()
        if len(leaves) == 1:
            return hashlib.sha256(b"\0" + leaves[0]).digest()
        k = 1
        while 2 * k < len(leaves):
            k *= 2
        return hashlib.sha256(b"\1" + mth(leaves[:k]) + mth(leaves[k:])).digest()

    for size in range(1, 130):
        assert merkle_root(leaves_of(size)) == mth(leaves_of(size))


def test_every_leaf_is_proven_by_its_path() -> None:
    for size, index in PLACES:
        leaves = leaves_of(size)
        verify_inclusion_path(leaves[index], index, size, inclusion_path(leaves, index), merkle_root(leaves))


def test_a_path_is_no_longer_than_the_trees_height() -> None:
    for size, index in PLACES:
        assert len(inclusion_path(leaves_of(size), index)) <= (size - 1).bit_length()


def test_a_path_proves_no_other_leaf_and_no_other_index() -> None:
    for size, index in PLACES:
        leaves = leaves_of(size)
        root, path = merkle_root(leaves), inclusion_path(leaves, index)
        with pytest.raises(Tampered):
            verify_inclusion_path(sha256(b"another"), index, size, path, root)
        for other in range(size):
            if other != index:
                with pytest.raises(Tampered):
                    verify_inclusion_path(leaves[index], other, size, path, root)


def test_a_path_that_was_cut_lengthened_or_changed_proves_nothing() -> None:
    for size, index in PLACES:
        leaves = leaves_of(size)
        root, path = merkle_root(leaves), inclusion_path(leaves, index)
        changed = [(*path, bytes(32)), (bytes(32), *path), path[:-1], path[1:], tuple(reversed(path))]
        changed += [(*path[:n], sha256(path[n]), *path[n + 1 :]) for n in range(len(path))]
        for wrong in changed:
            if wrong != path:
                with pytest.raises(Tampered):
                    verify_inclusion_path(leaves[index], index, size, wrong, root)


def test_an_index_outside_the_tree_is_refused() -> None:
    leaves = leaves_of(5)
    for index in (-1, 5, 2**40):
        with pytest.raises(Tampered):
            verify_inclusion_path(leaves[0], index, 5, inclusion_path(leaves, 0), merkle_root(leaves))
        with pytest.raises(IndexError):
            inclusion_path(leaves, index)
    with pytest.raises(Tampered):
        verify_inclusion_path(b"", 0, 0, (), merkle_root([]))


def test_a_size_that_changes_the_way_to_the_root_is_refused() -> None:
    """Not every wrong size can be noticed from one path (RFC 9162 takes the size from a signed tree head); a size that
    is too small or that gives another height is."""
    for size, index in PLACES:
        leaves = leaves_of(size)
        root, path = merkle_root(leaves), inclusion_path(leaves, index)
        for wrong in (index, 2 * size + 1, 4 * size + 3):
            if wrong != size:
                with pytest.raises(Tampered):
                    verify_inclusion_path(leaves[index], index, wrong, path, root)


def test_an_inner_node_does_not_pass_for_a_leaf() -> None:
    leaves = leaves_of(4)
    node = hashlib.sha256(b"\0" + leaves[0]).digest() + hashlib.sha256(b"\0" + leaves[1]).digest()
    path = inclusion_path(leaves, 0)[1:]
    with pytest.raises(Tampered):
        verify_inclusion_path(node, 0, 2, path, merkle_root(leaves))
