from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from medfed.errors import InvalidInput
from medfed.secure_sum import Entry, Manifest, decode_sum, encode_vector, fixed_scale, implausible_entries
from medfed.secure_sum.fixed_point import CHUNK

FIXED = Manifest((Entry("w", "fixed", 3, 16.0),))


def _encode(values: Any, *, bound: float = 16.0, weight: tuple[int, int] = (1, 1), n: int = 4) -> tuple[Any, int]:
    array = np.asarray(values)
    return encode_vector(Manifest((Entry("w", "fixed", array.size, bound),)), {"w": array}, weight, n)


def _sum(vectors: list[Any]) -> Any:
    return np.add.reduce(np.stack(vectors), dtype=np.uint32)


@pytest.mark.parametrize("n", [3, 10, 50])
@pytest.mark.parametrize("sign", [1, -1])
def test_everybody_at_the_clip_does_not_wrap(n: int, sign: int) -> None:
    vectors = [_encode(np.array([sign * 16.0]), weight=(7, 7 * n), n=n)[0] for _ in range(n)]
    decoded = decode_sum(Manifest((Entry("w", "fixed", 1, 16.0),)), _sum(vectors), (7 * n, 7 * n), n)["w"]
    assert decoded[0] == pytest.approx(sign * 16.0, abs=n * 16 / 2**31)


def test_the_naive_scale_would_wrap() -> None:
    """Why the scale leaves room: 2^31 / c takes +c to -c."""
    naive = np.rint(16.0 * (2**31 / 16.0)).astype(np.int64).astype(np.uint32).view(np.int32)
    assert naive == -(2**31)


def test_the_scale_is_the_designs_formula() -> None:
    assert fixed_scale(16.0, 50) == (2**31 - 1 - 50) / 16
    assert fixed_scale(0.5, 3, 1000) == (2**31 - 1 - 3 - 1000) / 0.5


@pytest.mark.parametrize("noise_bound", [-1, 2**31])
def test_noise_that_leaves_no_room_is_refused(noise_bound: int) -> None:
    with pytest.raises(InvalidInput, match="noise bound"):
        fixed_scale(16.0, 3, noise_bound)


def test_rounding_is_half_to_even() -> None:
    n = 3
    bound = (2**31 - 1 - n) / 4  # four steps in a unit, exactly
    assert fixed_scale(bound, n) == 4
    steps = np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.49, 0.51])
    encoded, _ = _encode(steps / 4, bound=bound, n=n)
    assert encoded.view(np.int32).tolist() == [0, 2, 2, 0, -2, -2, 0, 1]


def test_values_beyond_the_clip_are_clipped_and_counted() -> None:
    encoded, clipped = _encode(np.array([15.9, 16.0, 16.1, -1e30, 0.0], dtype=np.float32))
    assert clipped == 2
    top = round(16 * fixed_scale(16.0, 4))
    assert encoded.view(np.int32)[[1, 2, 3, 4]].tolist() == [top, top, -top, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, CHUNK - 1, CHUNK, 2 * CHUNK + 4])
def test_nan_or_infinity_anywhere_is_an_error_that_names_the_entry(bad: float, at: int) -> None:
    values = np.zeros(2 * CHUNK + 5, dtype=np.float32)
    values[at] = bad
    with pytest.raises(InvalidInput, match=r"^w: expected finite numbers"):
        _encode(values)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_chunks_join_without_a_seam(dtype: type) -> None:
    values = (np.random.default_rng(3).normal(size=2 * CHUNK + 77) * 8).astype(dtype)
    encoded, clipped = _encode(values, weight=(3, 7))
    factor = 3 / 7 * fixed_scale(16.0, 4)
    x = values.astype(np.float64)
    expected = np.rint(np.clip(x, -16, 16) * factor).astype(np.int64).astype(np.uint32)
    np.testing.assert_array_equal(encoded, expected)
    assert clipped == np.count_nonzero(np.abs(x) > 16)


def test_the_decoded_mean_is_the_survivors_weighted_mean() -> None:
    rng = np.random.default_rng(0)
    sizes, values = [30, 200, 7, 90], rng.normal(size=(4, 3))
    survivors = [0, 1, 3]
    whole = sum(sizes)
    vectors = [encode_vector(FIXED, {"w": values[i]}, (sizes[i], whole), 4)[0] for i in survivors]
    part = sum(sizes[i] for i in survivors)
    decoded = decode_sum(FIXED, _sum(vectors), (part, whole), 4)["w"]
    exact = [float(sum(Fraction(float(values[i, k])) * sizes[i] for i in survivors) / part) for k in range(3)]
    # Each hospital rounds by at most half a step.
    np.testing.assert_allclose(decoded, exact, rtol=0, atol=3 * 0.5 / fixed_scale(16.0, 4) / (part / whole))


def test_counts_are_exact_up_to_their_bounds() -> None:
    top1, top2 = (2**32 - 1) // 50, 2**52 - 1
    manifest = Manifest((Entry("one", "count", 2, top1), Entry("two", "count", 4, top2, 2)))
    two = np.array([top2, 2**26 - 1, 2**26, 0])
    vectors = [encode_vector(manifest, {"one": np.array([top1, 0]), "two": two}, (1, 50), 50)[0] for _ in range(50)]
    decoded = decode_sum(manifest, _sum(vectors), (50, 50), 50)
    assert decoded["one"].tolist() == [50 * top1, 0]
    assert decoded["two"].tolist() == [50 * v for v in two.tolist()]
    assert decoded["two"].dtype == np.int64


def test_noisy_sums_are_centred() -> None:
    manifest = Manifest((Entry("v", "noisy", 3, (2**31 - 1) // 3),))
    top = (2**31 - 1) // 3
    vectors = [encode_vector(manifest, {"v": np.array([top, -top, -1])}, (1, 3), 3)[0] for _ in range(3)]
    assert decode_sum(manifest, _sum(vectors), (3, 3), 3)["v"].tolist() == [3 * top, -3 * top, -3]


def test_noise_that_is_not_whole_is_refused() -> None:
    for noise in (np.array([0.5, 0.0, 0.0]), np.zeros(3), np.array([True, False, True])):
        with pytest.raises(InvalidInput, match="whole-number noise"):
            encode_vector(FIXED, {"w": np.zeros(3)}, (1, 3), 3, noise={"w": noise}, noise_bound=10)  # type: ignore[dict-item]


def test_noise_is_added_in_steps_after_rounding() -> None:
    noise = np.array([5, -7, 0])
    clean, _ = encode_vector(FIXED, {"w": np.array([1.0, -1.0, 16.0])}, (1, 3), 3, noise_bound=10)
    noisy, _ = encode_vector(FIXED, {"w": np.array([1.0, -1.0, 16.0])}, (1, 3), 3, noise={"w": noise}, noise_bound=10)
    assert (noisy - clean).view(np.int32).tolist() == noise.tolist()
    with pytest.raises(InvalidInput, match="exceeds"):
        encode_vector(FIXED, {"w": np.zeros(3)}, (1, 3), 3, noise={"w": np.array([11, 0, 0])}, noise_bound=10)
    with pytest.raises(InvalidInput, match="'x'"):
        encode_vector(FIXED, {"w": np.zeros(3)}, (1, 3), 3, noise={"x": noise}, noise_bound=10)


@pytest.mark.parametrize(
    ("kind", "values", "sentence"),
    [
        ("count", np.array([1, 8]), "from 0 to 7"),
        ("count", np.array([-1, 0]), "from 0 to 7"),
        ("count", np.array([2**64 - 1, 0], dtype=np.uint64), "from 0 to 7"),
        ("count", np.array([1.0, 2.0]), "expected integers"),
        ("count", np.array([1, 2, 3]), "expected 2 values, found 3"),
        ("noisy", np.array([-8, 0]), "from -7 to 7"),
        ("fixed", np.array([1, 2]), "floating-point"),
        ("fixed", np.array([1j, 2]), "floating-point"),
    ],
)
def test_unfit_values_are_errors_that_name_the_entry(kind: Any, values: Any, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=f"^e: .*{sentence}"):
        encode_vector(Manifest((Entry("e", kind, 2, 7),)), {"e": values}, (1, 1), 3)


def test_an_error_never_quotes_a_value() -> None:
    with pytest.raises(InvalidInput) as caught:
        encode_vector(Manifest((Entry("e", "count", 1, 7),)), {"e": np.array([123456])}, (1, 1), 3)
    assert "123456" not in str(caught.value)


def test_missing_and_superfluous_entries_are_named() -> None:
    with pytest.raises(InvalidInput, match="w: missing"):
        encode_vector(FIXED, {}, (1, 1), 3)
    with pytest.raises(InvalidInput, match="extra: not in the manifest"):
        encode_vector(FIXED, {"w": np.zeros(3), "extra": np.zeros(3)}, (1, 1), 3)


@pytest.mark.parametrize("weight", [(0, 5), (6, 5), (-1, 5), (0, 0)])
def test_a_weight_that_is_no_fraction_is_refused(weight: tuple[int, int]) -> None:
    with pytest.raises(InvalidInput, match="weight"):
        encode_vector(FIXED, {"w": np.zeros(3)}, weight, 3)
    with pytest.raises(InvalidInput, match="weight"):
        decode_sum(FIXED, np.zeros(3, dtype=np.uint32), weight, 3)


@pytest.mark.parametrize("total", [np.zeros(2, np.uint32), np.zeros(3, np.int64), np.zeros((3, 1), np.uint32)])
def test_a_total_of_another_shape_or_type_is_refused(total: Any) -> None:
    with pytest.raises(InvalidInput, match="total"):
        decode_sum(FIXED, total, (1, 1), 3)


def test_an_honest_sum_is_plausible_and_garbage_is_not() -> None:
    manifest = Manifest((*FIXED.entries, Entry("c", "count", 2, 9), Entry("v", "noisy", 1, 5)))
    values = {"w": np.full(3, 16.0), "c": np.array([9, 0]), "v": np.array([-5])}
    total = _sum([encode_vector(manifest, values, (1, 3), 3)[0] for _ in range(2)])
    decoded = decode_sum(manifest, total, (2, 3), 3)
    assert implausible_entries(manifest, decoded, (2, 3), 3) == []
    garbage = decode_sum(manifest, np.full(6, 0x7FFF_FFFF, dtype=np.uint32), (2, 3), 3)
    assert implausible_entries(manifest, garbage, (2, 3), 3) == ["w", "c", "v"]


def test_the_most_noise_that_leaves_room_is_taken_and_one_step_more_is_not() -> None:
    most = 2**31 - 1 - 3 - 2**16
    assert fixed_scale(1.0, 3, most) == 2**16
    with pytest.raises(InvalidInput, match=f"expected 0 to {most}, found {most + 1}"):
        fixed_scale(1.0, 3, most + 1)


@pytest.mark.parametrize(("noise", "is_taken"), [(1_000, True), (-1_000, True), (1_001, False), (-1_001, False)])
def test_noise_up_to_the_plans_bound_is_added_and_no_more(noise: int, is_taken: bool) -> None:
    def encoded() -> Any:
        return encode_vector(
            FIXED, {"w": np.zeros(3)}, (1, 1), 4, noise={"w": np.array([0, noise, 0])}, noise_bound=1_000
        )

    if is_taken:
        assert encoded()[0].view(np.int32).tolist() == [0, noise, 0]
    else:
        with pytest.raises(InvalidInput, match="noise exceeds"):
            encoded()


def test_an_honest_sum_at_a_bound_below_one_is_plausible() -> None:
    manifest = Manifest((Entry("w", "fixed", 1, 0.5),))
    vectors = [_encode(np.array([0.5]), bound=0.5, weight=(1, 4))[0] for _ in range(4)]
    decoded = decode_sum(manifest, _sum(vectors), (4, 4), 4)
    assert implausible_entries(manifest, decoded, (4, 4), 4) == []


def test_a_sum_over_a_number_of_hospitals_that_cannot_be_is_not_decoded() -> None:
    total = np.zeros(3, dtype=np.uint32)
    for hospitals in (0, -1, 2**32):
        with pytest.raises(InvalidInput):
            decode_sum(FIXED, total, (1, 1), hospitals)
