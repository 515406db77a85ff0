"""What must hold of every event, curve, account and sampler, whatever their numbers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from medfed.crypto import seeded_entropy
from medfed.errors import Refused
from medfed.privacy import (
    Account,
    Charge,
    Composed,
    DiscreteLaplaceSum,
    Event,
    GaussianMax,
    GaussianSum,
    LaplaceMax,
    PolyaShares,
    PrivateSum,
    Repeated,
    Roster,
    SampledGaussian,
    SkellamShares,
    SkellamSum,
    SkellamVectorSum,
    apply_charge,
    choose_lattice,
    guarantee,
    lattice_for,
    renyi_curve,
)
from medfed.privacy.data_dependent import gaussian_max_curve, laplace_max_curve

ORDERS = [1.1, 1.5, 2.0, 3.25, 8.0, 20.0, 64.0]
shift = st.integers(1, 6)
simple: st.SearchStrategy[Event] = st.one_of(
    st.builds(GaussianSum, sigma=st.floats(0.3, 100), l2=st.floats(0.1, 5)),
    st.builds(SkellamSum, variance=st.floats(0.5, 2000), shifts=st.tuples(shift, shift)),
    st.builds(
        SkellamVectorSum, variance=st.floats(50, 1e6), l1=st.floats(1, 30), l2=st.floats(1, 10), unit=st.just("patient")
    ),
    st.builds(DiscreteLaplaceSum, gamma=st.floats(0.005, 3), shifts=st.tuples(shift, shift)),
    st.builds(GaussianMax, sigma=st.floats(1, 200)),
    st.builds(LaplaceMax, gamma=st.floats(0.005, 2)),
    st.builds(SampledGaussian, multiplier=st.floats(0.5, 10), rate=st.floats(1e-4, 1)),
)


@settings(max_examples=60, deadline=None)
@given(simple)
def test_a_curve_rises_with_its_order_and_is_never_negative(event: Event) -> None:
    values = renyi_curve(event, ORDERS).values
    assert (values >= 0).all()
    # Quadrature and summation leave an error of about 1e-13 in α - 1 times the value.
    assert (np.diff(values) >= -1e-11 * (1 + values[1:])).all()


@settings(max_examples=40, deadline=None)
@given(simple, simple, st.integers(1, 1000))
def test_composition_adds_and_its_order_does_not_matter(first: Event, second: Event, count: int) -> None:
    one, other = renyi_curve(first, ORDERS).values, renyi_curve(second, ORDERS).values
    expected = count * one + other
    for events in ((Repeated(event=first, count=count), second), (second, Repeated(event=first, count=count))):
        np.testing.assert_allclose(renyi_curve(Composed(events=events), ORDERS).values, expected, rtol=1e-12)
    np.testing.assert_allclose(
        (renyi_curve(first, ORDERS).repeated(count) + renyi_curve(second, ORDERS)).values, expected, rtol=1e-12
    )


@settings(max_examples=40, deadline=None)
@given(simple, st.integers(1, 500), st.floats(1e-9, 1e-2))
def test_one_more_release_or_a_smaller_delta_never_costs_less(event: Event, count: int, delta: float) -> None:
    def cost(times: int, at: float) -> float:
        return guarantee(Repeated(event=event, count=times), at, ORDERS).epsilon

    assert cost(count, delta) <= cost(count + 1, delta)
    assert cost(count, delta) <= cost(count, delta / 2)
    classical = guarantee(Repeated(event=event, count=count), delta, ORDERS, "mironov").epsilon
    assert cost(count, delta) <= classical * (1 + 1e-12)


@settings(max_examples=30, deadline=None)
@given(simple, st.floats(0.01, 30))
def test_delta_and_epsilon_convert_into_each_other(event: Event, epsilon: float) -> None:
    curve = renyi_curve(event, ORDERS)
    delta = curve.delta(epsilon)
    if 1e-300 < delta < 1:
        assert curve.guarantee(delta).epsilon <= epsilon * (1 + 1e-9) + 1e-12


@settings(max_examples=40, deadline=None)
@given(st.floats(0.5, 2000), st.floats(1.01, 3), shift, st.floats(0.005, 2))
def test_more_noise_costs_less_and_a_larger_shift_more(variance: float, factor: float, by: int, gamma: float) -> None:
    def skellam(v: float, s: int) -> np.ndarray:
        return renyi_curve(SkellamSum(variance=v, shifts=(s, s)), ORDERS).values

    def laplace(g: float, s: int) -> np.ndarray:
        return renyi_curve(DiscreteLaplaceSum(gamma=g, shifts=(s, s)), ORDERS).values

    slack = 1 + 1e-9
    assert (skellam(variance * factor, by) <= skellam(variance, by) * slack).all()
    assert (skellam(variance, by) <= skellam(variance, by + 1) * slack).all()
    assert (laplace(gamma, by) <= laplace(gamma * factor, by) * slack).all()
    assert (laplace(gamma, by) <= laplace(gamma, by + 1) * slack).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 300), min_size=2, max_size=12), st.floats(1, 200), st.randoms(use_true_random=False))
def test_bounds_given_votes_do_not_depend_on_the_names_of_the_classes(votes: list[int], sigma: float, random) -> None:
    shuffled = list(votes)
    random.shuffle(shuffled)
    for curve, noise in ((gaussian_max_curve, sigma), (laplace_max_curve, 2 / sigma)):
        rows = [curve(v, noise, ORDERS).rows_for_research_only() for v in (votes, shuffled)]
        np.testing.assert_allclose(rows[0], rows[1], rtol=1e-9, atol=1e-300)


amounts = st.integers(0, 3_000_000)


@given(st.lists(st.tuples(st.integers(0, 5), amounts, amounts), max_size=30), amounts, amounts)
def test_no_sequence_of_charges_passes_a_cap(charges: list[tuple[int, int, int]], epsilon: int, delta: int) -> None:
    account = Account(cap_epsilon=epsilon, cap_delta=delta)
    for number, (_, cost, failure) in enumerate(charges):
        charge = Charge(study=number.to_bytes(16), purpose="votes", epsilon=cost, delta=failure)
        fits = cost <= account.remaining_epsilon and failure <= account.remaining_delta
        try:
            account = apply_charge(account, charge)
            assert fits
        except Refused:
            assert not fits
        assert account.spent_epsilon <= epsilon
        assert account.spent_delta <= delta
        assert account.spent_epsilon + account.remaining_epsilon == epsilon


@settings(max_examples=40, deadline=None)
@given(
    st.integers(3, 50),
    st.data(),
    st.fractions(Fraction(1, 100), Fraction(5000)),
    st.fractions(Fraction(1, 200), Fraction(3)),
)
def test_noise_of_everybody_together_stays_within_its_bound(
    hospitals: int, data: st.DataObject, variance: Fraction, gamma: Fraction
) -> None:
    dropouts = data.draw(st.integers(0, hospitals - 2))
    roster = Roster(hospitals, dropouts)
    for shares in (SkellamShares(variance, roster), PolyaShares(gamma, roster)):
        total = sum(shares.draw(50, seeded_entropy(bytes([i]))) for i in range(hospitals))
        assert int(np.abs(total).max()) <= shares.total_bound(50)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.01, 1000), st.floats(1e-3, 10), st.floats(0.01, 30), st.integers(3, 50), st.integers(1, 10**6))
def test_a_chosen_lattice_always_keeps_the_promise_and_leaves_room(
    bound: float, relative_clip: float, multiplier: float, hospitals: int, length: int
) -> None:
    plan = PrivateSum(
        length=length, bound=bound, clip=bound * relative_clip, multiplier=multiplier, hospitals=hospitals, dropouts=1
    )
    choice = choose_lattice(plan)
    lattice = lattice_for(plan, choice)
    deviation = choice.step * choice.variance**0.5 / lattice.scale
    assert deviation >= multiplier * plan.clip * (1 - 1e-12)
    assert bound * lattice.scale + choice.noise_bound + hospitals <= 2**31 - 1 + 1e-3
    assert lattice.event.l2 <= plan.clip * lattice.scale / choice.step * (1 + 1e-9)
