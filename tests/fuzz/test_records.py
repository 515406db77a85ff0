"""Every record of the package: what encodes decodes to the same, and nothing else decodes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from tests.fuzz.mutations import draw_program, mutate
from tests.fuzz.target import judge
from tests.fuzz.targets_encoding import record_target, valid_seeds
from tests.fuzz.values import record_types

from medfed.encoding import decode, encode
from medfed.errors import InvalidInput
from medfed.ledger.transaction import Body

CASES = 60

each_record = pytest.mark.parametrize("name", record_types())


@each_record
def test_a_record_has_one_encoding(name: str) -> None:
    kind = record_types()[name]
    for data in valid_seeds(name):
        assert encode(decode(data, kind)) == data


@each_record
def test_almost_a_record_is_taken_or_refused_in_order(name: str, tmp_path: Path) -> None:
    target, rng = record_target(name), random.Random(name)
    seeds = target.seeds()
    for _ in range(CASES):
        judge(target, mutate(rng.choice(seeds), draw_program(rng), target, seeds), tmp_path)


@each_record
def test_the_same_fields_in_other_bytes_are_refused(name: str) -> None:
    """An unknown field, another order of fields, a number with a longer form than it needs, more behind it."""
    kind = record_types()[name]
    for data in valid_seeds(name):
        fields = msgspec.msgpack.decode(data)
        if isinstance(fields, list):
            fields = dict(zip(kind.__struct_fields__, fields, strict=True))
        others = [
            msgspec.msgpack.encode(fields | {"unknown-field": 0}),
            data + b"\0",
            b"\xdf" + len(fields).to_bytes(4, "big") + data[1 if len(fields) < 16 else 3 :],
        ]
        if len(fields) > 1:
            others.append(msgspec.msgpack.encode(dict(reversed(fields.items()))))
        for other in others:
            with pytest.raises(InvalidInput):
                decode(other, kind)


def test_every_body_is_a_record_with_seeds() -> None:
    assert set(get_args(Body)) <= set(record_types().values())
    assert all(valid_seeds(f"{kind.__module__}.{kind.__qualname__}") for kind in get_args(Body))


def test_nearly_every_record_has_valid_seeds() -> None:
    without = [name for name in record_types() if not valid_seeds(name)]
    assert len(without) < len(record_types()) / 15, without
