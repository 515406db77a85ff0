"""Protocol buffers, as much of the wire format as ABCI 2.0 needs: varints and length-delimited fields.

A message is a frozen struct whose fields carry their numbers; `encode_message` writes the bytes that the Go
implementation writes (fields by number, defaults left out). What a peer sends is bounded before anything is built from
it, unknown fields are skipped, and a malformed message is `InvalidInput`, never another exception. Floating-point and
fixed-width fields are skipped and never decoded: no message of ours has one.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Final, TypeVar, Union, dataclass_transform, get_args, get_origin, get_type_hints

import msgspec

from medfed.errors import InvalidInput

__all__ = ["MAX_DEPTH", "Field", "Message", "decode_message", "decode_varint", "encode_message", "encode_varint"]

MAX_DEPTH: Final = 16
_VARINT: Final = 0
_BYTES: Final = 2
_FIXED: Final = {1: 8, 5: 4}
_MASK: Final = 2**64 - 1
M = TypeVar("M", bound="Message")


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Message(msgspec.Struct, frozen=True):
    """The ancestor of all messages. Each field is `Annotated[type, number]`, in the order of the numbers.

    `int` is int64, uint32, an enumeration or bool alike; `str` is UTF-8; a message that may be absent is `X | None`;
    repeated fields are tuples of messages, bytes or strings.
    """


class Field(msgspec.Struct, frozen=True):
    """How one field of a message is written."""

    name: str
    number: int
    kind: Any
    """int, str, bytes, or a class of messages."""
    repeated: bool


def encode_varint(value: int) -> bytes:
    """The bytes of an integer; a negative one is its 64-bit two's complement."""
    value &= _MASK
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode_varint(data: bytes | memoryview, start: int) -> tuple[int, int]:
    """The unsigned integer at `start` and where it ends.

    Raises:
        InvalidInput: it is cut short, or longer than 64 bits.
    """
    value = shift = 0
    for end in range(start, min(start + 10, len(data))):
        byte = data[end]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value > _MASK:
                break
            return value, end + 1
        shift += 7
    raise InvalidInput("protobuf: a number is cut short or longer than 64 bits")


def encode_message(message: Message) -> bytes:
    """The bytes of a message."""
    out = bytearray()
    for field in _fields(type(message)):
        value: Any = getattr(message, field.name)
        for item in value if field.repeated else (value,):
            _encode_field(out, field, item)
    return bytes(out)


def decode_message(data: bytes | memoryview, kind: type[M], depth: int = 0) -> M:
    """The message of class `kind` in `data`. Of a field that is not repeated the last occurrence counts.

    Raises:
        InvalidInput: malformed, nested too deeply, or a known field of another wire type.
    """
    if depth > MAX_DEPTH:
        raise InvalidInput(f"protobuf: {kind.__name__} nests more than {MAX_DEPTH} deep")
    known = _by_number(kind)
    values: dict[str, Any] = {}
    repeated: dict[str, list[Any]] = {}
    for number, value in _walk(memoryview(data)):
        field = known.get(number)
        if field is None:
            continue
        read = _from_wire(value, field, kind.__name__, depth)
        if field.repeated:
            repeated.setdefault(field.name, []).append(read)
        else:
            values[field.name] = read
    return kind(**values, **{name: tuple(items) for name, items in repeated.items()})


def _walk(data: memoryview) -> Iterator[tuple[int, int | memoryview | None]]:
    """Each field's number and its value; None where the wire type is one that we do not read."""
    at = 0
    while at < len(data):
        key, at = decode_varint(data, at)
        number, wire = key >> 3, key & 7
        if not 0 < number < 2**29:
            raise InvalidInput(f"protobuf: there is no field number {number}")
        if wire == _VARINT:
            value, at = decode_varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = decode_varint(data, at)
        elif wire in _FIXED:
            length = _FIXED[wire]
        else:
            raise InvalidInput(f"protobuf: field {number} has the unknown wire type {wire}")
        end = at + length
        if end > len(data):
            raise InvalidInput(f"protobuf: field {number} is cut short")
        yield number, data[at:end] if wire == _BYTES else None
        at = end


def _from_wire(value: int | memoryview | None, field: Field, where: str, depth: int) -> Any:
    if field.kind is int:
        if not isinstance(value, int):
            raise InvalidInput(f"protobuf: {where}.{field.name}: expected a number")
        return value - 2**64 if value >= 2**63 else value
    if not isinstance(value, memoryview):
        raise InvalidInput(f"protobuf: {where}.{field.name}: expected bytes")
    if field.kind is bytes:
        return bytes(value)
    if field.kind is str:
        try:
            return str(value, "utf-8")
        except UnicodeDecodeError:
            raise InvalidInput(f"protobuf: {where}.{field.name}: not UTF-8") from None
    return decode_message(value, field.kind, depth + 1)


def _encode_field(out: bytearray, field: Field, item: Any) -> None:
    if isinstance(item, Message):
        data = encode_message(item)
    elif item is None or (not item and not field.repeated):
        return  # absent, or the default
    elif field.kind is int:
        out += encode_varint(field.number << 3 | _VARINT) + encode_varint(item)
        return
    else:
        data = item.encode() if isinstance(item, str) else item
    out += encode_varint(field.number << 3 | _BYTES) + encode_varint(len(data)) + data


@lru_cache(maxsize=256)
def _fields(kind: type[Message]) -> tuple[Field, ...]:
    hints = get_type_hints(kind, include_extras=True)
    return tuple(_field(name, hints[name]) for name in kind.__struct_fields__)


@lru_cache(maxsize=256)
def _by_number(kind: type[Message]) -> dict[int, Field]:
    return {field.number: field for field in _fields(kind)}


def _field(name: str, hint: Any) -> Field:
    if get_origin(hint) is not Annotated:
        raise TypeError(f"{name}: a field of a message needs its number")
    inner, number = get_args(hint)
    if get_origin(inner) is tuple:
        return Field(name, number, get_args(inner)[0], repeated=True)
    if get_origin(inner) in (UnionType, Union):
        inner = next(arm for arm in get_args(inner) if arm is not type(None))
    return Field(name, number, inner, repeated=False)
