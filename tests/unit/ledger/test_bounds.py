"""The bounds of everything that goes on the ledger are rules: who changes one alone takes another branch.

`bounds.txt` lists them, a field a line. A bound that is listed changes only with a new version of the rules; a new
record is added with what `python -m tests.unit.ledger.test_bounds` prints.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from medfed.ledger.block import Block
from medfed.ledger.genesis import Genesis
from medfed.ledger.transaction import Transaction

LISTED = Path(__file__).with_name("bounds.txt")
_LIMITS = ("gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length")


def described(kind: Any) -> str:
    """A type in one line, with its limits."""
    limits = [f"{name}={getattr(kind, name)}" for name in _LIMITS if getattr(kind, name, None) is not None]
    if isinstance(kind, inspect.UnionType):
        return " | ".join(described(one) for one in kind.types)
    if isinstance(kind, inspect.StructType):
        return kind.cls.__name__
    if isinstance(kind, inspect.LiteralType):
        return f"one of {', '.join(map(str, kind.values))}"
    if isinstance(kind, inspect.VarTupleType):
        return " ".join([f"tuple({described(kind.item_type)})", *limits])
    if isinstance(kind, inspect.TupleType):
        return f"tuple({', '.join(map(described, kind.item_types))})"
    return " ".join([type(kind).__name__.removesuffix("Type").lower(), *limits])


def records(*kinds: Any) -> dict[str, inspect.StructType]:
    """Every record that is reached from these."""
    found: dict[str, inspect.StructType] = {}
    waiting = list(inspect.multi_type_info(kinds))
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, inspect.StructType) and kind.cls.__name__ not in found:
            found[kind.cls.__name__] = kind
            waiting += [field.type for field in kind.fields]
        waiting += [*getattr(kind, "types", ()), *getattr(kind, "item_types", ())]
        if isinstance(kind, inspect.VarTupleType):
            waiting.append(kind.item_type)
    return found


def lines() -> Iterator[str]:
    for name, kind in sorted(records(Transaction, Genesis, Block).items()):
        for field in kind.fields:
            if (name, field.name) == ("Transaction", "body"):
                continue  # which bodies there are
            given = "" if field.default is msgspec.NODEFAULT else f" = {field.default!r}"
            yield f"{name}.{field.name}: {described(field.type)}{given}"


def test_no_bound_of_what_goes_on_the_ledger_has_changed() -> None:
    """Records and fields may be added; what is listed stays as it is."""
    now = set(lines())
    assert [line for line in LISTED.read_text(encoding="utf-8").splitlines() if line not in now] == []


def test_there_are_bounds_on_all_that_may_be_long_and_on_all_numbers() -> None:
    """But where the decoder bounds them itself: a transaction's bytes, and the sum of a block's."""
    elsewhere = {"Block.transactions"}
    unbounded = {
        f"{name}.{field.name}"
        for name, kind in records(Transaction, Genesis, Block).items()
        for field in kind.fields
        if not _is_bounded(field.type)
    }
    assert unbounded == elsewhere


def _is_bounded(kind: Any) -> bool:
    if isinstance(kind, inspect.UnionType):
        return all(map(_is_bounded, kind.types))
    if isinstance(kind, inspect.VarTupleType):
        return kind.max_length is not None and _is_bounded(kind.item_type)
    if isinstance(kind, inspect.TupleType):
        return all(map(_is_bounded, kind.item_types))
    if isinstance(kind, inspect.IntType):
        return kind.ge is not None or kind.gt is not None  # at the other end the encoding bounds it
    return not isinstance(kind, inspect.BytesType | inspect.StrType) or kind.max_length is not None


if __name__ == "__main__":
    print("\n".join(lines()))
