"""A fixed number of almost valid inputs for every decoder: each is taken, or refused in order, quickly, in little
memory.

Hypothesis draws the programs that mutate a seed, always the same ones, and shrinks a program that fails.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.fuzz.corpus import kept
from tests.fuzz.mutations import Step, draw_program, mutate
from tests.fuzz.target import Target, TooMuch, bounded, judge
from tests.fuzz.targets import TARGETS

from medfed.errors import InvalidInput

CASES = 240
"""Of each target whose cost is 1."""

NUMBERS = st.integers(0, 2**32 - 1)
PROGRAMS = st.lists(st.tuples(st.integers(0, 2**16 - 1), NUMBERS, NUMBERS), min_size=1, max_size=4)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_almost_valid_input_is_taken_or_refused_in_order(name: str) -> None:
    target = TARGETS[name]
    seeds = [*target.seeds(), *(data for _, data in kept(name))]

    @settings(
        max_examples=max(20, CASES // target.cost),
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, len(seeds) - 1), PROGRAMS)
    def run(seed: int, program: list[Step]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            judge(target, mutate(seeds[seed], program, target, seeds), Path(folder))

    run()


@pytest.mark.parametrize("name", sorted(TARGETS))
@pytest.mark.parametrize("data", [b"", b"\0", b"\xff" * 9, b"\xc1", b"\0" * 5_000, b"\xff\xfe[\0", b"[" * 100_000])
def test_what_is_no_such_thing_at_all_is_refused_in_order(name: str, data: bytes, tmp_path: Path) -> None:
    judge(TARGETS[name], data, tmp_path)


def test_the_same_program_gives_the_same_bytes() -> None:
    for target in TARGETS.values():
        seeds = target.seeds()[:3]
        if target.keep:
            programs = [draw_program(random.Random(number)) for number in range(20)]
            made = [mutate(seeds[0], program, target, seeds) for program in programs]
            assert made == [mutate(seeds[0], program, target, seeds) for program in programs]
            assert len(set(made)) > 5


def test_a_failure_of_any_other_kind_is_reported_with_its_input(tmp_path: Path) -> None:
    def run(data: bytes, folder: Path) -> None:
        if data == b"bad":
            raise KeyError("x")
        if data == b"refused":
            raise InvalidInput("no")
        if data == b"silent":
            raise InvalidInput("")

    target = Target("t", run, list)
    assert judge(target, b"good", tmp_path)
    assert not judge(target, b"refused", tmp_path)
    with pytest.raises(KeyError) as caught:
        judge(target, b"bad", tmp_path)
    assert b"bad".hex() in caught.value.__notes__[0]
    with pytest.raises(AssertionError):
        judge(target, b"silent", tmp_path)


def test_a_decoder_that_never_ends_or_takes_all_memory_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.target.SECONDS", 0.05)
    with pytest.raises(TooMuch), bounded():
        while True:
            pass
    with pytest.raises(TooMuch), bounded():
        bytes(1 << 31)
