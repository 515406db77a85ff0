"""Targets of patients' records and of assisted diagnosis. All seeds are made up; none is of a patient."""

from __future__ import annotations

import gzip
import io
import tempfile
import zipfile
from collections.abc import Sequence
from contextlib import closing
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import orjson
from tests.fuzz.cells import set_cell
from tests.fuzz.target import Target, quietly
from tests.support.fhir import condition, encounter, observation, patient, request

from medfed.crypto import seeded_entropy
from medfed.diagnosis.decisions import Answered, Decided, Decisions, FollowedUp
from medfed.diagnosis.question import parse_question, question_case
from medfed.encoding import decode, encode
from medfed.records.case import Case, Course, Feature, Outcome, Treatment, check_case
from medfed.records.coding import local_coding
from medfed.records.draft import draft_vocabulary
from medfed.records.draft_mapping import draft_mapping
from medfed.records.fhir.export import export_case
from medfed.records.fhir.importer import FhirSettings, import_fhir
from medfed.records.library import Library
from medfed.records.mapping import load_mapping, parse_mapping
from medfed.records.moments import age_at, parse_moment
from medfed.records.table_files import read_header, read_rows
from medfed.records.tables import import_tables
from medfed.records.vectors import Vectoriser
from medfed.records.vocabulary import Vocabulary

MAPPING = b"""version = 1
name = "ward"
[tables.stays]
file = "stays.csv"
missing = ["", "-1"]
[tables.labs]
file = "labs.csv"
key = "stay"
clock = "minutes"
[case]
table = "stays"
id = "id"
patient = "who"
age = "age"
ages = { "> 89" = 90.0 }
sex = "sex"
[index]
seconds = 3600
[[features]]
table = "stays"
type = "flags"
columns = ["cough", "fever"]
present = ["1"]
refuted = ["0"]
[[features]]
table = "labs"
type = "numbers"
time = "at"
columns = { crp = { unit = "mg/L", low = 0, high = 1000 } }
[[diagnoses]]
table = "stays"
column = "diagnosis"
separator = "|"
levels = 1
"""
STAYS = b"id,who,age,sex,cough,fever,diagnosis\n1,a,> 89,F,1,0,lung|pneumonia\n2,b,45,male,,-1,lung|asthma\n"
LABS = b"stay,at,crp\n1,30,120\n1,90,80\n2,10,-5\n2,20,high\n9,10,1\n"
STORY = (patient(), encounter(), condition(), observation(), request())
QUESTION = {
    "patient": "p", "age": 44.5, "sex": "female", "pregnant": "no",
    "features": [{"concept": "cough"}, {"concept": "fever", "status": "refuted", "severity": 2, "duration": 3},
                 {"concept": "8310-5", "system": "s", "kind": "measurement", "value": 38.5, "unit": "Cel"}],
}  # fmt: skip
COUGH, LUNG = local_coding("t", "cough"), local_coding("t", "lung")
CRP = Feature(local_coding("t", "crp"), "measurement", value=5.5, unit="mg/L", time=50)
CASE = Case("c1", "p", 1_600_000_000, 40.0, "female",
            (Feature(COUGH, duration=3.0, severity=2), Feature(local_coding("t", "fever"), "finding", "refuted"), CRP,
             Feature(local_coding("t", "asthma"), "history", onset=5),
             Feature(local_coding("t", "kind"), "measurement", value=local_coding("t", "high"))),
            Outcome((LUNG,), (local_coding("t", "sepsis"),),
                    (Treatment(local_coding("t", "drug"), dose=5.0, dose_unit="mg", frequency=2.0, time=70),),
                    Course("resolved", 90)), "s1")  # fmt: skip
EARLIEST = msgspec.structs.replace(CASE, index_time=-(2**36), age=130.0)
LATEST = msgspec.structs.replace(CASE, index_time=2**36, outcome=Outcome((LUNG,), course=Course("died", 2**36)))
VOCABULARY = draft_vocabulary(
    [CASE, msgspec.structs.replace(CASE, features=(msgspec.structs.replace(CRP, value=90.0),))]
)


def fhir_lines(data: bytes, folder: Path) -> None:
    _import_file(folder / "a.ndjson", data)


def fhir_document(data: bytes, folder: Path) -> None:
    _import_file(folder / "a.json", data)


def fhir_packed(data: bytes, folder: Path) -> None:
    _import_file(folder / "a.json.gz", data)


def fhir_zip(data: bytes, folder: Path) -> None:
    _import_file(folder / "a.zip", data)


def _import_file(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with closing(Library(None, seeded_entropy(b"fuzz"))) as library:
        report = import_fhir(library, [path], FhirSettings(now=1_700_000_000))
        assert report.is_balanced
        for case in library.cases():
            assert check_case(case) == case
        list(report.lines())


def mapping(data: bytes, folder: Path) -> None:
    """The mapping file, and the import of two small tables by it."""
    path = folder / "mapping.toml"
    path.write_bytes(data)
    (folder / "stays.csv").write_bytes(STAYS)
    (folder / "labs.csv").write_bytes(LABS)
    found = load_mapping(path)
    with closing(Library(None, seeded_entropy(b"fuzz"))) as library:
        assert import_tables(library, folder, found).is_balanced


def table(data: bytes, folder: Path) -> None:
    """As a table to be read, to be imported, and to draft a mapping for."""
    path = folder / "stays.csv"
    path.write_bytes(data)
    (folder / "labs.csv").write_bytes(LABS)
    names = read_header(path)
    for row in read_rows(path):
        assert row.problem or list(row.cells) == names
    parse_mapping(draft_mapping(path))
    with closing(Library(None, seeded_entropy(b"fuzz"))) as library:
        report = import_tables(library, folder, parse_mapping(MAPPING.decode()))
        assert report.is_balanced
        for case in library.cases():
            assert check_case(case) == case


def moment(data: bytes, folder: Path) -> None:
    found = parse_moment(data.decode("utf-8", "surrogateescape"), 60)
    assert found.earliest <= found.latest
    age_at(found, 1_700_000_000)


def vocabulary(data: bytes, folder: Path) -> None:
    found = Vocabulary.decode(data)
    assert found.encode() == data
    _in_vectors(found, CASE)


def _in_vectors(words: Vocabulary, one: Case) -> None:
    """A case in a vocabulary's columns is finite, and comes back as a row."""
    vectors = Vectoriser(words)
    made = vectors.vectorise(one)
    assert np.isfinite(made.v1).all()
    assert np.isfinite(made.v2).all()
    vectors.to_row(made.v1)
    vectors.describe(made.v1)
    vectors.describe_outcome(made.v2)


def case(data: bytes, folder: Path) -> None:
    found = check_case(decode(data, Case))
    assert encode(found) == data
    quietly(lambda: orjson.dumps(export_case(found)))
    _in_vectors(VOCABULARY, found)


def question(data: bytes, folder: Path) -> None:
    found = parse_question(data)
    assert len(found.digest) == 32
    check_case(question_case(found, VOCABULARY, "c9", 0))


@cache
def library_bytes() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "library.db"
        with closing(Library(path, seeded_entropy(b"library"))) as library:
            library.put(CASE, "hand")
            (Path(folder) / "a.ndjson").write_bytes(_story())
            import_fhir(library, [Path(folder) / "a.ndjson"])
            library.withdraw("another")
            library.connection.execute("PRAGMA journal_mode = DELETE")
        return path.read_bytes()


@cache
def decisions_bytes() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "decisions.db"
        with closing(Decisions(path)) as log:
            log._append("a1", 5, "doctor", Answered(bytes(32), None, bytes(32), 1, (("c1", 0.5),), (), ()), CASE)
            log.decide("a1", Decided("confirm", "agrees", (LUNG,)), user="doctor", time=6)
            log.follow_up("a1", FollowedUp("resolved", 7), user="doctor", time=8)
            log._db.execute("PRAGMA journal_mode = DELETE")
        return path.read_bytes()


def library_file(data: bytes, folder: Path) -> None:
    _write_alone(folder / "library.db", data)
    use_library(folder / "library.db", folder)


def library_cells(data: bytes, folder: Path) -> None:
    _write_alone(folder / "library.db", library_bytes())
    set_cell(folder / "library.db", data)
    use_library(folder / "library.db", folder)


def use_library(path: Path, folder: Path) -> None:
    (folder / "a.ndjson").write_bytes(_story())
    with closing(Library(path, seeded_entropy(b"again"))) as library:
        quietly(lambda: list(library.cases()))
        quietly(lambda: library.get("c1"))
        quietly(lambda: len(library))
        quietly(lambda: library.columns(VOCABULARY))
        quietly(lambda: import_fhir(library, [folder / "a.ndjson"]))
        quietly(lambda: library.withdraw("Patient/p"))
        list(library.cases())


def decisions_file(data: bytes, folder: Path) -> None:
    _write_alone(folder / "decisions.db", data)
    use_decisions(folder / "decisions.db")


def decisions_cells(data: bytes, folder: Path) -> None:
    _write_alone(folder / "decisions.db", decisions_bytes())
    set_cell(folder / "decisions.db", data)
    use_decisions(folder / "decisions.db")


def use_decisions(path: Path) -> None:
    with closing(Decisions(path)) as log:
        quietly(lambda: log.new_case("a1"))
        quietly(lambda: log.retain("a1", "c2", user="doctor", time=9))
        quietly(lambda: log.erase("p"))
        log.verify()


def _write_alone(path: Path, data: bytes) -> None:
    for suffix in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.write_bytes(data)
    path.chmod(0o600)


def _story() -> bytes:
    return b"\n".join(orjson.dumps(one) for one in STORY)


def _bundles() -> Sequence[bytes]:
    bundle = {"resourceType": "Bundle", "type": "collection",
              "entry": [{"fullUrl": f"urn:uuid:{at}", "resource": one} for at, one in enumerate(STORY)]}  # fmt: skip
    nested = {"resourceType": "Bundle", "type": "batch", "entry": [{"resource": bundle}]}
    return [orjson.dumps(bundle), orjson.dumps(nested), orjson.dumps(STORY[0])]


def _zipped() -> Sequence[bytes]:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("a.ndjson"), _story())
        archive.writestr(zipfile.ZipInfo("b.json"), _bundles()[0])
    return [held.getvalue()]


def _packed() -> Sequence[bytes]:
    return [gzip.compress(_bundles()[0], mtime=0), gzip.compress(b"{", mtime=0) + gzip.compress(b"}", mtime=0)]


def _cells() -> Sequence[bytes]:
    return [bytes([table, column, row, kind]) + b"\x07x" for table in range(4) for column in range(7)
            for row in range(2) for kind in (0, 2, 3, 4)]  # fmt: skip


TARGETS = (
    Target("fhir-lines", fhir_lines, lambda: [_story()], "json", cost=2),
    Target("fhir-document", fhir_document, _bundles, "json", cost=2),
    Target("fhir-packed", fhir_packed, _packed, cost=2),
    Target("fhir-zip", fhir_zip, _zipped, cost=2),
    Target("mapping", mapping, lambda: [MAPPING], "text", cost=2),
    Target("table", table, lambda: [STAYS], "text", cost=2),
    Target("moment", moment, lambda: [b"2020", b"2020-02", b"2020-02-29", b"2020-02-29T12:30:00.5+01:00"], "text"),
    Target("vocabulary", vocabulary, lambda: [VOCABULARY.encode()], "msgpack"),
    Target("case", case, lambda: [encode(one) for one in (CASE, EARLIEST, LATEST)], "msgpack"),
    Target("question", question, lambda: [orjson.dumps(QUESTION)], "json"),
    Target("library-file", library_file, lambda: [library_bytes()], cost=8, keep=False),
    Target("library-cells", library_cells, _cells, cost=8),
    Target("decisions-file", decisions_file, lambda: [decisions_bytes()], cost=6, keep=False),
    Target("decisions-cells", decisions_cells, _cells, cost=6),
)
