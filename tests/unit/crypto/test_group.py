from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from medfed.crypto import (
    hash_to_element,
    is_element,
    multiply,
    multiply_each,
    new_scalar,
    random_element,
    seeded_entropy,
)
from medfed.crypto.group import UNIFORM_BYTES, uniform_element
from medfed.errors import InvalidInput

DOMAIN = b"medfed/test"


def test_blinding_commutes() -> None:
    entropy = seeded_entropy(b"group")
    one, other = new_scalar(entropy), new_scalar(entropy)
    element = hash_to_element(b"a value", DOMAIN)
    assert multiply(one, multiply(other, element)) == multiply(other, multiply(one, element))


def test_data_and_domain_both_change_the_element() -> None:
    elements = {hash_to_element(data, domain) for data in (b"", b"a", b"b") for domain in (b"1", b"2")}
    assert len(elements) == 6
    assert all(is_element(element) for element in elements)


def test_a_domain_cannot_move_into_the_data() -> None:
    assert hash_to_element(b"ab", b"c") != hash_to_element(b"a", b"bc")


@pytest.mark.parametrize("domain", [b"", b"x" * 256])
def test_a_domain_of_another_length_is_refused(domain: bytes) -> None:
    with pytest.raises(InvalidInput, match="1 to 255 bytes"):
        hash_to_element(b"a", domain)


def test_random_elements_are_valid_and_different() -> None:
    entropy = seeded_entropy(b"random")
    elements = [random_element(entropy) for _ in range(50)]
    assert len(set(elements)) == 50
    assert all(is_element(element) for element in elements)


def test_scalars_are_reduced_and_never_zero() -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    entropy = seeded_entropy(b"scalar")
    assert all(0 < int.from_bytes(new_scalar(entropy), "little") < order for _ in range(50))
    with pytest.raises(InvalidInput, match="zero"):
        new_scalar(bytes)


def test_a_list_is_multiplied_as_each_of_its_elements_is() -> None:
    entropy = seeded_entropy(b"each")
    scalar, elements = new_scalar(entropy), [random_element(entropy) for _ in range(20)]
    assert multiply_each(scalar, b"".join(elements)) == b"".join(multiply(scalar, element) for element in elements)
    assert multiply_each(scalar, b"") == b""


@pytest.mark.parametrize("place", [0, 3, 5])
@pytest.mark.parametrize("bad", [bytes(32), b"\xff" * 32, bytes(31) + b"\x80", b"\1" + bytes(31)])
def test_a_list_with_one_bad_element_is_refused_whole(bad: bytes, place: int) -> None:
    entropy = seeded_entropy(b"each")
    elements = [random_element(entropy) for _ in range(5)]
    elements.insert(place, bad)
    with pytest.raises(InvalidInput, match="not a valid element"):
        multiply_each(new_scalar(entropy), b"".join(elements))


def test_a_list_under_no_scalar_or_cut_short_is_refused() -> None:
    element = hash_to_element(b"a", DOMAIN)
    with pytest.raises(InvalidInput, match="not a valid element, or the identity"):
        multiply_each(bytes(32), element)
    with pytest.raises(InvalidInput, match="scalar: expected 32 bytes, found 31"):
        multiply_each(bytes(31), element)
    with pytest.raises(InvalidInput, match="found 33 in all"):
        multiply_each(b"\1" + bytes(31), element + b"\0")


@pytest.mark.parametrize("length", [0, 31, 33])
def test_other_lengths_are_refused(length: int) -> None:
    element = hash_to_element(b"a", DOMAIN)
    with pytest.raises(InvalidInput, match=f"scalar: expected 32 bytes, found {length}"):
        multiply(bytes(length), element)
    with pytest.raises(InvalidInput, match=f"element: expected 32 bytes, found {length}"):
        multiply(b"\1" + bytes(31), element[:1] * length)
    assert not is_element(element[:1] * length)


def test_the_highest_bit_of_an_encoding_must_be_clear() -> None:
    """libsodium 1.0.18 ignores it, so that one element would have two encodings (RFC 9496, 4.3.1, wants one)."""
    element = hash_to_element(b"a", DOMAIN)
    other = element[:-1] + bytes((element[-1] | 0x80,))
    assert is_element(element)
    assert not is_element(other)
    assert not is_element(bytes(31) + b"\x80")
    with pytest.raises(InvalidInput, match="not a valid element"):
        multiply(b"\2" + bytes(31), other)


def test_the_zero_scalar_is_refused() -> None:
    with pytest.raises(InvalidInput):
        multiply(bytes(32), hash_to_element(b"a", DOMAIN))


@pytest.mark.parametrize("length", [0, 63, 65])
def test_uniform_bytes_of_another_length_are_refused(length: int) -> None:
    with pytest.raises(InvalidInput, match="expected 64"):
        uniform_element(bytes(length))


def test_uniform_bytes_that_give_the_identity_are_refused() -> None:
    with pytest.raises(InvalidInput, match="identity"):
        uniform_element(bytes(UNIFORM_BYTES))


@pytest.mark.skipif(sys.platform == "win32", reason="a loaded library cannot be removed there")
def test_no_copy_of_the_library_stays_in_the_temporary_directory(tmp_path: Path) -> None:
    code = (
        "from medfed.crypto import is_element; assert not is_element(bytes(32)); assert is_element(b'\\xe2') is False\n"
    )
    code += "from medfed.crypto import hash_to_element; hash_to_element(b'', b'x')"
    subprocess.run(
        [sys.executable, "-c", code], env={"TMPDIR": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}, check=True
    )
    assert list(tmp_path.iterdir()) == []
