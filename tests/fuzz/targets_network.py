"""Targets of what others send or write: questions to a student, signed requests, alignments, nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson
from tests.fuzz.target import Target, quietly
from tests.fuzz.targets_models import PLAN, model
from tests.fuzz.targets_records import CASE
from tests.support.ledger import key_of

from medfed.alignment.patients import PatientQuestion, patients_of
from medfed.alignment.question_file import describe_question, load_question
from medfed.alignment.signature import SignatureQuestion, signatures_of
from medfed.errors import Refused
from medfed.federation.public_cases import verify_deidentified
from medfed.federation.tables import table_of_bytes
from medfed.hospital.blob_exchange.message_signatures import sign_request, verify_request
from medfed.hospital.site_library import read_identifiers
from medfed.hospital.student_door import answer_line, door_to
from medfed.node.node_file import load_node_file

CHAIN = bytes(range(32))
PEOPLE = (
    b'patient,identifier,family,birth_date\np1,12-34,M\xc3\xbcller,1980-02-29\np2,,Smith,\np3,99,"O\'Neil",1970-01-01\n'
)
ASKED = {"user": "u", "rows": [{"age": 50, "dose": 0.5, "ward": "north"}, {"age": "61", "dose": None, "ward": "x"}]}


def student(data: bytes, folder: Path) -> None:
    """A line that somebody asks a student: the answer is a line of JSON, whatever was asked."""
    path = folder / "model.safetensors"
    path.write_bytes(_model())
    door = door_to(path, lambda: 0, 1_000_000, 2)
    line = answer_line(door, data.decode("utf-8", "replace"))
    assert "\n" not in line
    answer = orjson.loads(line)
    assert answer.keys() in ({"probabilities"}, {"error", "code"})
    if "error" in answer:
        assert len(answer["error"]) < 20_000
        raise Refused(answer["code"] or "none", answer["error"])


def signed_request(data: bytes, folder: Path) -> None:
    """A request's lines: method, path, and a header each. Only what alpha signed passes as alpha's."""
    method, path, *rest = [*data.decode("latin-1").split("\n"), ""]
    headers = dict(line.partition(": ")[::2] for line in rest)
    who = verify_request(method, path, headers, CHAIN, "beta", lambda name: _keys().get(name), 1_000)
    assert (who, method, path) == ("alpha", "GET", "/blobs/ab")


def question_file(data: bytes, folder: Path) -> None:
    path = folder / "question.toml"
    path.write_bytes(data)
    for kind in ("signatures", "patients"):
        quietly(lambda kind=kind: describe_question(kind, load_question(kind, path)))
    load_question("signatures", path)


def signature_question(data: bytes, folder: Path) -> None:
    found = SignatureQuestion.decode(data)
    assert found.encode() == data
    signatures_of([CASE], found)
    describe_question("signatures", data)


def patient_question(data: bytes, folder: Path) -> None:
    found = PatientQuestion.decode(data)
    assert found.encode() == data
    patients_of({"p": {"identifier": "1", "family": "x", "given": "y", "birth_date": "1980-02-29", "sex": "f"}}, found)


def identifiers(data: bytes, folder: Path) -> None:
    path = folder / "people.csv"
    path.write_bytes(data)
    asked = PatientQuestion(("identifier", "family", "birth_date"))
    patients_of(read_identifiers(path, asked), asked)


def public_cases(data: bytes, folder: Path) -> None:
    verify_deidentified(PLAN, table_of_bytes(data, "public cases"))


def node_file(data: bytes, folder: Path) -> None:
    (folder / "node.toml").write_bytes(data)
    load_node_file(folder)


def _model() -> bytes:
    from medfed.federation.model_file import encode_model

    return encode_model(model())


def _keys() -> Mapping[str, bytes]:
    return {name: key_of(name).public for name in ("alpha", "beta", "gamma")}


def _requests() -> Sequence[bytes]:
    headers = sign_request("GET", "/blobs/ab", CHAIN, "beta", "alpha", key_of("alpha"), 990)
    lines = ["GET", "/blobs/ab", *(f"{name}: {value}" for name, value in headers.items())]
    return ["\n".join(lines).encode("latin-1")]


TARGETS = (
    Target("student-question", student, lambda: [orjson.dumps(ASKED)], "json", cost=3),
    Target("signed-request", signed_request, _requests, "text"),
    Target(
        "question-file",
        question_file,
        lambda: [b'kinds = ["finding"]\nage_bands = [0.0, 18.0, 65.0]\nmain_diagnosis = true\n'],
        "text",
    ),
    Target("signature-question", signature_question, lambda: [SignatureQuestion().encode()], "msgpack"),
    Target(
        "patient-question",
        patient_question,
        lambda: [PatientQuestion(("identifier", "sex"), "urn:x").encode()],
        "msgpack",
    ),
    Target("identifiers", identifiers, lambda: [PEOPLE], "text"),
    Target("public-cases", public_cases, lambda: [b"age,dose,ward\n54,1.5,north\n61,-2,south\n"], "text"),
    Target(
        "node-file",
        node_file,
        lambda: [b'listen = "127.0.0.1:26656"\npeers = ["' + b"ab" * 20 + b'@h.example:1"]\n'],
        "text",
    ),
)
