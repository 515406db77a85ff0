"""Parameters: immutable, finite, and canonical as bytes."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import safetensors.numpy

from medfed.errors import InvalidInput
from medfed.models.parameters import Parameters


def example() -> Parameters:
    rng = np.random.default_rng(3)
    return Parameters.from_arrays({"b": rng.normal(size=(3, 2)), "a": rng.normal(size=4), "s": np.full(1, 7.0)})


def with_header(header: object, values: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + values


def test_arrays_are_views_of_flat_in_the_order_given():
    parameters = example()
    assert list(parameters) == ["b", "a", "s"]
    assert dict(parameters.shapes) == {"b": (3, 2), "a": (4,), "s": (1,)}
    joined = np.concatenate([array.reshape(-1) for array in parameters.values()])
    assert parameters.flat.dtype == np.float32
    assert np.array_equal(joined, parameters.flat)
    assert all(np.shares_memory(array, parameters.flat) for array in parameters.values())


def test_nothing_handed_out_can_be_written():
    parameters = example()
    for array in (parameters.flat, *parameters.values()):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True


def test_changing_the_arrays_it_was_made_from_changes_nothing():
    source = np.arange(11, dtype=np.float32)
    all_made = [
        Parameters.from_arrays({"w": source}),
        example().with_flat(source),
        Parameters({"w": (11,)}, source),
    ]
    source[:] = 99
    assert all(np.array_equal(made.flat, np.arange(11)) for made in all_made)


def test_with_flat_rounds_float64_to_the_nearest_float32():
    flat = np.linspace(-1, 1, 11) / 3
    assert np.array_equal(example().with_flat(flat).flat, flat.astype(np.float32))


def test_load_undoes_save_bit_for_bit():
    parameters = example()
    loaded = Parameters.load(parameters.save())
    assert loaded == parameters
    assert loaded.save() == parameters.save()
    assert loaded.flat.flags.aligned
    assert hash(loaded) == hash(parameters)


def test_digest_is_the_sha256_of_the_saved_bytes():
    parameters = example()
    assert parameters.digest == hashlib.sha256(parameters.save()).digest()


def test_equality_tells_order_and_sign_of_zero_apart():
    zero = {"w": np.zeros(2), "v": np.zeros(2)}
    plus = Parameters.from_arrays(zero)
    assert plus != plus.with_flat(np.array([0, 0, 0, -0.0], np.float32))
    assert plus != Parameters.from_arrays({"v": np.zeros(2), "w": np.zeros(2)})
    assert plus == Parameters.from_arrays(zero)
    assert plus != 3


def test_safetensors_itself_reads_what_save_writes():
    parameters = example()
    read = safetensors.numpy.load(parameters.save())
    assert set(read) == set(parameters)
    assert all(np.array_equal(read[name], parameters[name]) for name in read)


def test_load_reads_what_safetensors_itself_writes():
    arrays = {"a.bias": np.array([1, 2], np.float32), "a.weight": np.array([[3, 4], [5, 6]], np.float32)}
    loaded = Parameters.load(safetensors.numpy.save(arrays))
    assert list(loaded) == sorted(arrays)
    assert all(np.array_equal(loaded[name], arrays[name]) for name in arrays)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_values_that_are_not_finite_in_float32_are_refused(value: float):
    with pytest.raises(InvalidInput, match="finite"):
        Parameters.from_arrays({"w": np.array([0.0, value])})
    with pytest.raises(InvalidInput, match="finite"):
        example().with_flat(np.full(11, value))


def test_a_nan_in_a_file_is_refused():
    good = Parameters.from_arrays({"w": np.zeros(2)}).save()
    with pytest.raises(InvalidInput, match="finite"):
        Parameters.load(good[:-4] + np.float32(np.nan).tobytes())


@pytest.mark.parametrize("cut", [0, 7, 8, 30, -1])
def test_a_truncated_file_is_refused(cut: int):
    with pytest.raises(InvalidInput):
        Parameters.load(example().save()[:cut])


def test_bytes_after_the_end_are_refused():
    with pytest.raises(InvalidInput, match="bytes"):
        Parameters.load(example().save() + b"\0")


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "header",
    [
        b"not json",
        b"\xff\xfe",
        b"[" * 20_000,
        [],
        {},
        {"w": 3},
        {"w": {"shape": [True, 2]}},
        {"w": {**ENTRY, "shape": [2.0]}},
        {"w": {**ENTRY, "shape": [-1, -2]}},
        {"w": {**ENTRY, "shape": [10**30]}},
        {"w": {**ENTRY, "shape": [0]}},
        {"w": {**ENTRY, "dtype": "F16"}},
        {"w": {**ENTRY, "data_offsets": [4, 12]}},
        {"w": {**ENTRY, "extra": 1}},
        {"__metadata__": {"a": "b"}, "w": ENTRY},
        {"": ENTRY},
        {"w\n": ENTRY},
        {"é": ENTRY},
        b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
        b'{ "w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
    ],
)
def test_a_header_that_is_not_canonical_is_refused(header: object):
    with pytest.raises(InvalidInput):
        Parameters.load(with_header(header, np.zeros(2, np.float32).tobytes()))


def test_the_canonical_header_of_the_test_above_is_accepted():
    assert Parameters.load(with_header({"w": ENTRY}, np.array([1, 2], np.float32).tobytes()))["w"].tolist() == [1, 2]


def test_a_header_length_beyond_the_file_is_refused():
    with pytest.raises(InvalidInput, match="header"):
        Parameters.load((2**63).to_bytes(8, "little") + b"{}")


def test_wrong_lengths_and_types_are_refused():
    with pytest.raises(InvalidInput, match="shape"):
        example().with_flat(np.zeros(10))
    with pytest.raises(InvalidInput, match="real"):
        Parameters.from_arrays({"w": np.array(["x"])})
    with pytest.raises(InvalidInput, match="arrays"):
        Parameters.from_arrays({})
    with pytest.raises(InvalidInput, match="float32"):
        Parameters({"w": (2,)}, np.zeros(2))  # type: ignore[arg-type]


def test_lengths_of_thousands_of_digits_are_refused_in_a_short_message() -> None:
    header = b'{"a":{"dtype":"F32","shape":[' + b",".join([b"9" * 4_000] * 8) + b'],"data_offsets":[0,4]}}'
    header += b" " * (-len(header) % 8)
    with pytest.raises(InvalidInput, match="parameter a: expected at most 8 lengths") as caught:
        Parameters.load(len(header).to_bytes(8, "little") + header)
    assert len(str(caught.value)) < 300
