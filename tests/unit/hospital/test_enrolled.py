"""Privacy accounts at a site: charged before anything is released, added up over studies, stopped at the cap."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace
from tests.support.labelling import TEN, labelling_plan, rows, tables

from medfed.blobs import MemoryBlobs
from medfed.crypto import SiteKeys, seeded_entropy
from medfed.errors import Refused
from medfed.federation.plan import Labelling, Plan
from medfed.federation.prepared import PreparedData
from medfed.federation.tables import table_from
from medfed.hospital.consent import APPROVE_ALL
from medfed.hospital.enrolled import affordable, can_enrol, charge_patients, charges, enrolled_rows, spent_by
from medfed.hospital.site import DEFAULT_CAP, PrivacyCap, Site
from medfed.hospital.vault import Vault
from medfed.identifiers import StudyId
from medfed.privacy import Account, Charge, apply_charge

ONE, TWO, THREE = (StudyId(bytes([at]) * 16) for at in (1, 2, 3))  # type: ignore[operator]
EPSILON = 3_000_000


def _site(cap: PrivacyCap = DEFAULT_CAP, count: int = 80) -> Site:
    entropy = seeded_entropy(b"a site for accounts")
    keys = SiteKeys.generate("hospital-a", entropy)
    table = table_from(rows("hospital-a", count))
    vault = Vault(None, keys.vault_key, entropy)
    return Site(keys, vault, MemoryBlobs(), lambda plan: table, APPROVE_ALL, lambda: 0, entropy, 0, cap=cap)


def _plan(epsilon: int = EPSILON, **changed: object) -> Plan:
    plan = labelling_plan(TEN)
    assert isinstance(plan.labelling, Labelling)
    return replace(plan, labelling=replace(plan.labelling, epsilon=epsilon), **changed)


def _rows(site: Site, plan: Plan) -> PreparedData:
    return site.prepared(plan)


def test_a_study_is_charged_to_every_patient_once_however_often_it_enrols() -> None:
    site, plan = _site(), _plan()
    prepared = _rows(site, plan)
    assert len(charge_patients(site, plan, ONE, prepared)) == len(prepared)
    charge_patients(site, plan, ONE, prepared)
    assert [record.charge.epsilon for record in charges(site)] == [EPSILON]
    spent = spent_by(site, np.unique(prepared.pseudonyms))
    assert set(spent[0]) == {EPSILON}


def test_studies_add_up_to_the_cap_as_an_account_says() -> None:
    site, plan = _site(PrivacyCap(7_000_000, DEFAULT_CAP.delta)), _plan()
    prepared = _rows(site, plan)
    account = Account(cap_epsilon=7_000_000, cap_delta=DEFAULT_CAP.delta)
    for study in (ONE, TWO):
        charge_patients(site, plan, study, prepared)
        account = apply_charge(account, charges(site)[-1].charge)
    assert not can_enrol(site, plan, THREE, prepared)
    with pytest.raises(Refused) as refused:
        charge_patients(site, plan, THREE, prepared)
    assert refused.value.code == "privacy-cap"
    with pytest.raises(Refused, match="cap"):
        apply_charge(account, Charge(study=THREE, purpose="votes", epsilon=EPSILON, delta=1))
    assert len(charges(site)) == 2


def test_delta_has_a_cap_too() -> None:
    site, plan = _site(PrivacyCap(100_000_000, 15_000_000_000)), _plan()
    prepared = _rows(site, plan)
    charge_patients(site, plan, ONE, prepared)
    assert not can_enrol(site, plan, TWO, prepared)


def test_only_patients_whose_account_can_pay_are_used() -> None:
    site, plan = _site(PrivacyCap(4_000_000, DEFAULT_CAP.delta)), _plan()
    prepared = _rows(site, plan)
    half = prepared.take(prepared.pseudonyms < np.median(prepared.pseudonyms))
    charge_patients(site, plan, ONE, half)
    able = affordable(site, plan, TWO, prepared)
    assert np.array_equal(~able, np.isin(prepared.pseudonyms, half.pseudonyms))
    used = charge_patients(site, plan, TWO, prepared)
    assert not np.isin(used.pseudonyms, half.pseudonyms).any()
    assert len(used) + len(half) == len(prepared)
    assert np.array_equal(enrolled_rows(site, TWO, prepared).pseudonyms, used.pseudonyms)


def test_too_few_who_can_pay_stop_the_enrolment_and_nobody_is_charged() -> None:
    site = _site(PrivacyCap(4_000_000, DEFAULT_CAP.delta))
    plan = _plan()
    prepared = _rows(site, plan)
    charge_patients(site, plan, ONE, prepared)
    with pytest.raises(Refused, match="0 of"):
        charge_patients(site, plan, TWO, prepared)
    assert len(charges(site)) == 1


def test_without_a_patient_column_every_study_counts_for_everybody() -> None:
    site, plan = _site(PrivacyCap(5_000_000, DEFAULT_CAP.delta)), _plan()
    nameless = _plan(data=replace(plan.data, patient=None))
    charge_patients(site, plan, ONE, _rows(site, plan))
    assert not can_enrol(site, nameless, TWO, _rows(site, nameless))
    other = _site(PrivacyCap(5_000_000, DEFAULT_CAP.delta))
    charge_patients(other, nameless, ONE, _rows(other, nameless))
    assert not can_enrol(other, plan, TWO, _rows(other, plan))


def test_the_same_patient_is_the_same_in_another_study_of_the_site_and_another_at_another_site() -> None:
    site = _site()
    here = _rows(site, _plan()).pseudonyms
    again = _rows(site, _plan(epsilon=EPSILON + 1)).pseudonyms
    assert np.array_equal(here, again)
    keys = SiteKeys.generate("hospital-b", seeded_entropy(b"another site"))
    elsewhere = replace_keys(site, keys)
    assert not np.isin(_rows(elsewhere, _plan()).pseudonyms, here).any()


def test_rows_of_a_study_that_nobody_was_charged_for_are_not_used() -> None:
    site, plan = _site(), _plan()
    with pytest.raises(Refused, match="no patient was charged"):
        enrolled_rows(site, ONE, _rows(site, plan))


def test_tables_of_all_hospitals_name_their_own_patients() -> None:
    assert len({row["person"][0] for row in tables().values()}) == len(TEN)


def replace_keys(site: Site, keys: SiteKeys) -> Site:
    vault = Vault(None, keys.vault_key, site.entropy)
    return Site(keys, vault, site.blobs, site.data, site.consent, site.clock, site.entropy, 0)
