from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medfed.errors import InvalidInput
from medfed.homomorphic import Layout
from medfed.homomorphic.layout import TAG_WORDS

SEEDS = [bytes([value]) * 32 for value in range(1, 5)]


def _vector(length: int) -> Any:
    return np.random.default_rng(length).integers(0, 2**32, length, dtype=np.uint32)


@pytest.mark.parametrize("length", [1, 4031, 4032, 4033, 10_000])
@pytest.mark.parametrize("batch", [1, 2, 16])
def test_what_is_spread_over_plaintexts_is_found_again(length: int, batch: int) -> None:
    layout, vector = Layout(4, length), _vector(length)
    blocks = list(layout.plaintexts(vector, 2, SEEDS[0], batch))
    assert all(len(block) <= batch for block in blocks)
    plain = np.concatenate(blocks)
    assert plain.shape == (layout.ciphertexts, 4096)
    np.testing.assert_array_equal(layout.elements_of(plain, 0), vector)
    last = layout.elements_of(plain[-1:], layout.ciphertexts - 1)
    np.testing.assert_array_equal(last, vector[-1 - (length - 1) % 4032 :])


def test_the_sum_of_plaintexts_has_every_survivors_tag_at_its_place_and_zeros_elsewhere() -> None:
    layout = Layout(4, 9000)
    seeds = {0: SEEDS[0], 3: SEEDS[3]}
    total = sum(next(iter(layout.plaintexts(_vector(9000), place, seed, 99))) for place, seed in seeds.items())
    np.testing.assert_array_equal(total[:, : layout.tag_elements], layout.expected_tags(seeds))
    assert not total[:, TAG_WORDS : 3 * TAG_WORDS].any()
    assert layout.tag_elements == 64
    assert not total[:, 4 * TAG_WORDS : 64].any()
    assert Layout(50, 1).tag_elements == 100


def test_a_hospitals_tags_differ_in_every_ciphertext_and_for_every_seed() -> None:
    layout = Layout(3, 50_000)
    tags = layout.expected_tags({0: SEEDS[0], 1: SEEDS[1]})[:, : 2 * TAG_WORDS].reshape(-1, TAG_WORDS)
    assert len({row.tobytes() for row in tags}) == 2 * layout.ciphertexts


def test_the_size_for_a_million_elements_is_within_forty_bytes_an_element_for_any_roster() -> None:
    for hospitals in (3, 50):
        assert Layout(hospitals, 1_000_000).size <= 13 * 1_000_000


@pytest.mark.parametrize(("hospitals", "length"), [(0, 1), (51, 1), (3, 0), (3, 2**28 + 1)])
def test_a_layout_out_of_bounds_is_refused(hospitals: int, length: int) -> None:
    with pytest.raises(InvalidInput, match="expected 1 to"):
        Layout(hospitals, length)


def test_another_vector_or_place_is_refused() -> None:
    layout = Layout(3, 10)
    for vector in (_vector(9), _vector(10).astype(np.int64), _vector(10).reshape(2, 5)):
        with pytest.raises(InvalidInput, match=r"expected uint32 \[10\]"):
            list(layout.plaintexts(vector, 0, SEEDS[0], 1))
    for place in (-1, 3):
        with pytest.raises(InvalidInput, match="a place from 0 to 2"):
            list(layout.plaintexts(_vector(10), place, SEEDS[0], 1))
