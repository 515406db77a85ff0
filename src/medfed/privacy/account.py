"""A patient's privacy account at one hospital: what every study may cost, added up, against the site's cap.

Whole numbers only, rounded against the site, so that replicas and restarts agree to the last digit. ε and δ add up
over studies whatever they were about and however each was chosen after the ones before, as long as the cap stops the
sum (Rogers et al. 2016, section 4). This module stores nothing and never takes a data-dependent figure.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Annotated, Final

from msgspec import Meta
from msgspec.structs import force_setattr

from medfed.encoding import Record
from medfed.errors import InvalidInput, Refused
from medfed.identifiers import Code, StudyId
from medfed.privacy.curve import Guarantee

__all__ = ["DELTA_STEP", "EPSILON_STEP", "Account", "Charge", "apply_charge", "charge_for"]

EPSILON_STEP: Final = 1_000_000
"""ε is counted in millionths."""
DELTA_STEP: Final = 1_000_000_000_000_000
"""δ is counted in units of 10^-15."""
_MOST: Final = 2**53 - 1

Amount = Annotated[int, Meta(ge=0, le=_MOST)]


class Charge(Record, frozen=True):
    """What one study may cost a patient, charged when it enrols the patient, before anything is released."""

    study: StudyId
    purpose: Code
    """Tells several charges of one study apart, such as votes and training."""
    epsilon: Amount
    """Millionths, rounded up."""
    delta: Amount
    """Units of 10^-15, rounded up."""


class Account(Record, frozen=True):
    """The charges of one patient and the site's cap."""

    cap_epsilon: Amount
    """Millionths."""
    cap_delta: Amount
    """Units of 10^-15."""
    charges: Annotated[tuple[Charge, ...], Meta(max_length=10_000)] = ()

    def __post_init__(self) -> None:
        force_setattr(self, "charges", tuple(self.charges))
        for what, value in (("epsilon", self.cap_epsilon), ("delta", self.cap_delta)):
            if not 0 <= value <= _MOST:
                raise InvalidInput(f"cap on {what}: expected 0 to {_MOST}, found {value}")
        keys = [(charge.study, charge.purpose) for charge in self.charges]
        if len(set(keys)) != len(keys):
            raise InvalidInput("privacy account: expected each study and purpose once")

    @property
    def spent_epsilon(self) -> int:
        """Millionths."""
        return sum(charge.epsilon for charge in self.charges)

    @property
    def spent_delta(self) -> int:
        """Units of 10^-15."""
        return sum(charge.delta for charge in self.charges)

    @property
    def remaining_epsilon(self) -> int:
        """Millionths; 0 where a cap was lowered below what is spent."""
        return max(0, self.cap_epsilon - self.spent_epsilon)

    @property
    def remaining_delta(self) -> int:
        """Units of 10^-15."""
        return max(0, self.cap_delta - self.spent_delta)


def charge_for(guarantee: Guarantee, study: StudyId, purpose: Code) -> Charge:
    """The charge for a study's whole budget.

    Raises:
        InvalidInput: not a `Guarantee` (a data-dependent figure cannot be charged), or one that protects hospitals
            instead of patients.
    """
    given = _checked_guarantee(guarantee)
    return Charge(
        study=study,
        purpose=purpose,
        epsilon=_rounded_up("epsilon", given.epsilon, EPSILON_STEP),
        delta=_rounded_up("delta", given.delta, DELTA_STEP),
    )


def apply_charge(account: Account, charge: Charge) -> Account:
    """The account with `charge` in it. The same charge again changes nothing, so a restart may repeat it.

    Raises:
        InvalidInput: the study and purpose are there with another amount.
        Refused: ε or δ would pass the cap; code `privacy-cap`.
    """
    for before in account.charges:
        if (before.study, before.purpose) == (charge.study, charge.purpose):
            if before == charge:
                return account
            raise InvalidInput(f"charge {charge.purpose}: the study has been charged another amount for it before")
    if charge.epsilon > account.remaining_epsilon:
        raise Refused(
            "privacy-cap",
            f"the study's ε of {charge.epsilon / EPSILON_STEP:.6f} passes the site's cap: "
            f"{account.remaining_epsilon / EPSILON_STEP:.6f} of {account.cap_epsilon / EPSILON_STEP:.6f} is left",
        )
    if charge.delta > account.remaining_delta:
        raise Refused(
            "privacy-cap",
            f"the study's δ of {charge.delta / DELTA_STEP:g} passes the site's cap: "
            f"{account.remaining_delta / DELTA_STEP:g} of {account.cap_delta / DELTA_STEP:g} is left",
        )
    return Account(cap_epsilon=account.cap_epsilon, cap_delta=account.cap_delta, charges=(*account.charges, charge))


def _checked_guarantee(given: object) -> Guarantee:
    if not isinstance(given, Guarantee):
        raise InvalidInput(f"charge: expected a guarantee that holds for any data, found {type(given).__name__}")
    if given.unit != "patient":
        raise InvalidInput(f"charge: expected a guarantee for patients, found one for a {given.unit}")
    return given


def _rounded_up(what: str, value: float, step: int) -> int:
    if not (math.isfinite(value) and value >= 0):
        raise InvalidInput(f"{what}: expected a finite number of at least 0, found {value}")
    amount = math.ceil(Fraction(value) * step)
    if amount > _MOST:
        raise InvalidInput(f"{what}: {value:g} is beyond what an account can hold")
    return amount
