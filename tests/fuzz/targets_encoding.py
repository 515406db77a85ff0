"""Targets of the canonical encoding: every record that the package has, transaction bodies among them."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import msgspec
from tests.fuzz.target import Target
from tests.fuzz.values import draw, encoded, record_types

from medfed.encoding import decode, encode
from medfed.errors import InvalidInput

SEEDS = 4
_NAN = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
"""NaN equals nothing."""
_TRIES = 1_500


def of_kind(kind: type[Any], data: bytes, folder: Path) -> None:
    """What decodes has these bytes only, survives being printed, and has a value that another decoding equals."""
    found = decode(data, kind)
    assert encode(found) == data
    assert repr(found)
    if not _NAN.search(data):
        assert decode(data, kind) == found


def named(data: bytes, folder: Path) -> None:
    """A record's full name, a zero byte, and its encoding."""
    name, _, payload = data.partition(b"\0")
    kind = record_types().get(name.decode("utf-8", "replace"))
    if kind is None:
        raise InvalidInput("no record of this name")
    of_kind(kind, payload, folder)


@cache
def valid_seeds(name: str) -> Sequence[bytes]:
    """Valid encodings of a record; none where its own checks refuse all that was drawn."""
    kind = record_types()[name]
    found: list[bytes] = []
    for number in range(_TRIES):
        try:
            found.append(encoded(kind, random.Random(f"{name} {number}")))
        except (InvalidInput, msgspec.ValidationError):
            continue
        if len(found) == SEEDS:
            break
    return found


def seeds_of(name: str) -> Sequence[bytes]:
    """Valid encodings, or else some of the right types."""
    made = [msgspec.msgpack.encode(draw(record_types()[name], random.Random(f"{name} {n}"))) for n in range(SEEDS)]
    return valid_seeds(name) or made


def record_target(name: str) -> Target:
    """A target of one record, for tests that go through all of them."""
    return Target(f"record {name}", partial(of_kind, record_types()[name]), lambda: seeds_of(name), "msgpack")


def _named_seeds() -> Sequence[bytes]:
    return [name.encode() + b"\0" + data for name in record_types() for data in valid_seeds(name)[:1]]


TARGETS = (Target("record", named, _named_seeds, "msgpack", offset=-1, keep=False),)
