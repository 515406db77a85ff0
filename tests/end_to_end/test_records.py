"""Records by the command line: import, report, list, export, withdrawal; bad input is a line, never a crash."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.support.fhir import condition, encounter, observation, patient, request

from medfed.cli.main import main
from medfed.records.taxonomy import level_of
from medfed.records.vocabulary import Vocabulary

Run = Callable[..., str]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDFED_PASSPHRASE", "north-north-north")
    with pytest.raises(SystemExit):
        main(["keys", "create", str(tmp_path / "north"), "--name", "north"])
    return tmp_path / "north"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object, code: int = 0) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert int(left.value.code or 0) == code, err
        return out if code == 0 else err

    return call


def lines(path: Path, *resources: dict[str, Any]) -> Path:
    path.write_bytes(b"\n".join(orjson.dumps(resource) for resource in resources))
    return path


STORY = (patient(), encounter(), condition(), observation(), request())


def test_importing_twice_changes_nothing(site: Path, run: Run, tmp_path: Path) -> None:
    file = lines(tmp_path / "a.ndjson", *STORY)
    first = json.loads(run("records", "import", site, file, "--json"))
    again = json.loads(run("records", "import", site, file, "--json"))
    assert (first["cases"], again["cases"]) == (1, 0)
    assert len(json.loads(run("records", "list", site, "--json"))["cases"]) == 1


def test_an_exported_case_comes_back_the_same(site: Path, run: Run, tmp_path: Path) -> None:
    run("records", "import", site, lines(tmp_path / "a.ndjson", *STORY))
    out = tmp_path / "out.ndjson"
    run("records", "export", site, out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    (before,) = json.loads(run("records", "list", site, "--json"))["cases"]
    run("keys", "create", tmp_path / "south", "--name", "south")
    run("records", "import", tmp_path / "south", out)
    (after,) = json.loads(run("records", "list", tmp_path / "south", "--json"))["cases"]
    assert {k: v for k, v in before.items() if k != "case"} == {k: v for k, v in after.items() if k != "case"}
    assert "exists" in run("records", "export", site, out, code=2)


def test_a_withdrawn_consent_removes_the_patient_for_good(site: Path, run: Run, tmp_path: Path) -> None:
    file = lines(tmp_path / "a.ndjson", *STORY)
    run("records", "import", site, file)
    gone = json.loads(run("records", "withdraw-consent", site, "--patient", "Patient/p", "--json"))
    assert gone == {"removed_cases": 1}
    run("records", "import", site, file)
    assert json.loads(run("records", "list", site, "--json"))["cases"] == []


def test_a_drafted_mapping_imports_its_table(site: Path, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    rows = "".join(f"{n},{n % 2},{1 - n % 2},{'flu' if n % 2 else 'cold'}\n" for n in range(20))
    (folder / "visits.csv").write_text("case_id,fever,cough,diagnosis\n" + rows)
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(run("records", "map", folder / "visits.csv"))
    done = json.loads(run("records", "import", site, folder, "--mapping", mapping, "--json"))
    assert (done["cases"], done["explained"]) == (20, 0)
    out = tmp_path / "words"
    assert "2 attributes" in run("records", "vocabulary", site, out) or out.stat().st_size > 0


BAD: dict[str, tuple[Any, ...]] = {
    "wrong types": ({"resourceType": "Patient", "id": 7, "birthDate": ["x"]}, {**observation("w"), "code": "text"}),
    "a list": ([1, 2],),
    "circular parts of visits": (
        encounter("x", partOf={"reference": "Encounter/y"}),
        encounter("y", partOf={"reference": "Encounter/x"}),
        condition("d", encounter={"reference": "Encounter/x"}),
    ),
    "circular links of patients": (
        patient("r", link=[{"type": "replaced-by", "other": {"reference": "Patient/s"}}]),
        patient("s", link=[{"type": "replaced-by", "other": {"reference": "Patient/r"}}]),
    ),
    "an impossible date": (condition("d", recordedDate="2020-02-31"),),
    "an unconvertible unit": (
        observation("u", valueQuantity={"value": 1, "unit": "kg", "system": "http://unitsofmeasure.org", "code": "m"}),
    ),
    "a negative dose": (
        request("n", dosageInstruction=[{"doseAndRate": [{"doseQuantity": {"value": -5, "unit": "mg"}}]}]),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_costs_itself_and_not_the_rest(name: str, site: Path, run: Run, tmp_path: Path) -> None:
    done = json.loads(run("records", "import", site, lines(tmp_path / "a.ndjson", *STORY, *BAD[name]), "--json"))
    assert done["read"] == done["used"] + done["explained"]
    assert done["explained"] or done["notes"] or "circular" in name, done
    assert done["cases"] >= 1
    assert "source" in run("records", "show-report", site) or not done["lines"]


def test_one_id_with_different_content_is_one_record_and_is_said(site: Path, run: Run, tmp_path: Path) -> None:
    other = condition(code="38341003")
    done = json.loads(run("records", "import", site, lines(tmp_path / "a.ndjson", *STORY, other), "--json"))
    assert done["cases"] == 1
    assert done["read"] == done["used"] + done["explained"]
    assert done["explained"] + len(done["notes"]) >= 1, done


def test_a_site_that_is_none_and_a_file_that_is_none_are_the_caller_s_to_fix(
    run: Run, site: Path, tmp_path: Path
) -> None:
    assert "no site here" in run("records", "list", tmp_path, code=2)
    assert "no such file" in run("records", "import", site, tmp_path / "absent.json", code=2)
    assert "there is none" in run("records", "show-report", site, code=2)


def test_from_a_question_to_a_new_case_and_its_trace(site: Path, run: Run, tmp_path: Path) -> None:
    run("records", "import", site, lines(tmp_path / "a.ndjson", *STORY))
    question = tmp_path / "question.json"
    question.write_text(
        '{"patient": "new", "age": 39, "features": [{"concept": "8310-5", "value": 38.4, "unit": "Cel"}]}'
    )
    page = tmp_path / "answer.html"
    answer = json.loads(run("diagnose", site, question, "--page", page, "--json"))
    assert [one["diagnosis"]["code"] for one in answer["diagnoses"]] == ["233604007"]
    assert "Assisted diagnosis" in page.read_text()
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    name = answer["answer"]
    assert "nobody has decided" in run("follow-up", site, name, "--course", "resolved", code=3)
    choice = ("--decision", "confirm", "--reason", "agrees")
    assert "name the diagnosis" in run("decide", site, name, *choice, code=2)
    ordered = tmp_path / "ordered.json"
    drug = {"system": "http://www.whocc.no/atc", "code": "J01CA04"}
    ordered.write_text(json.dumps([{"drug": drug, "dose": 500, "dose_unit": "", "frequency": 3}]))
    named = (*choice, "--diagnosis", "233604007", "--treatments", ordered)
    assert "[0].dose_unit" in run("decide", site, name, *named, code=2)
    ordered.write_text(json.dumps([{"drug": drug, "dose": 500, "dose_unit": "mg", "frequency": 3}]))
    run("decide", site, name, *named)
    assert len(json.loads(run("records", "list", site, "--json"))["cases"]) == 1
    run("follow-up", site, name, "--course", "resolved")
    listed = json.loads(run("records", "list", site, "--json"))["cases"]
    assert sorted(one["assisted"] for one in listed) == [False, True]
    assert next(one["treatments"] for one in listed if one["assisted"]) == 1
    traced = json.loads(run("trace", site, name, "--json"))
    assert [e["event"]["type"] for e in traced["entries"]] == ["answered", "decided", "followed-up", "retained"]
    assert "chain intact" in run("trace", site, name)


def test_a_plan_over_case_libraries_is_drafted_from_a_vocabulary_and_checks(
    site: Path, run: Run, tmp_path: Path
) -> None:
    run("records", "import", site, lines(tmp_path / "a.ndjson", *STORY))
    words, plan = tmp_path / "study.voc", tmp_path / "outcomes.toml"
    refused = run("records", "vocabulary", site, words, "--level", "icd", 3, code=2)
    assert "expected icd-10" in refused
    assert not words.exists()
    run("records", "vocabulary", site, words, "--level", "icd-10-cm", 3, "--level", "atc", 4)
    assert Vocabulary.decode(words.read_bytes()).levels == (level_of("icd-10-cm", 3), level_of("atc", 4))
    hospitals = [word for name in ("north", "south", "west") for word in ("--hospital", name)]
    said = run("records", "plan", words, plan, *hospitals, "--weigh", "--hide", "0.4", "--patients", "0" * 32,
               "--least-scale", "0.2")  # fmt: skip
    assert "digest" in said
    text = plan.read_text()
    assert all(
        section in text for section in ("[hiding]", "[weighing]", "[aligned]", "share = 0.4", "least_scale = 0.2")
    )
    checked = run("study", "check", plan)
    assert "these counts are also in the model" in " ".join(checked.split())
    assert "exists" in run("records", "plan", words, plan, *hospitals, code=2)
    assert "hospitals" in run("records", "plan", words, tmp_path / "b.toml", *hospitals[:4], code=2)
    words.write_bytes(b"no vocabulary")
    assert "vocabulary" in run("records", "plan", words, tmp_path / "b.toml", *hospitals, code=2).lower()
    assert not (tmp_path / "b.toml").exists()
