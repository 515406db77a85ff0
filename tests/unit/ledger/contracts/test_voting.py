"""Ballots: one vote each, more than two thirds carry, lost when it can no longer be carried."""

from __future__ import annotations

import itertools

import pytest

from medfed.errors import Refused
from medfed.ledger.contracts.voting import Ballot, cast_vote, standing

PEOPLE = tuple(f"h{n:02}" for n in range(12))


def test_a_vote_is_entered_sorted() -> None:
    ballot = cast_vote(cast_vote(Ballot(), "b", True, ("a", "b")), "a", True, ("a", "b"))
    assert ballot == Ballot(("a", "b"), ())


def test_rule_1_who_is_not_in_the_electorate_has_no_vote() -> None:
    with pytest.raises(Refused) as refused:
        cast_vote(Ballot(), "x", True, ("a", "b"))
    assert refused.value.code == "not-a-voter"


@pytest.mark.parametrize(("first", "second"), [*itertools.product((True, False), repeat=2)])
def test_rule_1_a_second_vote_is_refused_whatever_it_says(first: bool, second: bool) -> None:
    ballot = cast_vote(Ballot(), "a", first, ("a", "b"))
    with pytest.raises(Refused) as refused:
        cast_vote(ballot, "a", second, ("a", "b"))
    assert refused.value.code == "already-voted"


@pytest.mark.parametrize("size", range(1, 13))
def test_rules_2_and_3_for_every_split_of_the_votes(size: int) -> None:
    electorate = PEOPLE[:size]
    for yes in range(size + 1):
        for no in range(size + 1 - yes):
            ballot = Ballot(electorate[:yes], electorate[yes : yes + no])
            open_votes = size - yes - no
            if yes > 2 * size / 3:
                expected = "carried"
            elif yes + open_votes > 2 * size / 3:
                expected = "open"
            else:
                expected = "lost"
            assert standing(ballot, electorate) == expected


def test_votes_of_those_who_have_left_the_electorate_do_not_count() -> None:
    assert standing(Ballot(("a", "b", "c"), ()), ("a", "b", "c", "d")) == "carried"
    assert standing(Ballot(("a", "b", "c"), ()), ("a", "d", "e", "f")) == "open"
    assert standing(Ballot((), ("a", "b")), ("c", "d", "e")) == "open"
