from __future__ import annotations

import math

import pytest

from medfed.encoding import decode, encode
from medfed.errors import InvalidInput, Refused
from medfed.privacy.account import DELTA_STEP, EPSILON_STEP, Account, Charge, apply_charge, charge_for
from medfed.privacy.curve import Guarantee
from medfed.privacy.events import Repeated, SkellamSum
from medfed.privacy.renyi import guarantee

VOTES = guarantee(Repeated(event=SkellamSum(variance=1600.0), count=500), 1e-5)
EMPTY = Account(cap_epsilon=8 * EPSILON_STEP, cap_delta=DELTA_STEP // 10_000)


def _study(number: int) -> bytes:
    return bytes([number]) * 16


def test_a_charge_is_never_below_the_guarantee() -> None:
    charge = charge_for(VOTES, _study(1), "votes")
    assert VOTES.epsilon <= charge.epsilon / EPSILON_STEP < VOTES.epsilon + 2 / EPSILON_STEP
    assert 1e-5 <= charge.delta / DELTA_STEP < 1.0001e-5


def test_studies_add_up_until_the_cap_refuses_the_next() -> None:
    account = apply_charge(EMPTY, charge_for(VOTES, _study(1), "votes"))
    account = apply_charge(account, charge_for(VOTES, _study(2), "votes"))
    assert account.spent_epsilon == 2 * math.ceil(VOTES.epsilon * EPSILON_STEP)
    assert account.remaining_epsilon == 8 * EPSILON_STEP - account.spent_epsilon
    with pytest.raises(Refused, match="cap") as refused:
        apply_charge(account, charge_for(VOTES, _study(3), "votes"))
    assert refused.value.code == "privacy-cap"
    assert len(account.charges) == 2


def test_a_cap_can_be_spent_to_the_last_millionth_and_not_beyond() -> None:
    exactly = Charge(study=_study(1), purpose="votes", epsilon=EMPTY.cap_epsilon, delta=EMPTY.cap_delta)
    full = apply_charge(EMPTY, exactly)
    assert (full.remaining_epsilon, full.remaining_delta) == (0, 0)
    for epsilon, delta in ((1, 0), (0, 1)):
        with pytest.raises(Refused, match="cap"):
            apply_charge(full, Charge(study=_study(2), purpose="votes", epsilon=epsilon, delta=delta))


def test_a_charge_repeated_after_a_restart_counts_once() -> None:
    charge = charge_for(VOTES, _study(1), "votes")
    once = apply_charge(EMPTY, charge)
    assert apply_charge(once, charge) is once
    assert apply_charge(once, charge_for(VOTES, _study(1), "training")).spent_epsilon == 2 * once.spent_epsilon


def test_a_study_cannot_change_what_it_charged() -> None:
    charge = charge_for(VOTES, _study(1), "votes")
    once = apply_charge(EMPTY, charge)
    with pytest.raises(InvalidInput, match="another amount"):
        apply_charge(once, Charge(study=_study(1), purpose="votes", epsilon=1, delta=0))


def test_a_lowered_cap_leaves_nothing_and_forgets_nothing() -> None:
    once = apply_charge(EMPTY, charge_for(VOTES, _study(1), "votes"))
    lowered = Account(cap_epsilon=EPSILON_STEP, cap_delta=once.cap_delta, charges=once.charges)
    assert lowered.remaining_epsilon == 0
    assert lowered.spent_epsilon == once.spent_epsilon


def test_an_account_survives_its_encoding() -> None:
    account = apply_charge(EMPTY, charge_for(VOTES, _study(1), "votes"))
    assert decode(encode(account), Account) == account


def test_a_guarantee_for_hospitals_or_without_end_cannot_be_charged() -> None:
    for unit, epsilon in (("hospital", 1.0), ("patient", math.inf), ("patient", math.nan), ("patient", 1e300)):
        given = Guarantee(epsilon=epsilon, delta=1e-5, order=2.0, unit=unit, conversion="mironov")
        with pytest.raises(InvalidInput):
            charge_for(given, _study(1), "votes")


def test_a_bare_number_cannot_be_charged() -> None:
    with pytest.raises(InvalidInput, match="float"):
        charge_for(1.0, _study(1), "votes")  # type: ignore[arg-type]


def test_accounts_that_make_no_sense_are_refused() -> None:
    charge = charge_for(VOTES, _study(1), "votes")
    with pytest.raises(InvalidInput, match="once"):
        Account(cap_epsilon=1, cap_delta=1, charges=(charge, charge))
    with pytest.raises(InvalidInput, match="cap"):
        Account(cap_epsilon=-1, cap_delta=1)
