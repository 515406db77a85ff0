"""The executable symbolic model of the secure sum, where it is at hand, and its facts in the words of `opening`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from medfed.simulation.opening import Escrowed, MaskedVector, Published, Release

MODEL = Path(__file__).parents[2] / ".." / "shared" / "design" / "secure_sum_model.py"


def load_model() -> ModuleType:
    """The model as a module of its own; skips the test where it is absent."""
    if not MODEL.exists():
        pytest.skip("the symbolic model of the design is absent")
    spec = importlib.util.spec_from_file_location("secure_sum_model", MODEL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def name_of(hospital: int) -> str:
    """Hospital 2 of the model."""
    return f"h{hospital}"


def seed_of(symbol: Any) -> bytes:
    """A mask symbol of the model as a seed."""
    return repr(symbol).encode()


def published_of(facts: Any, edges: Any, pair: Any) -> Published:
    """The model's facts as what was published. `pair` is the model's function that names a pair's symbol."""
    found = Published()
    for fact in sorted(facts, key=repr):
        if fact[0] == "y":
            _, i, r, a, roster, key = fact
            pairs = {
                name_of(j): (seed_of(pair(i, j, r, a)), 1 if i < j else -1)
                for j in sorted(roster - {i})
                if frozenset((i, j)) in edges
            }
            attempt, plain = (name_of(i), r, a), (name_of(i), repr(key).encode())
            blob = seed_of(("blob", i, r, a, sorted(roster)))
            found.vectors[attempt, blob] = MaskedVector(attempt, plain, seed_of(("s", i, r, a)), pairs, blob)
        elif fact[0] == "seed":
            found.seeds.add(seed_of(fact[1]))
        elif fact[0] == "share":
            found.shares.setdefault((name_of(fact[2]), fact[3], fact[4]), set()).add(name_of(fact[1]))
        elif fact[0] == "escrow":
            _, owner, r, a, contents, holders, threshold = fact
            names = frozenset(map(name_of, holders))
            found.escrows.append(Escrowed((name_of(owner), r, a), frozenset(map(seed_of, contents)), names, threshold))
        elif fact[0] == "release":
            survivors = frozenset(map(name_of, fact[3]))
            found.releases[fact[1], fact[2], survivors] = Release(fact[1], fact[2], survivors)
    return found
