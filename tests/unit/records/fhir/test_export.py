"""A case comes back from its Bundle as the same case."""

from __future__ import annotations

from pathlib import Path

import msgspec
import orjson
import pytest

from medfed.crypto import seeded_entropy
from medfed.records.case import Case, Course, Feature, Outcome, Treatment
from medfed.records.coding import SNOMED, Coding
from medfed.records.fhir.export import export_case
from medfed.records.fhir.importer import find_fhir_files, import_fhir
from medfed.records.library import Library

DATA = Path(__file__).parents[4] / ".." / "shared" / "data"
INDEX = 1_600_000_000


def code(number: int) -> Coding:
    return Coding(SNOMED, str(number), f"thing {number}")


WHOLE = Case(
    "c1",
    "Patient/secret-name",
    INDEX,
    50.0,
    "male",
    (
        Feature(code(1), "measurement", value=38.5, unit="Cel", time=INDEX - 60),
        Feature(code(2), "measurement", value=5.0, unit="mg/L", comparator="<", time=INDEX - 60),
        Feature(code(3), "measurement", value=code(30), time=INDEX - 60),
        Feature(code(4), "finding", "refuted", time=INDEX - 60),
        Feature(code(5), "measurement", "not-assessed", time=INDEX - 60),
        Feature(code(6), "measurement", value=2.0, unit="{puffs}", time=INDEX - 60),
        Feature(code(7), "history", severity=3, time=INDEX - 10**7),
        Feature(code(8), "allergy", severity=2, time=INDEX - 10**7),
        Feature(code(9), "allergy", "refuted"),
        Feature(code(10), "medication", time=INDEX - 10**6),
    ),
    Outcome(
        (code(20), code(21)),
        (code(22),),
        (
            Treatment(code(40), route=code(41), dose=5.0, dose_unit="mg", basis="per-kg", frequency=3.0, time=INDEX),
            Treatment(
                code(42), dose=1.0, dose_high=2.0, dose_unit="{tablet}", as_needed=True, duration=7.0, time=INDEX
            ),
            Treatment(code(43), "procedure", time=INDEX + 60),
        ),
        Course("resolved", INDEX + 864_000),
    ),
    "s",
)


def through(case: Case, folder: Path) -> Case:
    path = folder / "case.json"
    path.write_bytes(orjson.dumps(export_case(case)))
    library = Library(None, seeded_entropy(b"export"))
    report = import_fhir(library, [path])
    assert report.used == report.read, report.summary()
    (made,) = library.cases()
    return made


def test_everything_a_case_says_comes_back(tmp_path: Path) -> None:
    made = through(WHOLE, tmp_path)

    def order(feature: Feature) -> str:
        return feature.concept.code

    assert sorted(made.features, key=order) == sorted(WHOLE.features, key=order)
    assert made.outcome.diagnoses == WHOLE.outcome.diagnoses
    assert made.outcome.complications == WHOLE.outcome.complications
    assert made.outcome.course == WHOLE.outcome.course
    assert (made.index_time, made.sex, made.age) == (INDEX, "male", pytest.approx(50.0, abs=0.01))
    back = {treatment.drug.code: treatment for treatment in made.outcome.treatments}
    for treatment in WHOLE.outcome.treatments:
        got = back[treatment.drug.code]
        if treatment.frequency is not None:
            assert got.frequency == pytest.approx(treatment.frequency)
            got = msgspec.structs.replace(got, frequency=treatment.frequency)
        assert got == treatment


@pytest.mark.parametrize("status", ["improved", "worse", "died", "resolved"])
def test_a_course_comes_back(tmp_path: Path, status: str) -> None:
    outcome = msgspec.structs.replace(WHOLE.outcome, course=Course(status, INDEX + 3600))  # type: ignore[arg-type]
    assert through(msgspec.structs.replace(WHOLE, outcome=outcome), tmp_path).outcome.course.status == status


def test_an_assisted_case_says_so_in_every_resource() -> None:
    assisted = export_case(msgspec.structs.replace(WHOLE, assisted=True))
    assert all(entry["resource"]["meta"]["tag"][0]["code"] == "assisted" for entry in assisted["entry"])
    assert all("meta" not in entry["resource"] for entry in export_case(WHOLE)["entry"])


def test_the_same_case_gives_the_same_bundle_and_no_local_name() -> None:
    assert export_case(WHOLE) == export_case(WHOLE)
    assert b"secret-name" not in orjson.dumps(export_case(WHOLE))


def test_cases_of_real_records_come_back(tmp_path: Path) -> None:
    if not (DATA / "fhir_synthea_r4").exists():
        pytest.skip("fhir_synthea_r4 absent")
    library = Library(None, seeded_entropy(b"real"))
    import_fhir(library, find_fhir_files(DATA / "fhir_synthea_r4")[:2])
    cases = list(library.cases())
    assert cases
    for case in cases:
        made = through(case, tmp_path)
        assert {(f.kind, f.key, f.status, f.value, f.unit) for f in made.features} == {
            (f.kind, f.key, f.status, f.value, f.unit) for f in case.features
        }
        assert {c.key for c in made.outcome.diagnoses} == {c.key for c in case.outcome.diagnoses}
        assert made.outcome.course.status == case.outcome.course.status
        assert len(made.outcome.treatments) == len(case.outcome.treatments)
