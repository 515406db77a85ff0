"""The samplers are exact: every bit string decides a value only if all of its extensions would."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest
from tests.support import noise_laws
from tests.support.noise_laws import Pmf

from medfed.crypto import Entropy, seeded_entropy
from medfed.errors import InvalidInput
from medfed.privacy.inversion import Sampler, _table
from medfed.privacy.laws import DiscreteGaussian, DiscreteLaplace, Law, NegativeBinomial, Poisson

LAWS: list[tuple[Law, Callable[[], Pmf]]] = [
    (Poisson(Fraction(1, 3)), lambda: noise_laws.poisson(Fraction(1, 3))),
    (Poisson(Fraction(25, 18)), lambda: noise_laws.poisson(Fraction(25, 18))),
    (Poisson(Fraction(800, 9)), lambda: noise_laws.poisson(Fraction(800, 9))),
    (
        NegativeBinomial(Fraction(1, 9), Fraction(1, 10)),
        lambda: noise_laws.negative_binomial(Fraction(1, 9), Fraction(1, 10)),
    ),
    (NegativeBinomial(Fraction(1), Fraction(1, 2)), lambda: noise_laws.negative_binomial(1, Fraction(1, 2))),
    (
        NegativeBinomial(Fraction(7, 2), Fraction(1, 5)),
        lambda: noise_laws.negative_binomial(Fraction(7, 2), Fraction(1, 5)),
    ),
    (NegativeBinomial(Fraction(60), Fraction(2)), lambda: noise_laws.negative_binomial(60, 2)),
    (DiscreteLaplace(Fraction(1, 20)), lambda: noise_laws.discrete_laplace(Fraction(1, 20))),
    (DiscreteLaplace(Fraction(3)), lambda: noise_laws.discrete_laplace(3)),
    (DiscreteGaussian(Fraction(1, 4)), lambda: noise_laws.discrete_gaussian(Fraction(1, 4))),
    (DiscreteGaussian(Fraction(25)), lambda: noise_laws.discrete_gaussian(25)),
]
each_law = pytest.mark.parametrize(("law", "oracle"), LAWS, ids=[str(law) for law, _ in LAWS])


class _UsedUp(Exception):
    """The scripted bytes are spent: so far the value is open."""


def _scripted(script: bytes) -> Entropy:
    left = bytearray(script)

    def draw(size: int) -> bytes:
        if size > len(left):
            raise _UsedUp
        taken = bytes(left[:size])
        del left[:size]
        return taken

    return draw


@each_law
def test_every_string_of_bits_that_decides_lies_wholly_within_its_value(law: Law, oracle: Callable[[], Pmf]) -> None:
    """U's known bits give [u, u+1) / 2^bits; the value k is right for all of it only between F(k-1) and F(k)."""
    with mp.workdps(40):
        pmf = oracle()
        sampler = Sampler(law, cell_bytes=1)
        decided: dict[bytes, int] = {}
        for first in range(256):
            strings = [bytes([first])]
            while strings:
                string = strings.pop()
                try:
                    decided[string] = int(sampler.draw(1, _scripted(string))[0])
                except _UsedUp:
                    if len(string) < 2:
                        strings.extend(string + bytes([more]) for more in range(256))
        totals = _totals(pmf, law, decided.values())
        share = sum(256.0 ** -len(string) for string in decided)
        # What is still open after 16 bits: a cell for each edge between values, and the tails.
        assert share > 1 - 2 * len(totals) / 2**16 - 2**-13
        for string, value in decided.items():
            scale = 256 ** len(string)
            assert totals[value - 1] * scale <= int.from_bytes(string, "big")
            assert int.from_bytes(string, "big") + 1 <= totals[value] * scale


def _totals(pmf: Pmf, law: Law, values: object) -> dict[int, mp.mpf]:
    found = sorted(set(values))  # type: ignore[call-overload]
    if law.mirror:
        reach = max(abs(found[0]), abs(found[-1]))
        half = (1 - pmf(0)) / 2
        totals = {-1: half, 0: half + pmf(0)}
        for k in range(1, reach + 1):
            totals[k] = totals[k - 1] + pmf(k)
            totals[-k - 1] = totals[-k] - pmf(-k)
        return totals
    totals = {-1: mp.mpf(0)}
    for k in range(found[-1] + 1):
        totals[k] = totals[k - 1] + pmf(k)
    return totals


@each_law
@pytest.mark.parametrize("cell_bits", [64, 128])
def test_table_edges_enclose_the_distribution_function_to_the_last_bit(
    law: Law, oracle: Callable[[], Pmf], cell_bits: int
) -> None:
    with mp.workdps(80):
        pmf = oracle()
        first, lows, highs = _table(law, cell_bits)
        totals = _totals(pmf, law, (first, first + len(lows) - 1))
        for i in range(len(lows)):
            exact = totals[first + i] * mp.mpf(2) ** cell_bits
            assert lows[i] <= exact
            before = totals[first + i - 1] * mp.mpf(2) ** cell_bits
            assert before <= highs[i] + 1
        open_cells = sum(high - low + 1 for low, high in zip(lows[:-1], highs[1:], strict=True))
        assert open_cells <= len(lows) + 8


@each_law
@pytest.mark.parametrize("cell_bytes", [1, 8])
def test_samples_fit_the_law_however_many_bits_are_drawn_at_first(
    law: Law, oracle: Callable[[], Pmf], cell_bytes: int
) -> None:
    samples = Sampler(law, cell_bytes).draw(3000, seeded_entropy(b"fit" + bytes([cell_bytes])))
    with mp.workdps(20):
        assert noise_laws.fit_probability(samples, oracle()) > 1e-4


def test_samples_of_another_law_are_noticed_by_the_test_of_fit() -> None:
    samples = Sampler(DiscreteLaplace(Fraction(1, 5))).draw(3000, seeded_entropy(b"power"))
    with mp.workdps(20):
        assert noise_laws.fit_probability(samples, noise_laws.discrete_laplace(Fraction(1, 4))) < 1e-6


def test_the_same_entropy_gives_the_same_samples_and_takes_eight_bytes_each() -> None:
    asked: list[int] = []
    stream = seeded_entropy(b"once")

    def counted(size: int) -> bytes:
        asked.append(size)
        return stream(size)

    law = Poisson(Fraction(40))
    samples = Sampler(law).draw(1000, counted)
    assert asked == [8000]
    assert samples.dtype == np.int64
    np.testing.assert_array_equal(samples, Sampler(law).draw(1000, seeded_entropy(b"once")))
    assert Sampler(law).draw(0, counted).size == 0


def test_a_source_that_stays_on_an_edge_is_refused_as_not_random() -> None:
    with pytest.raises(InvalidInput, match="not random"):
        Sampler(Poisson(Fraction(3)), cell_bytes=8).draw(1, lambda size: b"\xff" * size)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Poisson(Fraction(0)),
        lambda: Poisson(Fraction(-1)),
        lambda: Poisson(Fraction(2**33)),
        lambda: NegativeBinomial(Fraction(0), Fraction(1)),
        lambda: NegativeBinomial(Fraction(1), Fraction(0)),
        lambda: NegativeBinomial(Fraction(1), Fraction(1, 10**6)),
        lambda: DiscreteLaplace(Fraction(0)),
        lambda: DiscreteLaplace(Fraction(1, 10**6)),
        lambda: DiscreteGaussian(Fraction(0)),
        lambda: DiscreteGaussian(Fraction(2**33)),
        lambda: Sampler(Poisson(Fraction(1)), cell_bytes=3),
        lambda: Sampler(Poisson(Fraction(1))).draw(-1, seeded_entropy(b"")),
    ],
)
def test_laws_and_samplers_out_of_range_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidInput):
        make()
