from __future__ import annotations

from collections.abc import Callable

import pytest

from medfed.encoding import decode, encode
from medfed.errors import InvalidInput
from medfed.privacy.events import (
    Composed,
    ConfidentGaussianMax,
    DiscreteLaplaceSum,
    Event,
    GaussianMax,
    GaussianSum,
    LaplaceMax,
    Repeated,
    SampledGaussian,
    SkellamSum,
    SkellamVectorSum,
    vote_shifts,
)

EVENTS: list[Event] = [
    GaussianSum(sigma=2.0),
    SkellamSum(variance=25.0),
    SkellamVectorSum(variance=1e6, l1=100.0, l2=10.0),
    DiscreteLaplaceSum(gamma=0.5),
    GaussianMax(sigma=40.0),
    ConfidentGaussianMax(threshold_sigma=150.0, sigma=40.0, queries=100, answered=60),
    LaplaceMax(gamma=0.05),
    SampledGaussian(multiplier=1.1, rate=0.01),
]


@pytest.mark.parametrize(
    "event", [*EVENTS, Repeated(event=EVENTS[1], count=3), Composed(events=(EVENTS[0], EVENTS[3]))]
)
def test_an_event_survives_its_encoding(event: Event) -> None:
    assert decode(encode(event), Event) == event


@pytest.mark.parametrize(
    "make",
    [
        lambda: GaussianSum(sigma=0.0),
        lambda: GaussianSum(sigma=float("nan")),
        lambda: GaussianSum(sigma=1.0, l2=-1.0),
        lambda: GaussianSum(sigma=1.0, unit="doctor"),
        lambda: SkellamSum(variance=float("inf")),
        lambda: SkellamSum(variance=1.0, shifts=()),
        lambda: SkellamSum(variance=1.0, shifts=(0,)),
        lambda: SkellamSum(variance=1.0, shifts=(1.5,)),
        lambda: SkellamSum(variance=1.0, shifts=(True,)),
        lambda: SkellamVectorSum(variance=1.0, l1=0.0, l2=1.0),
        lambda: DiscreteLaplaceSum(gamma=-0.1),
        lambda: GaussianMax(sigma=1.0, changed=0),
        lambda: LaplaceMax(gamma=0.0),
        lambda: ConfidentGaussianMax(threshold_sigma=1.0, sigma=1.0, queries=5, answered=6),
        lambda: ConfidentGaussianMax(threshold_sigma=1.0, sigma=1.0, queries=0, answered=0),
        lambda: SampledGaussian(multiplier=1.0, rate=0.0),
        lambda: SampledGaussian(multiplier=1.0, rate=1.01),
        lambda: Repeated(event=GaussianSum(sigma=1.0), count=0),
        lambda: Composed(events=()),
        lambda: Composed(events=(GaussianSum(sigma=1.0), GaussianSum(sigma=1.0, unit="hospital"))),
        lambda: vote_shifts(0),
        lambda: Repeated(event=0.1, count=1),
        lambda: Composed(events=(0.1,)),
    ],
)
def test_events_that_cannot_have_happened_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidInput):
        make()


def test_a_patient_of_three_hospitals_moves_three_votes_from_one_class_to_another() -> None:
    assert vote_shifts() == (1, 1)
    assert vote_shifts(3) == (3, 3)


def test_composed_and_repeated_events_protect_what_their_parts_protect() -> None:
    part = GaussianSum(sigma=1.0, unit="hospital")
    assert Repeated(event=part, count=2).unit == "hospital"
    assert Composed(events=(part, Repeated(event=part, count=2))).unit == "hospital"
