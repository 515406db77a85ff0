"""Every pitfall of FHIR that the clinical page names, each by name, through a whole import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.fhir import (
    LOINC,
    SNOMED,
    STORY,
    UCUM,
    Imported,
    Json,
    concept,
    condition,
    dose,
    observation,
    patient,
    request,
)

from medfed.records.case import Case
from medfed.records.units import UnitConverter


@pytest.fixture
def site(tmp_path: Path) -> Imported:
    return Imported(tmp_path)


def reason_for(site: Imported, resource: Json, **more: Any) -> str:
    """Import the story and `resource`; the reason for which the latter was left out."""
    site.take(*STORY, resource, **more)
    return next(reason for place, reason in site.reasons().items() if " line 4" in place)


def feature_codes(case: Case) -> set[str]:
    return {feature.concept.code for feature in case.features}


def test_the_story_alone_makes_a_case_with_nothing_left_over(site: Imported) -> None:
    report = site.take(*STORY)
    assert (report.read, report.used, report.cases) == (3, 3, 1)
    assert [coding.code for coding in site.case.outcome.diagnoses] == ["233604007"]
    assert site.case.age == pytest.approx(39.78, abs=0.01)
    assert site.case.sex == "female"


@pytest.mark.parametrize(
    "change",
    [
        {"modifierExtension": [{"url": "http://example.org/not", "valueBoolean": True}]},
        {"component": [{"code": concept("1", LOINC), "modifierExtension": [{"url": "http://example.org/not"}]}]},
    ],
    ids=["at the top", "deep inside"],
)
def test_an_unknown_modifier_extension_rejects_the_resource(site: Imported, change: Json) -> None:
    assert "may change what the resource means" in reason_for(site, observation(**change))
    assert site.case.features == ()


def test_a_modifier_extension_spelt_with_escapes_is_found_too(site: Imported) -> None:
    site.take(*STORY)
    text = rb'{"resourceType":"Observation","id":"x","status":"final","modifier\u0045xtension":[{"url":"u"}]}'
    site.take_bytes(text, ".ndjson")
    assert "may change what the resource means" in next(iter(site.reasons().values()))


def test_implicit_rules_reject_the_resource(site: Imported) -> None:
    assert "may change what the resource means" in reason_for(site, observation(implicitRules="http://example.org/r"))


@pytest.mark.parametrize("status", ["entered-in-error", "unconfirmed", "provisional", "differential"])
def test_a_condition_that_is_an_error_or_not_confirmed_is_no_diagnosis(site: Imported, status: str) -> None:
    reason = reason_for(site, condition("c2", "38341003", verificationStatus=concept(status, "v")))
    assert reason in ("entered in error", "not confirmed")
    assert len(site.case.outcome.diagnoses) == 1


def test_a_refuted_condition_is_a_refuted_feature_and_no_diagnosis(site: Imported) -> None:
    refuted = condition("c2", "38341003", verificationStatus=concept("refuted", "v"))
    site.take(*STORY, refuted | {"recordedDate": "2020-03-11T11:00:00Z"})
    (feature,) = site.case.features
    assert (feature.concept.code, feature.status) == ("38341003", "refuted")
    assert len(site.case.outcome.diagnoses) == 1


@pytest.mark.parametrize("status", ["preliminary", "registered", "cancelled", "entered-in-error", "unknown", None])
def test_an_observation_that_is_not_final_is_not_used(site: Imported, status: str | None) -> None:
    assert reason_for(site, observation(status=status)) == "expected final, amended or corrected"


@pytest.mark.parametrize("status", ["final", "amended", "corrected"])
def test_a_final_observation_is_a_measurement_with_its_unit(site: Imported, status: str) -> None:
    site.take(*STORY, observation(status=status))
    (feature,) = site.case.features
    assert (feature.kind, feature.value, feature.unit) == ("measurement", 38.5, "Cel")


def test_a_value_that_was_not_asked_for_is_not_assessed(site: Imported) -> None:
    site.take(*STORY, observation(dataAbsentReason=concept("not-performed", "d")))
    assert [(f.status, f.value) for f in site.case.features] == [("not-assessed", None)]


def test_a_value_that_is_absent_because_of_an_error_is_explained(site: Imported) -> None:
    assert "because of an error" in reason_for(site, observation(dataAbsentReason=concept("error", "d")))


def test_a_comparator_is_kept_and_the_number_is_not_taken_for_the_value(site: Imported) -> None:
    value = {"value": 5, "comparator": "<", "system": UCUM, "code": "mg/L"}
    site.take(*STORY, observation(valueQuantity=value))
    assert [(f.value, f.comparator) for f in site.case.features] == [(5.0, "<")]


def test_the_ucum_code_counts_and_not_the_unit_shown(site: Imported) -> None:
    value = {"value": 5, "unit": "milligrams a litre", "system": UCUM, "code": "mg/L"}
    site.take(*STORY, observation(valueQuantity=value))
    assert site.case.features[0].unit == "mg/L"


def test_a_unit_shown_that_is_another_ucum_unit_rejects_the_value(site: Imported) -> None:
    pytest.importorskip("ucumvert")
    value = {"value": 5, "unit": "g/L", "system": UCUM, "code": "mg/L"}
    assert "are different units" in reason_for(site, observation(valueQuantity=value), units=UnitConverter())


def test_a_unit_outside_ucum_is_kept_as_an_annotation_that_converts_to_nothing(site: Imported) -> None:
    site.take(*STORY, observation(valueQuantity={"value": 5, "unit": "beats a minute"}))
    assert site.case.features[0].unit == "{beats_a_minute}"


def test_of_several_codings_the_best_known_system_is_taken(site: Imported) -> None:
    codings = [
        {"system": "http://example.org/local", "code": "77"},
        {"system": "http://hl7.org/fhir/sid/icd-10", "code": "J18.9"},
        {"system": SNOMED, "code": "233604007"},
    ]
    site.take(*STORY[:2], condition(code="1") | {"code": {"coding": codings}})
    assert site.case.outcome.diagnoses[0].key == (SNOMED, "233604007")


def test_of_several_codings_the_one_that_a_user_chose_is_taken(site: Imported) -> None:
    codings = [{"system": SNOMED, "code": "1"}, {"system": "http://example.org/l", "code": "77", "userSelected": True}]
    site.take(*STORY[:2], condition() | {"code": {"coding": codings}})
    assert site.case.outcome.diagnoses[0].code == "77"


def test_text_without_a_code_is_no_concept(site: Imported) -> None:
    assert reason_for(site, condition("c2") | {"code": {"text": "cough"}}) == "has no coding with system and code"


def test_a_contained_medication_is_read_where_it_is(site: Imported) -> None:
    drug = {"resourceType": "Medication", "id": "d", "code": concept("387207008")}
    order = request(contained=[drug], medicationReference={"reference": "#d"})
    del order["medicationCodeableConcept"]
    site.take(*STORY, order)
    assert [t.drug.code for t in site.case.outcome.treatments] == ["387207008"]


def test_a_contained_resource_that_is_not_there_is_explained(site: Imported) -> None:
    assert "contained" in reason_for(site, request(medicationReference={"reference": "#gone"}))


def test_a_contained_patient_is_nobody(site: Imported) -> None:
    order = observation(subject={"reference": "#p"}, contained=[patient()])
    assert "contained patient" in reason_for(site, order)


@pytest.mark.parametrize("intent", ["proposal", "plan", "option", None])
def test_an_intent_that_is_not_an_order_is_no_treatment(site: Imported, intent: str | None) -> None:
    assert reason_for(site, request(intent=intent)) == "not an order"


@pytest.mark.parametrize("status", ["cancelled", "entered-in-error", "draft"])
def test_an_order_that_did_not_happen_is_no_treatment(site: Imported, status: str) -> None:
    assert "not a treatment" in reason_for(site, request(status=status))


def test_an_order_not_to_give_a_drug_is_no_treatment(site: Imported) -> None:
    assert "not to give" in reason_for(site, request(doNotPerform=True))


def test_a_dose_range_stays_a_range(site: Imported) -> None:
    ends = {name: {"value": value, "system": UCUM, "code": "mg"} for name, value in (("low", 250), ("high", 500))}
    site.take(*STORY, request(dosageInstruction=[{"doseAndRate": [{"doseRange": ends}]}]))
    (given,) = site.case.outcome.treatments
    assert (given.dose, given.dose_high, given.dose_unit) == (250.0, 500.0, "mg")


def test_as_needed_is_said(site: Imported) -> None:
    site.take(*STORY, request(dosageInstruction=[dose(5, asNeededBoolean=True)]))
    assert site.case.outcome.treatments[0].as_needed


@pytest.mark.parametrize(
    ("timing", "frequency"),
    [
        ({"repeat": {"frequency": 3, "period": 1, "periodUnit": "d"}}, 3.0),
        ({"repeat": {"period": 8, "periodUnit": "h"}}, 3.0),
        ({"repeat": {"frequency": 1, "period": 1, "periodUnit": "wk"}}, 1 / 7),
        ({"code": concept("BID", "g")}, 2.0),
        ({"repeat": {"frequency": 1, "frequencyMax": 4, "period": 1, "periodUnit": "d"}}, None),
        ({"repeat": {"frequency": 1, "period": 1, "periodUnit": "d", "timeOfDay": ["08:00:00", "20:00:00"]}}, 2.0),
        ({"event": ["2020-03-11"]}, None),
    ],
)
def test_a_timing_that_has_one_reading_is_a_frequency(site: Imported, timing: Json, frequency: float | None) -> None:
    site.take(*STORY, request(dosageInstruction=[dose(5, timing=timing)]))
    assert site.case.outcome.treatments[0].frequency == (frequency and pytest.approx(frequency))


@pytest.mark.parametrize(("code", "unit", "basis"), [("mg/kg", "mg", "per-kg"), ("mg/m2", "mg", "per-m2")])
def test_a_dose_by_weight_or_surface_has_that_basis(site: Imported, code: str, unit: str, basis: str) -> None:
    site.take(*STORY, request(dosageInstruction=[dose(5, code)]))
    (given,) = site.case.outcome.treatments
    assert (given.dose_unit, given.basis) == (unit, basis)


def test_a_negative_dose_is_explained(site: Imported) -> None:
    assert reason_for(site, request(dosageInstruction=[dose(-5)])) == "dose is negative"
    assert site.case.outcome.treatments == ()


@pytest.mark.parametrize("text", ["2020-02-30", "2020-13-01", "0001-01-01", "yesterday", "2020-03-11T25:00:00Z", 5])
def test_an_impossible_date_is_explained(site: Imported, text: object) -> None:
    reason = reason_for(site, observation(effectiveDateTime=text))
    assert reason.startswith("date:")
    assert str(text) not in reason


def test_components_are_results_of_their_own(site: Imported) -> None:
    parts = [
        {"code": concept(code, LOINC), "valueQuantity": {"value": value, "system": UCUM, "code": "mm[Hg]"}}
        for code, value in (("8480-6", 120), ("8462-4", 80))
    ]
    site.take(*STORY, observation(component=parts))
    assert {f.concept.code: f.value for f in site.case.features} == {"8480-6": 120.0, "8462-4": 80.0}


def test_a_component_that_cannot_be_used_does_not_cost_the_others(site: Imported) -> None:
    parts: list[Json] = [
        {"code": concept("8480-6", LOINC), "valueQuantity": {"value": 120, "system": UCUM, "code": "mm[Hg]"}},
        {"code": concept("8462-4", LOINC), "valueString": "?"},
    ]
    site.take(*STORY, observation(component=parts))
    assert feature_codes(site.case) == {"8480-6"}


@pytest.mark.parametrize(("value", "status"), [(True, "present"), (False, "refuted")])
def test_yes_and_no_are_present_and_refuted(site: Imported, value: bool, status: str) -> None:
    site.take(*STORY, observation(valueBoolean=value))
    assert [f.status for f in site.case.features] == [status]


def test_a_result_of_not_detected_is_refuted(site: Imported) -> None:
    site.take(*STORY, observation(valueCodeableConcept=concept("260415000")))
    assert [f.status for f in site.case.features] == ["refuted"]


def test_an_allergy_in_error_is_left_out_and_a_refuted_one_is_refuted(site: Imported) -> None:
    allergy = {"resourceType": "AllergyIntolerance", "patient": {"reference": "Patient/p"}, "code": concept("91936005")}
    wrong = {**allergy, "id": "a1", "verificationStatus": concept("entered-in-error", "v")}
    refuted = {**allergy, "id": "a2", "verificationStatus": concept("refuted", "v")}
    site.take(*STORY, wrong, refuted)
    assert [(f.kind, f.status) for f in site.case.features] == [("allergy", "refuted")]
    assert list(site.reasons().values()) == ["entered in error"]


def test_reasons_never_hold_a_value(site: Imported) -> None:
    secret = "Zanzibar-4711"
    wrong = [
        observation("o1", effectiveDateTime=secret),
        observation("o2", valueString=secret),
        observation("o3", subject={"reference": secret}),
        observation("o4", valueQuantity={"value": secret}),
        observation("o5", status=secret),
        request("m1", intent=secret),
        request("m2", status=secret),
        condition("c1", recordedDate=secret),
        patient("q", gender=secret),
        {"resourceType": secret, "id": "z"},
        {"resourceType": "Observation", "id": secret},
    ]
    site.take(*STORY, *wrong)
    said = "\n".join([*map(str, site.report.lines()), site.report.summary()])
    assert len(site.reasons()) >= 10
    assert secret not in said
