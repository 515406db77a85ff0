"""Which patients a study may use, and what it costs each of them: the site's privacy accounts.

A study is charged in full when the hospital enrols, to every patient that it uses, before anything is released. Who
cannot pay is left out; a study for which too few are left is declined. Accounts stay in the vault.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from medfed.encoding import Record
from medfed.errors import InvalidInput, Refused
from medfed.federation.plan import Plan, TrainingNoise
from medfed.federation.prepared import PreparedData
from medfed.hospital.site import Site
from medfed.hospital.votes_round import labelling_of
from medfed.identifiers import StudyId
from medfed.privacy import DELTA_STEP, EPSILON_STEP, Charge

__all__ = [
    "EnrolledPatients",
    "account_summary",
    "affordable",
    "can_enrol",
    "charge_patients",
    "charges",
    "enrolled_rows",
    "spent_by",
]

_KEY: Final = "privacy/charge/"
PURPOSE: Final = "votes"


class EnrolledPatients(Record):
    """What one study was charged, and to whom."""

    charge: Charge
    patients: bytes | None
    """Sorted pseudonyms, little-endian uint64; None where rows name no patient: then everybody at the site."""


def charge_of(plan: Plan, study: StudyId) -> Charge:
    """What a study costs each patient: its whole approved budget.

    Raises:
        InvalidInput: a study that promises patients nothing.
    """
    noise = plan.noise
    if isinstance(noise, TrainingNoise):
        if noise.unit != "patient":
            raise InvalidInput("charge: the plan's promise is for hospitals, not for patients")
        return Charge(study=study, purpose="training", epsilon=noise.epsilon, delta=noise.delta)
    labelling = labelling_of(plan)
    return Charge(study=study, purpose=PURPOSE, epsilon=labelling.epsilon, delta=labelling.delta)


def charges(site: Site) -> list[EnrolledPatients]:
    """Everything charged at this site, by study."""
    found = (site.vault.load(key, EnrolledPatients) for key in sorted(site.vault.keys_under(_KEY)))
    return [record for record in found if record is not None]


def spent_by(site: Site, pseudonyms: NDArray[np.uint64], but: StudyId | None = None) -> NDArray[np.int64]:
    """(2, patients): each patient's ε in millionths and δ in 10^-15 over all studies, `but` one left out."""
    total = np.zeros((2, len(pseudonyms)), dtype=np.int64)
    for record in charges(site):
        if record.charge.study == but:
            continue
        paying = np.ones(len(pseudonyms), dtype=bool) if record.patients is None else _holds(record, pseudonyms)
        total[0, paying] += record.charge.epsilon
        total[1, paying] += record.charge.delta
    return total


def account_summary(site: Site) -> dict[str, Any]:
    """The site's accounts in counts: its cap, each study's charge, and the most that one patient was charged."""
    found = charges(site)
    parts = [np.frombuffer(record.patients, dtype="<u8") for record in found if record.patients is not None]
    patients = np.unique(np.concatenate(parts)) if parts else np.zeros(1, dtype=np.uint64)
    spent = spent_by(site, patients)
    return {
        "cap_epsilon": site.cap.epsilon / EPSILON_STEP,
        "cap_delta": site.cap.delta / DELTA_STEP,
        "studies": {
            record.charge.study.hex(): {
                "epsilon": record.charge.epsilon / EPSILON_STEP,
                "delta": record.charge.delta / DELTA_STEP,
                "patients": "all" if record.patients is None else str(len(record.patients) // 8),
            }
            for record in found
        },
        "most_epsilon": int(spent[0].max()) / EPSILON_STEP,
        "most_delta": int(spent[1].max()) / DELTA_STEP,
    }


def affordable(site: Site, plan: Plan, study: StudyId, prepared: PreparedData) -> NDArray[np.bool_]:
    """(rows,): the rows whose patients can pay for the study.

    Without a patient column nobody can tell whose rows they are, so what any study was charged counts for all.
    """
    charge = charge_of(plan, study)
    patients, of_row = np.unique(prepared.pseudonyms, return_inverse=True)
    spent = spent_by(site, patients, but=study)
    if plan.data.patient is None:
        others = [record.charge for record in charges(site) if record.charge.study != study]
        spent[0] = sum(other.epsilon for other in others)
        spent[1] = sum(other.delta for other in others)
    cap = site.cap
    pays = (spent[0] + charge.epsilon <= cap.epsilon) & (spent[1] + charge.delta <= cap.delta)
    return pays[of_row]


def can_enrol(site: Site, plan: Plan, study: StudyId, prepared: PreparedData) -> bool:
    """Whether enough patients can pay for the plan."""
    able = int(np.count_nonzero(affordable(site, plan, study, prepared)))
    return able >= plan.participation.min_examples


def charge_patients(site: Site, plan: Plan, study: StudyId, prepared: PreparedData) -> PreparedData:
    """Charge the study to all who can pay, in the vault, and return their rows. Again, it changes nothing.

    Raises:
        Refused: `privacy-cap`: fewer rows than the plan needs are left.
    """
    known = site.vault.load(_KEY + study.hex(), EnrolledPatients)
    if known is None:
        rows = prepared.take(affordable(site, plan, study, prepared))
        if len(rows) < plan.participation.min_examples:
            raise Refused(
                "privacy-cap",
                f"{len(rows)} of {len(prepared)} rows are of patients whose account can pay for the study; "
                f"the plan needs {plan.participation.min_examples}",
            )
        patients = np.unique(rows.pseudonyms).astype("<u8").tobytes() if plan.data.patient is not None else None
        site.vault.store(_KEY + study.hex(), EnrolledPatients(charge_of(plan, study), patients))
    return enrolled_rows(site, study, prepared)


def enrolled_rows(site: Site, study: StudyId, prepared: PreparedData) -> PreparedData:
    """The rows of the patients that the study was charged to.

    Raises:
        Refused: `not-charged`: the vault knows of no charge.
    """
    record = site.vault.load(_KEY + study.hex(), EnrolledPatients)
    if record is None:
        raise Refused("not-charged", f"study {study.hex()}: no patient was charged for it, so none may be used")
    if record.patients is None:
        return prepared
    return prepared.take(_holds(record, prepared.pseudonyms))


def _holds(record: EnrolledPatients, pseudonyms: NDArray[np.uint64]) -> NDArray[np.bool_]:
    return np.isin(pseudonyms, np.frombuffer(record.patients or b"", dtype="<u8"))
