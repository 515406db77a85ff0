"""Imports as a whole: bundles, bulk exports, references, versions, deletions, damage, and real files."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import orjson
import pytest
from tests.support.fhir import (
    STORY,
    Imported,
    bundle,
    concept,
    condition,
    encounter,
    observation,
    patient,
    request,
)

from medfed.crypto import seeded_entropy
from medfed.errors import InvalidInput
from medfed.records.fhir.importer import FhirSettings, find_fhir_files, import_fhir
from medfed.records.library import Library

DATA = Path(__file__).parents[4] / ".." / "shared" / "data"


@pytest.fixture
def site(tmp_path: Path) -> Imported:
    return Imported(tmp_path)


def test_a_bundle_with_urn_uuid_references_is_one_story(site: Imported) -> None:
    names = {"Patient/p": "urn:uuid:0-1", "Encounter/e": "urn:uuid:0-2", "c": "urn:uuid:0-3"}
    text = orjson.dumps([*STORY])
    for name in ("Patient/p", "Encounter/e"):
        text = text.replace(name.encode(), names[name].encode())
    entries = [
        {"fullUrl": url, "resource": {k: v for k, v in resource.items() if k != "id"}}
        for url, resource in zip(names.values(), orjson.loads(text), strict=True)
    ]
    site.take_bytes(orjson.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}), ".json")
    assert site.report.used == 3
    assert site.case.patient == "urn:uuid:0-1"


def test_relative_references_belong_to_the_server_of_their_bundle_entry(site: Imported) -> None:
    entries = [{"fullUrl": f"https://a.example/r4/{r['resourceType']}/{r['id']}", "resource": r} for r in STORY]
    other = [{"fullUrl": "https://b.example/r4/Observation/o", "resource": observation()}]
    site.take_bytes(orjson.dumps({"resourceType": "Bundle", "type": "searchset", "entry": entries + other}), ".json")
    assert site.case.features == ()
    assert list(site.reasons().values()) == ["refers to a patient that is not here"]


def test_the_site_s_own_address_makes_no_difference(site: Imported) -> None:
    entries = [{"fullUrl": f"https://a.example/r4/{r['resourceType']}/{r['id']}", "resource": r} for r in STORY]
    own = FhirSettings(own_bases=("https://a.example/r4",))
    site.take_bytes(orjson.dumps({"resourceType": "Bundle", "type": "searchset", "entry": entries}), ".json", own)
    site.take(observation(), settings=own)
    assert len(site.case.features) == 1


def test_a_version_in_a_reference_makes_no_difference(site: Imported) -> None:
    site.take(*STORY, observation(subject={"reference": "Patient/p/_history/3"}))
    assert len(site.case.features) == 1


def test_importing_the_same_again_changes_nothing(site: Imported) -> None:
    first = site.take(*STORY, observation())
    before, revision = list(site.library.cases()), site.library.revision
    again = site.take(*STORY, observation())
    assert (first.cases, again.cases, again.removed) == (1, 0, 0)
    assert (again.read, again.used) == (4, 4)
    assert list(site.library.cases()) == before
    assert site.library.revision == revision


def test_a_later_import_of_new_resources_makes_the_case_anew(site: Imported) -> None:
    site.take(*STORY)
    identifier = site.case.id
    report = site.take(observation())
    assert report.cases == 1
    assert site.case.id == identifier
    assert len(site.case.features) == 1


def test_a_newer_version_replaces_the_older_whatever_their_order(site: Imported) -> None:
    old = condition(code="1") | {"meta": {"versionId": "2"}}
    new = condition(code="2") | {"meta": {"versionId": "10"}}
    for order in ((old, new), (new, old)):
        site.take(*STORY[:2], *order)
        assert [c.code for c in site.case.outcome.diagnoses] == ["2"]
        assert sorted(site.reasons().values())[0].startswith("a newer version")


def test_one_id_with_different_content_is_explained(site: Imported) -> None:
    site.take(*STORY, condition(code="38341003"))
    assert list(site.reasons().values()) == ["an id that was read before with different content"]
    assert [c.code for c in site.case.outcome.diagnoses] == ["233604007"]


def test_what_a_bulk_export_deletes_is_gone(site: Imported) -> None:
    site.take(*STORY, observation())
    deleted = {"resourceType": "Bundle", "type": "transaction"}
    deleted["entry"] = [{"request": {"method": "DELETE", "url": "Observation/o"}}]
    site.take(deleted)
    assert site.case.features == ()
    deleted["entry"] = [{"request": {"method": "DELETE", "url": "Condition/c"}}]
    assert site.take(deleted).removed == 1
    assert len(site.library) == 0


def test_deleting_what_is_not_here_is_explained(site: Imported) -> None:
    entry = {"request": {"method": "DELETE", "url": "Condition/gone"}}
    site.take({"resourceType": "Bundle", "type": "transaction", "entry": [entry]})
    assert list(site.reasons().values()) == ["what it deletes is not here"]


def test_linked_patients_are_one_person(site: Imported) -> None:
    old = patient("old", link=[{"other": {"reference": "Patient/p"}, "type": "replaced-by"}])
    site.take(*STORY, old, observation(subject={"reference": "Patient/old"}))
    assert len(site.case.features) == 1
    assert site.case.patient == "Patient/p"


def test_links_that_only_refer_do_not_merge(site: Imported) -> None:
    other = patient("q", link=[{"other": {"reference": "Patient/p"}, "type": "seealso"}])
    site.take(*STORY, other, observation(subject={"reference": "Patient/q"}))
    assert site.case.features == ()


def test_links_that_go_in_circles_are_explained(site: Imported) -> None:
    one = patient("a", link=[{"other": {"reference": "Patient/b"}, "type": "replaced-by"}])
    two = patient("b", link=[{"other": {"reference": "Patient/a"}, "type": "replaced-by"}])
    site.take(one, two, observation(subject={"reference": "Patient/a"}))
    assert set(site.reasons().values()) == {
        "its links to other patients go in circles",
        "refers to a patient whose links go in circles",
    }


def test_visits_that_are_part_of_each_other_are_explained(site: Imported) -> None:
    one = encounter("x", partOf={"reference": "Encounter/y"})
    two = encounter("y", partOf={"reference": "Encounter/x"})
    site.take(*STORY, one, two)
    assert list(site.reasons().values()) == ["visits that are part of each other go in circles"] * 2


def test_a_part_of_a_visit_belongs_to_the_visit(site: Imported) -> None:
    ward = encounter("w", partOf={"reference": "Encounter/e"})
    site.take(*STORY, ward, request(encounter={"reference": "Encounter/w"}))
    assert len(site.case.outcome.treatments) == 1


def test_a_reference_to_nowhere_is_explained(site: Imported) -> None:
    site.take(*STORY, observation(subject={"reference": "Patient/gone"}))
    assert list(site.reasons().values()) == ["refers to a patient that is not here"]


def test_a_medication_that_comes_later_completes_the_order(site: Imported) -> None:
    order = request(medicationReference={"reference": "Medication/d"})
    del order["medicationCodeableConcept"]
    site.take(*STORY, order)
    assert list(site.reasons().values()) == ["refers to a Medication that is not here"]
    site.take({"resourceType": "Medication", "id": "d", "code": concept("387207008")})
    assert [t.drug.code for t in site.case.outcome.treatments] == ["387207008"]
    assert site.report.used == 1


def test_what_became_known_after_the_diagnosis_is_no_feature(site: Imported) -> None:
    late = observation("late", effectiveDateTime="2020-03-11T13:00:00Z")
    issued_late = observation("issued", "2", issued="2020-03-11T12:30:00Z")
    same_day = observation("day", "3", effectiveDateTime="2020-03-11")
    known = observation("known", "4")
    long_ago = observation("old", "5", effectiveDateTime="2010-01-01")
    site.take(*STORY, late, issued_late, same_day, known, long_ago)
    assert [f.concept.code for f in site.case.features] == ["4"]


def test_the_latest_of_a_measurement_counts(site: Imported) -> None:
    values = [("o1", "2020-03-11T06:00:00Z", 1), ("o2", "2020-03-11T09:00:00Z", 2), ("o3", "2020-03-10T09:00:00Z", 3)]
    made = [observation(n, effectiveDateTime=t, valueQuantity={"value": v}) for n, t, v in values]
    site.take(*STORY, *made)
    assert [f.value for f in site.case.features] == [2.0]


def test_a_reason_for_the_visit_that_is_the_diagnosis_is_no_feature(site: Imported) -> None:
    reasons = [concept("233604007"), concept("49727002")]
    site.take(STORY[0], encounter(reasonCode=reasons), STORY[2])
    assert [f.concept.code for f in site.case.features] == ["49727002"]


def test_earlier_conditions_are_history_and_those_of_the_visit_are_not(site: Imported) -> None:
    earlier = condition("c0", "38341003", recordedDate="2019-01-01")
    del earlier["encounter"]
    earlier["category"] = [concept("problem-list-item", "c")]
    site.take(*STORY, earlier)
    assert [(f.kind, f.concept.code) for f in site.case.features] == [("history", "38341003")]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"clinicalStatus": concept("resolved", "s"), "abatementDateTime": "2020-03-20"}, "resolved"),
        ({"clinicalStatus": concept("remission", "s")}, "improved"),
        ({"clinicalStatus": concept("relapse", "s")}, "worse"),
        ({"clinicalStatus": concept("active", "s")}, "unknown"),
    ],
)
def test_the_course_is_what_the_main_diagnosis_says(site: Imported, change: dict[str, object], status: str) -> None:
    site.take(*STORY[:2], condition(**change))
    assert site.case.outcome.course.status == status


def test_a_death_within_thirty_days_is_the_course(site: Imported) -> None:
    site.take(patient(deceasedDateTime="2020-03-20"), *STORY[1:])
    assert site.case.outcome.course.status == "died"


def test_broken_json_in_the_middle_of_a_bundle_costs_only_its_entry(site: Imported) -> None:
    parts = [orjson.dumps({"resource": r}) for r in (*STORY, observation())]
    parts.insert(2, b'{"resource": {"resourceType": "Observation", oops}}')
    site.take_bytes(b'{"resourceType":"Bundle","type":"collection","entry":[' + b",".join(parts) + b"]}", ".json")
    assert site.reasons() == {"? entry[2]": "not JSON in UTF-8"}
    assert len(site.case.features) == 1


def test_a_bundle_that_ends_in_the_middle_keeps_what_came_before(site: Imported) -> None:
    text = orjson.dumps(bundle(*STORY, observation(), observation("o2")))
    site.take_bytes(text[: text.rindex(b'"resource"')], ".json")
    assert site.report.used == 4
    assert list(site.reasons().values()) == ["document: ends in the middle; brackets or quotes do not balance"]


def test_a_bundle_with_implicit_rules_is_refused_whole(site: Imported) -> None:
    site.take_bytes(orjson.dumps(bundle(*STORY, implicitRules="http://example.org/r")), ".json")
    assert len(site.library) == 0
    assert len(site.reasons()) == 3


def test_a_bundle_in_a_bundle_is_read(site: Imported) -> None:
    site.take_bytes(orjson.dumps(bundle(STORY[0], bundle(*STORY[1:]))), ".json")
    assert site.report.used == 3


def test_a_single_resource_is_read(site: Imported) -> None:
    for resource in STORY:
        site.take_bytes(orjson.dumps(resource, option=orjson.OPT_INDENT_2), ".json")
    assert len(site.library) == 1


@pytest.mark.parametrize("data", [b"", b"[]", b"5", b'"x"', b"{", b"}{", b"\xff\xfe{\x00}\x00", b'{"entry": 5}', b"{}"])
def test_a_document_that_is_none_is_explained(site: Imported, data: bytes) -> None:
    site.take_bytes(data, ".json")
    assert site.report.used == 0
    assert site.report.explained == 1


def test_mixed_encodings_cost_only_their_line(site: Imported) -> None:
    lines = [orjson.dumps(resource) for resource in STORY]
    site.take_bytes(b"\n".join([lines[0], '{"resourceType":"Ärger"}'.encode("latin-1"), *lines[1:]]), ".ndjson")
    assert len(site.library) == 1
    assert site.reasons() == {"? line 2": "not JSON in UTF-8"}


def test_a_byte_order_mark_is_no_matter(site: Imported) -> None:
    site.take_bytes(b"\xef\xbb\xbf" + orjson.dumps(bundle(*STORY)), ".json")
    assert len(site.library) == 1


def test_gzip_and_zip_are_read_like_what_they_hold(site: Imported) -> None:
    lines = b"\n".join(orjson.dumps(resource) for resource in STORY)
    site.take_bytes(gzip.compress(lines[:200]) + gzip.compress(lines[200:]), ".ndjson.gz")
    assert len(site.library) == 1
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", orjson.dumps(observation()))
        archive.writestr("readme.txt", "hello")
    site.take_bytes(held.getvalue(), ".zip")
    assert len(site.case.features) == 1
    assert list(site.reasons().values()) == ["zip member: expected .json, .ndjson or .jsonl"]


@pytest.mark.parametrize("kind", [".ndjson.gz", ".zip"])
def test_a_zip_bomb_is_refused(site: Imported, kind: str) -> None:
    bomb = b" " * (64 << 20)
    if kind == ".zip":
        held = io.BytesIO()
        with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.ndjson", bomb)
        packed = held.getvalue()
    else:
        packed = gzip.compress(bomb)
    site.take_bytes(packed, kind)
    assert "refused" in next(iter(site.reasons().values()))


def test_a_line_longer_than_its_bound_is_skipped_and_the_next_one_read(site: Imported) -> None:
    lines = [orjson.dumps(resource) for resource in STORY]
    site.take_bytes(b"\n".join([lines[0], b"x" * (17 << 20), *lines[1:]]), ".ndjson")
    assert len(site.library) == 1
    assert site.reasons() == {"? line 2": "the line is longer than its bound"}


@pytest.mark.parametrize("cut", [1, 10, -5])
def test_a_damaged_gzip_is_explained(site: Imported, cut: int) -> None:
    packed = gzip.compress(b"\n".join(orjson.dumps(resource) for resource in STORY))
    site.take_bytes(packed[:cut], ".ndjson.gz")
    assert {"file: ends in the middle", "file: not gzip, or damaged"} & set(site.reasons().values())


def test_moments_after_now_are_impossible(site: Imported) -> None:
    late = condition("c2", recordedDate="2031-01-01")
    site.take(*STORY, late, settings=FhirSettings(now=1_600_000_000))
    assert list(site.reasons().values()) == ["date: lies in the future"]


def test_a_withdrawn_patient_does_not_come_back(site: Imported) -> None:
    site.take(*STORY, observation())
    assert site.library.withdraw("Patient/p") == 1
    site.take(*STORY, observation())
    assert len(site.library) == 0
    assert set(site.reasons().values()) == {"consent is withdrawn"}
    assert site.library.connection.execute("SELECT count(*) FROM resource").fetchone() == (0,)


def test_a_failed_import_leaves_the_library_as_it_was(site: Imported, monkeypatch: pytest.MonkeyPatch) -> None:
    site.take(*STORY)
    before = list(site.library.cases())

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("medfed.records.fhir.importer._Import.finish", fail)
    with pytest.raises(KeyboardInterrupt):
        site.take(observation())
    monkeypatch.undo()
    assert list(site.library.cases()) == before
    site.take(observation())
    assert len(site.case.features) == 1


@pytest.mark.parametrize("folder", ["fhir_hl7_r4_examples", "fhir_synthea_r4"])
def test_every_resource_of_real_files_is_used_or_explained(folder: str) -> None:
    if not (DATA / folder).exists():
        pytest.skip(f"{folder} absent")
    files = find_fhir_files(DATA / folder)
    if folder == "fhir_synthea_r4":
        files = files[::3]
    library = Library(None, seeded_entropy(b"real"))
    report = import_fhir(library, files)
    inside = sum(_count(orjson.loads(path.read_bytes())) for path in files)
    assert report.is_balanced
    assert report.read == inside
    assert len(list(report.lines())) == report.explained
    assert report.cases == len(library) > 0
    assert {line.kind for line in report.lines() if "file" in line.path} == set()


def _count(value: dict[str, object]) -> int:
    """Resources of a document as anyone would count them: entries of bundles, bundles without entries, else one."""
    if value.get("resourceType") != "Bundle" or not value.get("entry"):
        return 1
    return sum(_count(e.get("resource") or {}) for e in value["entry"])  # type: ignore[attr-defined]


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    library = Library(None, seeded_entropy(b"x"))
    report = import_fhir(library, [tmp_path / "gone.json"])
    assert [line.reason for line in report.lines()] == ["file: does not exist"]
    with pytest.raises(InvalidInput):
        library.get("nothing")
