from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from medfed.errors import InvalidInput, Refused
from medfed.homomorphic import PARAMETERS, Layout, NativeCipher, add_ciphertexts, decrypt_sum, encrypt_vector
from medfed.homomorphic.packing import pack, unpack

pytest.importorskip("tenseal")
pytest.importorskip("zstandard")

SEEDS = [bytes([value]) * 32 for value in range(1, 51)]


@pytest.fixture(scope="module")
def cipher() -> NativeCipher:
    return NativeCipher(PARAMETERS)


@pytest.fixture(scope="module")
def keys(cipher: NativeCipher) -> Any:
    return cipher.generate()


def _vector(length: int, seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, 2**32, length, dtype=np.uint32)


def _sealed(cipher: NativeCipher, keys: Any, layout: Layout, vectors: dict[int, Any]) -> dict[int, bytes]:
    return {
        place: b"".join(encrypt_vector(cipher, keys.public, layout, vector, place, SEEDS[place]))
        for place, vector in vectors.items()
    }


def _sum(layout: Layout, *parts: bytes) -> bytes:
    return b"".join(add_ciphertexts(layout, [io.BytesIO(part) for part in parts]))


def _seeds(*places: int) -> dict[int, bytes]:
    return {place: SEEDS[place] for place in places}


@pytest.mark.parametrize("length", [1, 4032, 4033, 70_000])
def test_the_decrypted_total_is_the_sum_modulo_two_to_the_32(cipher: NativeCipher, keys: Any, length: int) -> None:
    layout = Layout(3, length)
    vectors = {place: _vector(length, place) for place in range(3)}
    sealed = _sealed(cipher, keys, layout, vectors)
    assert all(len(part) == layout.size for part in sealed.values())
    total = decrypt_sum(cipher, keys.secret, layout, io.BytesIO(_sum(layout, *sealed.values())), _seeds(0, 1, 2))
    np.testing.assert_array_equal(total, vectors[0] + vectors[1] + vectors[2])
    assert total.dtype == np.uint32


def test_dropouts_leave_the_smaller_sum(cipher: NativeCipher, keys: Any) -> None:
    layout = Layout(5, 5000)
    vectors = {place: _vector(5000, place) for place in (0, 2, 4)}
    sealed = _sealed(cipher, keys, layout, vectors)
    total = decrypt_sum(cipher, keys.secret, layout, io.BytesIO(_sum(layout, *sealed.values())), _seeds(0, 2, 4))
    np.testing.assert_array_equal(total, vectors[0] + vectors[2] + vectors[4])


@pytest.mark.parametrize("value", [0, 1, 2**31 - 1, 2**31, 2**32 - 1])
def test_fifty_hospitals_with_the_most_extreme_numbers_decrypt_exactly(
    cipher: NativeCipher, keys: Any, value: int
) -> None:
    layout = Layout(50, 100)
    vector = np.full(100, value, dtype=np.uint32)
    sealed = _sealed(cipher, keys, layout, dict.fromkeys(range(50), vector))
    total = decrypt_sum(cipher, keys.secret, layout, io.BytesIO(_sum(layout, *sealed.values())), _seeds(*range(50)))
    assert (total == 50 * value % 2**32).all()


def test_the_noise_of_fifty_hospitals_is_far_below_the_limit(cipher: NativeCipher, keys: Any) -> None:
    """Measured with the secret key: the rounding's standard deviation is sqrt((1 + 2N/3) / 12) for each hospital."""
    zeros = cipher.encrypt_zeros(keys.public, 50)
    total = zeros.sum(axis=0, dtype=np.uint64) % np.uint64(PARAMETERS.modulus)
    # Δ · x + noise decrypts to x: shifting by just less and just more than the limit finds the largest noise.
    limit = int(PARAMETERS.noise_limit)
    expected = np.sqrt(50 * (1 + 2 * PARAMETERS.degree / 3) / 12)
    for shift, exact in ((limit - 8 * int(expected), True), (limit + 8 * int(expected), False)):
        moved = total.copy()
        moved[0] = (moved[0] + np.uint64(shift)) % np.uint64(PARAMETERS.modulus)
        assert bool((cipher.decrypt(keys.secret, moved[None]) == 0).all()) is exact
    assert 8 * expected < limit / 30


def test_adding_gives_the_same_bytes_in_any_order(cipher: NativeCipher, keys: Any) -> None:
    layout = Layout(3, 5000)
    one, two, three = _sealed(cipher, keys, layout, {place: _vector(5000, place) for place in range(3)}).values()
    assert _sum(layout, one, two, three) == _sum(layout, three, one, two)


def test_the_same_vector_is_never_encrypted_to_the_same_bytes(cipher: NativeCipher, keys: Any) -> None:
    layout, vector = Layout(3, 10), _vector(10, 0)
    found = {b"".join(encrypt_vector(cipher, keys.public, layout, vector, 0, SEEDS[0])) for _ in range(4)}
    assert len(found) == 4
    seconds = {bytes(memoryview(data)[PARAMETERS.ciphertext_bytes // 2 :]) for data in found}
    assert len(seconds) == 4


def test_a_sum_is_encryptions_of_zero_and_delta_times_the_total_so_that_it_tells_the_total_only(
    keys: Any,
) -> None:
    """Two ways of sharing one total, the same encryptions of zero: the very same sum, not only the same total."""
    layout = Layout(3, 4000)
    total = np.random.default_rng(9).integers(-(2**20), 2**20, 4000)
    shares = [np.random.default_rng(s).integers(-(2**29), 2**29, (2, 4000)) for s in (1, 2)]
    sums: set[bytes] = set()
    for share in shares:
        parts = [*share, total - share.sum(axis=0)]
        cipher = _Recorded()
        sealed = [
            b"".join(encrypt_vector(cipher, keys.public, layout, part.astype(np.uint32), place, SEEDS[place]))
            for place, part in enumerate(parts)
        ]
        sums.add(_sum(layout, *sealed))
    assert len(sums) == 1


class _Recorded(NativeCipher):
    """Encryptions of zero that are the same for every instance."""

    def __init__(self) -> None:
        super().__init__(PARAMETERS)
        self._draws = np.random.default_rng(5)

    def encrypt_zeros(self, public: bytes, count: int) -> Any:
        return self._draws.integers(0, PARAMETERS.modulus, (count, 2, PARAMETERS.degree), dtype=np.uint64)


# What an aggregator may try. The key holder sees it before it tells anything.


def _refuses(cipher: NativeCipher, keys: Any, layout: Layout, data: bytes, *survivors: int) -> None:
    with pytest.raises(Refused, match="the tags at the places"):
        decrypt_sum(cipher, keys.secret, layout, io.BytesIO(data), _seeds(*survivors))


@pytest.fixture(scope="module")
def layout() -> Layout:
    return Layout(4, 9000)


@pytest.fixture(scope="module")
def sealed(cipher: NativeCipher, keys: Any, layout: Layout) -> dict[int, bytes]:
    return _sealed(cipher, keys, layout, {place: _vector(9000, place) for place in range(4)})


def test_a_sum_of_one_is_refused(cipher: NativeCipher, keys: Any, layout: Layout, sealed: dict[int, bytes]) -> None:
    _refuses(cipher, keys, layout, _sum(layout, sealed[0]), 0, 1, 2)


def test_a_sum_without_a_survivor_is_refused(
    cipher: NativeCipher, keys: Any, layout: Layout, sealed: dict[int, bytes]
) -> None:
    _refuses(cipher, keys, layout, _sum(layout, sealed[0], sealed[2]), 0, 1, 2)


def test_a_survivor_counted_twice_is_refused(
    cipher: NativeCipher, keys: Any, layout: Layout, sealed: dict[int, bytes]
) -> None:
    _refuses(cipher, keys, layout, _sum(layout, sealed[0], sealed[1], sealed[2], sealed[2]), 0, 1, 2)


def test_somebody_who_is_no_survivor_is_refused(
    cipher: NativeCipher, keys: Any, layout: Layout, sealed: dict[int, bytes]
) -> None:
    _refuses(cipher, keys, layout, _sum(layout, *sealed.values()), 0, 1, 2)


def test_one_ciphertext_of_one_hospital_among_right_sums_is_refused(
    cipher: NativeCipher, keys: Any, layout: Layout, sealed: dict[int, bytes]
) -> None:
    size = PARAMETERS.ciphertext_bytes
    right = _sum(layout, sealed[0], sealed[1], sealed[2])
    for at in range(layout.ciphertexts):
        mixed = right[: at * size] + sealed[0][at * size : (at + 1) * size] + right[(at + 1) * size :]
        _refuses(cipher, keys, layout, mixed, 0, 1, 2)


def test_ciphertexts_of_a_sum_in_another_order_are_refused(
    cipher: NativeCipher, keys: Any, layout: Layout, sealed: dict[int, bytes]
) -> None:
    size = PARAMETERS.ciphertext_bytes
    right = _sum(layout, sealed[0], sealed[1], sealed[2])
    _refuses(cipher, keys, layout, right[size : 2 * size] + right[:size] + right[2 * size :], 0, 1, 2)


def test_a_ciphertext_multiplied_or_rotated_is_refused(
    cipher: NativeCipher, keys: Any, layout: Layout, sealed: dict[int, bytes]
) -> None:
    right = unpack(PARAMETERS, _sum(layout, sealed[0], sealed[1], sealed[2]))
    for changed in (right * np.uint64(3) % np.uint64(PARAMETERS.modulus), np.roll(right, 1, axis=2)):
        _refuses(cipher, keys, layout, pack(PARAMETERS, changed), 0, 1, 2)


def test_a_ciphertext_of_another_round_is_refused(
    cipher: NativeCipher, keys: Any, layout: Layout, sealed: dict[int, bytes]
) -> None:
    earlier = b"".join(encrypt_vector(cipher, keys.public, layout, _vector(9000, 1), 1, SEEDS[40]))
    _refuses(cipher, keys, layout, _sum(layout, sealed[0], earlier, sealed[2]), 0, 1, 2)


def test_a_ciphertext_under_another_key_is_refused(
    cipher: NativeCipher, keys: Any, layout: Layout, sealed: dict[int, bytes]
) -> None:
    other = b"".join(encrypt_vector(cipher, cipher.generate().public, layout, _vector(9000, 1), 1, SEEDS[1]))
    _refuses(cipher, keys, layout, _sum(layout, sealed[0], other, sealed[2]), 0, 1, 2)


def test_a_sum_in_the_clear_is_refused(cipher: NativeCipher, keys: Any, layout: Layout) -> None:
    with pytest.raises(InvalidInput, match="nobody has encrypted it"):
        decrypt_sum(cipher, keys.secret, layout, io.BytesIO(bytes(layout.size)), _seeds(0, 1, 2))


def test_sums_of_another_length_are_refused(layout: Layout, sealed: dict[int, bytes]) -> None:
    for data, message in ((sealed[0][:-1], "1 bytes are missing"), (sealed[0] + b"\0", "more bytes"), (b"", "missing")):
        with pytest.raises(InvalidInput, match=f"vector 2.*{message}"):
            _sum(layout, sealed[1], data)
    with pytest.raises(InvalidInput, match="1 to 50 hospitals, found 0"):
        _sum(layout)
    with pytest.raises(InvalidInput, match="1 to 50 hospitals, found 51"):
        _sum(layout, *[sealed[0]] * 51)


def test_a_reader_may_give_a_few_bytes_at_a_time(layout: Layout, sealed: dict[int, bytes]) -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 1000))

    made = b"".join(add_ciphertexts(layout, [Slow(sealed[0]), Slow(sealed[1])]))
    assert made == _sum(layout, sealed[0], sealed[1])


def test_adding_and_encrypting_hold_a_batch_and_never_a_whole_vector(cipher: NativeCipher, keys: Any) -> None:
    layout = Layout(4, 1_000_000)
    vector = _vector(layout.length, 0)

    class Zeros:
        def __init__(self) -> None:
            self.left = layout.size

        def read(self, size: int, /) -> bytes:
            size = min(size, self.left)
            self.left -= size
            return bytes(size)

    def peak(work: Iterator[bytes]) -> int:
        tracemalloc.start()
        for _ in work:
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(encrypt_vector(cipher, keys.public, layout, vector, 0, SEEDS[0])) < 10 << 20
    assert peak(add_ciphertexts(layout, [Zeros() for _ in range(4)])) < 10 << 20
