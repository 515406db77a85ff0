"""Structured mutations: small programs that turn a valid input into one that is almost valid.

A step is three numbers: which operation, where, and with what. Hypothesis draws and shrinks programs; long runs draw
them from a seeded generator. The same program on the same input gives the same bytes.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import orjson
from tests.fuzz.target import Form, Target

Step = tuple[int, int, int]

LARGEST: Final = 1 << 20
_NUMBERS: Final = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
_NEGATIVE: Final = (-1, -(2**31), -(2**36), -(2**63))
_DEEP: Final = (16, 130, 260, 520, 1_100, 20_000)

ODD_VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, -1, 2**31, 2**53, 2**63 - 1, -(2**63), 2**64 - 1, 0.0, -0.0, 0.5, 1e308, -1e308, 5e-324,
    float("inf"), float("-inf"), float("nan"), "", "x", "a" * 300, "\0", "\u202e", "\ud7ff\uffff", "É" * 50,
    "2020-02-30", "9999-12-31T23:59:59Z", "0000", "http://", "urn:", "Patient/", "../../etc/passwd", b"", b"\0" * 31,
    b"\0" * 32, b"\xff" * 33, b"\0" * 64, [], {}, [[]], [None], {"": None}, {"type": "x"}, ["a"] * 40, [0] * 300,
    {"a": 1, "b": 2},
)  # fmt: skip
ODD_TEXTS: Final = (
    "", "0", "-1", "1e999", "-1e999", "9" * 400, "9" * 5_000, "0x" + "f" * 6_000,
    "0.1", "nan", "inf", "-inf", "true", "false", '""', '"',
    "'", '"x"', "[]", "{}", "[[]]", "{a = 1}", "null", "2020-01-01", "2020-13-45T99:99:99Z", "0x7fffffffffffffffffff",
    "\\ud800", "\\u0000", "\0", "\x7f", "\u2028", "\ufeff", "é", "\U0001f600", ",", ";", "\t", "\r", "\n", "\r\n", "#",
    "=", "a.b.c", "[a]", "[[a]]", "'''", '"""', "1979-05-27T07:32:00Z", "07:32:00", "1e5", "1d", "0s", "999999999999d",
)  # fmt: skip
_NAMES: Final = ("alpha", "beta", "delta", "gamma", "zeta", "organiser", "user", "server", "", "x", "no-such-name")
_TOKEN: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|[A-Za-z0-9_.+-]+|[^\sA-Za-z0-9]')


def mutate(data: bytes, program: Sequence[Step], target: Target, donors: Sequence[bytes]) -> bytes:
    """`data` after every step of the program; never longer than `LARGEST`."""
    operations = _OPERATIONS[target.form]
    for number, where, what in program:
        donor = donors[what % len(donors)] if donors else b""
        data = operations[number % len(operations)](data, where, what, donor, target.offset)[:LARGEST]
    return data


def draw_program(rng: random.Random) -> list[Step]:
    """One to four steps."""
    return [(rng.getrandbits(16), rng.getrandbits(32), rng.getrandbits(32)) for _ in range(rng.choice((1, 1, 1, 2, 4)))]


def _flip(data: bytes, where: int, what: int, donor: bytes, offset: int) -> bytes:
    if not data:
        return bytes([what & 0xFF])
    at = where % len(data)
    return data[:at] + bytes([data[at] ^ 1 << what % 8]) + data[at + 1 :]


def _set_byte(data: bytes, where: int, what: int, donor: bytes, offset: int) -> bytes:
    at = where % (len(data) + 1)
    return data[:at] + bytes([what & 0xFF]) + data[at + 1 :]


def _cut_end(data: bytes, where: int, what: int, donor: bytes, offset: int) -> bytes:
    return data[: where % (len(data) + 1)]


def _cut_start(data: bytes, where: int, what: int, donor: bytes, offset: int) -> bytes:
    return data[where % (len(data) + 1) :]


def _delete(data: bytes, where: int, what: int, donor: bytes, offset: int) -> bytes:
    at = where % (len(data) + 1)
    return data[:at] + data[at + 1 + what % 64 :]


def _repeat(data: bytes, where: int, what: int, donor: bytes, offset: int) -> bytes:
    at = where % (len(data) + 1)
    piece = data[at : at + 1 + what % 64]
    return data[:at] + piece * (2 + what // 64 % 40) + data[at:]


def _insert(data: bytes, where: int, what: int, donor: bytes, offset: int) -> bytes:
    at = where % (len(data) + 1)
    return data[:at] + what.to_bytes(4, "big")[-1 - what % 4 :] + data[at:]


def _splice(data: bytes, where: int, what: int, donor: bytes, offset: int) -> bytes:
    return data[: where % (len(data) + 1)] + donor[what // 7 % (len(donor) + 1) :]


def _number(data: bytes, where: int, what: int, donor: bytes, offset: int) -> bytes:
    """A length or a count, in either byte order."""
    width = (1, 2, 4, 8)[what % 4]
    value = _NUMBERS[what // 4 % len(_NUMBERS)] & (1 << 8 * width) - 1
    at = where % (len(data) + 1)
    return data[:at] + value.to_bytes(width, ("big", "little")[what // 64 % 2]) + data[at + width :]


def _append(data: bytes, where: int, what: int, donor: bytes, offset: int) -> bytes:
    return data + (b"\0", b"\xc0", b" ", b"\n", data, donor)[what % 6]


def _deepen(data: bytes, where: int, what: int, donor: bytes, offset: int) -> bytes:
    """Nested containers instead of the rest."""
    opening = (b"\x91", b"\x81\xa0", b"[", b'{"a":', b"(", b'[{"entry":', b"{a=")[what % 7]
    at = where % (len(data) + 1)
    return data[:at] + opening * _DEEP[what // 7 % len(_DEEP)] + data[at:]


def _declare(data: bytes, where: int, what: int, donor: bytes, offset: int) -> bytes:
    """A MessagePack header that announces more than there is."""
    header = (b"\xdd\xff\xff\xff\xff", b"\xdf\x7f\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff",
              b"\xdc\xff\xff", b"\xde\xff\xff", b"\xc7\xff\x01", b"\xd9\xff")[what % 8]  # fmt: skip
    at = where % (len(data) + 1)
    return data[:at] + header + data[at + what // 8 % 2 :]


def _msgpack_tree(data: bytes, where: int, what: int, donor: bytes, offset: int) -> bytes:
    if offset < 0:
        offset = data.find(b"\0") + 1
    try:
        tree = msgspec.msgpack.decode(data[offset:])
        return data[:offset] + msgspec.msgpack.encode(_changed(tree, where, what))
    except (ValueError, RecursionError, TypeError, OverflowError):
        return _flip(data, where, what, donor, offset)


def _msgpack_alike(data: bytes, where: int, what: int, donor: bytes, offset: int) -> bytes:
    """One node changed to another of its own type, or of the donor's: most of these still decode."""
    if offset < 0:
        offset = data.find(b"\0") + 1
    try:
        tree = msgspec.msgpack.decode(data[offset:])
        others = _leaves(msgspec.msgpack.decode(donor[offset:])) if what % 3 == 0 and donor else []
        made = _rebuilt(tree, where % _count(tree), lambda node: _alike(node, what // 3, others))[0]
        return data[:offset] + msgspec.msgpack.encode(made, order=None if what % 5 else "deterministic")
    except (ValueError, RecursionError, TypeError, OverflowError):
        return _flip(data, where, what, donor, offset)


def _alike(node: Any, what: int, others: list[Any]) -> Any:
    fitting = [other for other in others if type(other) is type(node)]
    if fitting:
        return fitting[what % len(fitting)]
    match node:
        case bool():
            return not node
        case int():
            numbers = (*_NUMBERS, *_NEGATIVE, (node + 1) % 2**64, max(node - 1, -(2**63)))
            return numbers[what % len(numbers)]
        case float():
            return (0.0, -node, node * 1e9, 1e-300, 1.0, float("inf"), float("nan"))[what % 7]
        case str():
            return _NAMES[what % len(_NAMES)]
        case bytes():
            return (bytes(len(node)), b"\xff" * len(node), node[::-1], node[:-1] + b"\0")[what % 4]
        case list():
            return (node[1:], node[:-1], node + node[:1], node[::-1], [], node * 3)[what % 6]
        case dict():
            return dict(list(node.items())[what % 2 :])
        case _:
            return ODD_VALUES[what % len(ODD_VALUES)]


def _leaves(tree: Any) -> list[Any]:
    if isinstance(tree, dict):
        return [leaf for value in tree.values() for leaf in _leaves(value)]
    return [leaf for value in tree for leaf in _leaves(value)] if isinstance(tree, list) else [tree]


def _json_tree(data: bytes, where: int, what: int, donor: bytes, offset: int) -> bytes:
    lines = data.split(b"\n")
    at = where % len(lines)
    try:
        tree = orjson.loads(lines[at])
        lines[at] = _as_json(_changed(tree, where // len(lines), what))
    except (ValueError, RecursionError, TypeError):
        return _token(data, where, what, donor, offset)
    return b"\n".join(lines)


def _as_json(tree: Any) -> bytes:
    """JSON, with bytes as text, and with what JSON has no word for as large numbers."""
    return orjson.dumps(tree, default=lambda value: value.decode("latin-1") if isinstance(value, bytes) else 10**18)


def _token(data: bytes, where: int, what: int, donor: bytes, offset: int) -> bytes:
    """Another token in place of one."""
    text = data.decode("utf-8", "surrogateescape")
    tokens = list(_TOKEN.finditer(text))
    if not tokens:
        return data + ODD_TEXTS[what % len(ODD_TEXTS)].encode()
    token = tokens[where % len(tokens)]
    new = ODD_TEXTS[what % len(ODD_TEXTS)]
    if what // 128 % 2 and token[0].startswith('"'):
        new = f'"{new}"'
    return (text[: token.start()] + new + text[token.end() :]).encode("utf-8", "surrogateescape")


def _line(data: bytes, where: int, what: int, donor: bytes, offset: int) -> bytes:
    """A line removed, repeated, moved or taken from elsewhere."""
    lines = data.split(b"\n")
    at = where % len(lines)
    others = donor.split(b"\n")
    match what % 5:
        case 0:
            del lines[at]
        case 1:
            lines[at:at] = [lines[at]] * (1 + what // 5 % 50)
        case 2:
            lines.insert(0, lines.pop(at))
        case 3:
            lines.insert(at, others[what // 5 % len(others)])
        case _:
            lines[at] += lines[what // 5 % len(lines)]
    return b"\n".join(lines)


def _recode(data: bytes, where: int, what: int, donor: bytes, offset: int) -> bytes:
    """The same text in another encoding."""
    text = data.decode("utf-8", "replace")
    return text.encode(("utf-16", "utf-16-le", "utf-32", "latin-1", "utf-8-sig", "utf-7")[what % 6], "replace")


def _changed(tree: Any, where: int, what: int) -> Any:
    """A copy of `tree` with one node replaced, removed, repeated or wrapped."""
    count = _count(tree)
    at = where % count
    return _rebuilt(tree, at, lambda node: _odd(node, what))[0]


def _odd(node: Any, what: int) -> Any:
    match what % 6:
        case 0 if isinstance(node, dict) and node:
            return dict(list(node.items())[: what // 6 % len(node)])
        case 1 if isinstance(node, list):
            return node * (what // 6 % 4)
        case 2:
            return [node]
        case 3 if isinstance(node, (str, bytes)) and node:
            return node[: what // 6 % len(node)] if what // 96 % 2 else node + node
        case 3 if isinstance(node, int):
            return (max(-node, -(2**63)), (node + 1) % 2**64, node * 2**20 % 2**64, float(node), str(node))[
                what // 6 % 5
            ]
        case 4 if isinstance(node, dict):
            return {**node, "odd": ODD_VALUES[what // 6 % len(ODD_VALUES)]}
        case _:
            return ODD_VALUES[what // 6 % len(ODD_VALUES)]


def _count(tree: Any) -> int:
    if isinstance(tree, dict):
        return 1 + sum(map(_count, tree.values()))
    return 1 + sum(map(_count, tree)) if isinstance(tree, list) else 1


def _rebuilt(tree: Any, at: int, change: Callable[[Any], Any]) -> tuple[Any, int]:
    """The tree with node number `at` (in preorder) changed, and what is left of `at` after this subtree."""
    if at == 0:
        return change(tree), -1
    at -= 1
    if isinstance(tree, dict):
        made: dict[Any, Any] = {}
        for key, value in tree.items():
            made[key], at = _rebuilt(value, at, change) if at >= 0 else (value, at)
        return made, at
    if isinstance(tree, list):
        items: list[Any] = []
        for value in tree:
            item, at = _rebuilt(value, at, change) if at >= 0 else (value, at)
            items.append(item)
        return items, at
    return tree, at


_BYTES: Final = (_flip, _set_byte, _cut_end, _cut_start, _delete, _repeat, _insert, _splice, _number, _append, _deepen)
_OPERATIONS: Final = {
    "bytes": _BYTES,
    "msgpack": (*_BYTES, _declare, *[_msgpack_tree] * 10, *[_msgpack_alike] * 10),
    "json": (*_BYTES, *[_json_tree] * 10, *[_token] * 4, _line, _recode),
    "text": (*_BYTES, *[_token] * 8, *[_line] * 4, _recode),
}


def operations(form: Form) -> int:
    """How many operations there are for a form."""
    return len(_OPERATIONS[form])
