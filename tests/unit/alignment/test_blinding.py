from __future__ import annotations

import pytest

from medfed.alignment.blinding import blind_list, check_list, elements_of
from medfed.crypto import multiply, new_scalar, random_element, seeded_entropy
from medfed.errors import InvalidInput


def _list(count: int, seed: bytes = b"blinding") -> bytes:
    entropy = seeded_entropy(seed)
    return b"".join(random_element(entropy) for _ in range(count))


def test_every_element_is_blinded_in_its_place() -> None:
    scalar = new_scalar(seeded_entropy(b"s"))
    elements = _list(20)
    assert elements_of(blind_list(scalar, elements, 20)) == [multiply(scalar, e) for e in elements_of(elements)]


def test_the_number_of_threads_does_not_change_a_byte() -> None:
    scalar = new_scalar(seeded_entropy(b"s"))
    elements = _list(1_500)
    assert blind_list(scalar, elements, 1_500, workers=1) == blind_list(scalar, elements, 1_500, workers=4)


def test_the_order_of_blinding_does_not_matter() -> None:
    entropy = seeded_entropy(b"s")
    one, other = new_scalar(entropy), new_scalar(entropy)
    elements = _list(5)
    assert blind_list(one, blind_list(other, elements, 5), 5) == blind_list(other, blind_list(one, elements, 5), 5)


@pytest.mark.parametrize("size", [0, 31, 32 * 4, 32 * 6, 32 * 5 + 1])
def test_a_list_of_another_length_is_refused(size: int) -> None:
    scalar = new_scalar(seeded_entropy(b"s"))
    elements = (_list(7))[:size]
    with pytest.raises(InvalidInput, match="expected 5 elements"):
        blind_list(scalar, elements, 5)
    with pytest.raises(InvalidInput, match="expected 5 elements"):
        check_list(elements, 5)


@pytest.mark.parametrize(
    "bad", [bytes(32), b"\xff" * 32, b"\1" + bytes(31)], ids=["identity", "not-canonical", "negative"]
)
def test_one_bad_element_refuses_the_whole_list(bad: bytes) -> None:
    scalar = new_scalar(seeded_entropy(b"s"))
    elements = _list(4) + bad
    with pytest.raises(InvalidInput, match="not a valid element"):
        blind_list(scalar, elements, 5)
    with pytest.raises(InvalidInput, match="position 4 holds no valid element"):
        check_list(elements, 5)


def test_an_element_that_is_there_twice_refuses_the_list() -> None:
    elements = _list(4)
    doubled = elements + elements[:32]
    with pytest.raises(InvalidInput, match="there twice"):
        check_list(doubled, 5)
    with pytest.raises(InvalidInput, match="there twice"):
        blind_list(new_scalar(seeded_entropy(b"s")), doubled, 5)
