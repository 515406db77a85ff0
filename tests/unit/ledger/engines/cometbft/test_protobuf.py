"""The wire format of protocol buffers: what is read back, what is skipped, and what is refused."""

from __future__ import annotations

from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfed.errors import InvalidInput
from medfed.ledger.engines.cometbft.messages import InfoRequest, Request, Text
from medfed.ledger.engines.cometbft.protobuf import (
    MAX_DEPTH,
    Message,
    decode_message,
    decode_varint,
    encode_message,
    encode_varint,
)


class Chain(Message):
    """A message within itself."""

    inner: Annotated[Chain | None, 1] = None
    number: Annotated[int, 2] = 0


class Many(Message):
    """Repeated fields of every kind."""

    names: Annotated[tuple[str, ...], 1] = ()
    parts: Annotated[tuple[bytes, ...], 3] = ()
    chains: Annotated[tuple[Chain, ...], 4000] = ()


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_64_bit_integer_survives(value: int) -> None:
    assert decode_message(encode_message(Chain(number=value)), Chain).number == value


@given(st.integers(0, 2**64 - 1))
def test_a_varint_ends_where_it_says(value: int) -> None:
    data = encode_varint(value)
    assert decode_varint(data + b"\xff", 0) == (value, len(data))


@given(
    st.builds(
        Many,
        names=st.lists(st.text(), max_size=4).map(tuple),
        parts=st.lists(st.binary(), max_size=4).map(tuple),
        chains=st.lists(st.builds(Chain, number=st.integers(-5, 5)), max_size=3).map(tuple),
    )
)
def test_a_message_is_what_its_bytes_say(message: Many) -> None:
    assert decode_message(encode_message(message), Many) == message


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_invalid_input(data: bytes) -> None:
    try:
        decode_message(data, Request)
    except InvalidInput:
        return
    assert decode_message(data, Request) == decode_message(data, Request)


def test_fields_that_we_do_not_know_are_skipped() -> None:
    known = encode_message(InfoRequest("0.38.17"))
    for unknown in ("9a0603616263", "980605", "99060000000000000000", "9d0600000000"):
        assert decode_message(bytes.fromhex(unknown) + known, InfoRequest) == InfoRequest("0.38.17")


def test_of_a_single_field_the_last_counts() -> None:
    assert decode_message(encode_message(Text("a")) + encode_message(Text("b")), Text) == Text("b")


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        ("0a", "cut short"),
        ("0a05616263", "cut short"),
        ("0affffffffffffffffff01", "cut short"),
        ("0affffffffffffffffffff01", "number"),
        ("ffffffffffffffffffff01", "number"),
        ("0b", "wire type"),
        ("0900000000", "cut short"),
        ("0805", "expected bytes"),
        ("0a02c328", "UTF-8"),
        ("00", "field number"),
    ],
)
def test_malformed_bytes_are_refused_and_say_why(wire: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        decode_message(bytes.fromhex(wire), Text)


def test_a_number_where_bytes_are_expected_is_refused_and_the_other_way_round() -> None:
    with pytest.raises(InvalidInput, match="expected a number"):
        decode_message(bytes.fromhex("120161"), Chain)


def test_nesting_is_bounded() -> None:
    data = b""
    for _ in range(MAX_DEPTH):
        data = b"\x0a" + encode_varint(len(data)) + data
    assert decode_message(data, Chain).inner is not None
    for _ in range(1000):
        data = b"\x0a" + encode_varint(len(data)) + data
    with pytest.raises(InvalidInput, match="deep"):
        decode_message(data, Chain)
