"""Parameters as bytes: whatever is accepted is canonical, whatever is saved is read back."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from medfed.errors import InvalidInput
from medfed.models.parameters import Parameters

NAMES = st.text("abcXYZ019._-", min_size=1, max_size=12)
ARRAYS = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=0, max_dims=3, max_side=4),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


@given(st.dictionaries(NAMES, ARRAYS, min_size=1, max_size=5))
def test_what_is_saved_is_loaded_again(tensors: dict[str, np.ndarray]):
    parameters = Parameters.from_arrays(tensors)
    loaded = Parameters.load(parameters.save())
    assert loaded == parameters
    assert list(loaded) == list(tensors)
    assert all(loaded[name].tobytes() == tensors[name].tobytes() for name in tensors)


@given(st.data())
def test_damaged_bytes_are_refused_or_are_other_parameters(data: st.DataObject):
    saved = Parameters.from_arrays({"w": np.arange(6.0).reshape(2, 3), "b": np.ones(3)}).save()
    at = data.draw(st.integers(0, len(saved) - 1))
    damaged = saved[:at] + bytes([saved[at] ^ data.draw(st.integers(1, 255))]) + saved[at + 1 :]
    try:
        loaded = Parameters.load(damaged)
    except InvalidInput:
        return
    assert loaded.save() == damaged


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_canonical(data: bytes):
    try:
        loaded = Parameters.load(data)
    except InvalidInput:
        return
    assert loaded.save() == data
