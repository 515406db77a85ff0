"""Values of any record, made from what its type says: bounds, patterns, unions, nesting. The same generator state gives
the same value, so that every record has valid seeds without anybody writing them."""

from __future__ import annotations

import importlib
import pkgutil
import random
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import msgspec
from msgspec import inspect

import medfed
from medfed.encoding import Record

_TEXTS: Final = ("alpha", "a", "no-capacity", "0", "x1", "Host:1/a_[2]", "", "Aé", "2020-03-01", "s|c", "x" * 40)
_NUMBERS: Final = (0, 1, 2, 7, 100, 255, 256, 65_535, 2**31 - 1, 2**31, 2**32, 2**53 - 1, 2**62, -1, -(2**31))
_FLOATS: Final = (0.0, 1.0, 0.5, -1.5, 1e-9, 1e9, 30.0)
_DEEPEST: Final = 6


@cache
def record_types() -> dict[str, type[Record]]:
    """Every record of the package by its full name."""
    for module in pkgutil.walk_packages(medfed.__path__, "medfed."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return {f"{kind.__module__}.{kind.__qualname__}": kind for kind in sorted(_below(Record), key=str)}


def _below(kind: type[Record]) -> Iterator[type[Record]]:
    for inner in kind.__subclasses__():
        if inner.__module__.startswith("medfed."):
            yield inner
        yield from _below(inner)


@cache
def _type_of(kind: Any) -> inspect.Type:
    return inspect.type_info(kind)


def draw(kind: Any, rng: random.Random) -> Any:
    """A value as MessagePack holds it: maps, lists, text, bytes and numbers."""
    return _draw(_type_of(kind), rng, 0)


def _draw(kind: inspect.Type, rng: random.Random, depth: int) -> Any:
    match kind:
        case inspect.StructType():
            return _struct(kind, rng, depth)
        case inspect.UnionType():
            return _draw(_member(kind, rng, depth), rng, depth)
        case inspect.VarTupleType() | inspect.ListType():
            return [
                _draw(kind.item_type, rng, depth + 1) for _ in range(_length(kind, rng, 2 if depth < _DEEPEST else 0))
            ]
        case inspect.TupleType():
            return [_draw(item, rng, depth + 1) for item in kind.item_types]
        case inspect.DictType():
            count = _length(kind, rng, 2)
            return {_draw(kind.key_type, rng, depth + 1): _draw(kind.value_type, rng, depth + 1) for _ in range(count)}
        case inspect.LiteralType():
            return rng.choice(sorted(kind.values, key=str))
        case inspect.StrType():
            return _text(kind, rng)
        case inspect.BytesType():
            return rng.randbytes(_length(kind, rng, 8))
        case inspect.IntType():
            return rng.choice([number for number in _NUMBERS if _within(kind, number)] or [kind.ge or kind.le])
        case inspect.FloatType():
            return rng.choice(
                [number for number in _FLOATS if _within(kind, number)] or [float(kind.ge or kind.le or 1)]
            )
        case inspect.BoolType():
            return rng.random() < 0.5
        case inspect.NoneType():
            return None
        case _:
            raise TypeError(f"no values of {kind} are known")


def _struct(kind: inspect.StructType, rng: random.Random, depth: int) -> dict[str, Any] | list[Any]:
    if kind.array_like:
        return [_draw(field.type, rng, depth + 1) for field in kind.fields]
    made: dict[str, Any] = {kind.tag_field: kind.tag} if kind.tag_field else {}
    made |= {field.encode_name: _draw(field.type, rng, depth + 1) for field in kind.fields}
    return made


def _member(kind: inspect.UnionType, rng: random.Random, depth: int) -> inspect.Type:
    plain = [one for one in kind.types if isinstance(one, inspect.NoneType)]
    return plain[0] if plain and depth >= _DEEPEST else rng.choice(kind.types)


def _length(kind: Any, rng: random.Random, most: int) -> int:
    least = kind.min_length or 0
    most = max(least, min(least + most, kind.max_length if kind.max_length is not None else least + most))
    return rng.randint(least, most)


def _text(kind: inspect.StrType, rng: random.Random) -> str:
    def fits(text: str) -> bool:
        short = len(text) >= (kind.min_length or 0) and (kind.max_length is None or len(text) <= kind.max_length)
        return short and (kind.pattern is None or re.search(kind.pattern, text) is not None)

    fitting = [text for text in _TEXTS if fits(text)]
    return rng.choice(fitting) if fitting else "x" * (kind.min_length or 1)


def _within(kind: inspect.IntType | inspect.FloatType, number: float) -> bool:
    bounds = ((kind.ge, lambda bound: number >= bound), (kind.gt, lambda bound: number > bound),
              (kind.le, lambda bound: number <= bound), (kind.lt, lambda bound: number < bound))  # fmt: skip
    return all(bound is None or holds(bound) for bound, holds in bounds)


def encoded(kind: Any, rng: random.Random) -> bytes:
    """A value of `kind` in canonical bytes: as the decoder would write it.

    Raises:
        medfed.errors.InvalidInput, msgspec.ValidationError: a record's own check refuses what its types allow.
    """
    made = msgspec.convert(draw(kind, rng), kind)
    return msgspec.msgpack.encode(made, order="deterministic")
