"""`medfed align` with agents as separate processes: patients and signatures of imported records."""

from __future__ import annotations

import csv
import json
import stat
import subprocess
from pathlib import Path

import orjson
import pytest
from tests.support.fhir import condition, encounter, observation, patient
from tests.support.processes import CHEAP, ENVIRONMENT, MEDFED, medfed

from medfed.federation.word_study import concepts_of
from medfed.hospital.site_directory import create_site
from medfed.records.vocabulary import Vocabulary

pytestmark = pytest.mark.slow
NAMES = ("north", "south", "west")
PEOPLE = {"north": ["111", "222", "333"], "south": ["222", "444"], "west": ["333", "222", "555"]}
FEVER, COUGH, RASH = "386661006", "49727002", "271807003"
FINDINGS = {"111": FEVER, "222": COUGH, "333": RASH, "444": FEVER, "555": COUGH}


@pytest.fixture
def consortium(tmp_path: Path) -> Path:
    for name in (*NAMES, "organiser"):
        create_site(tmp_path / name, name, "correct horse", cost=CHEAP)
    for name in NAMES:
        lines = []
        for number in PEOPLE[name]:
            own = {"subject": {"reference": f"Patient/{name}{number}"}}
            visit = {**own, "encounter": {"reference": f"Encounter/e{number}"}}
            finding = observation(f"o{number}", **visit, valueCodeableConcept={"coding": [
                {"system": "http://snomed.info/sct", "code": FINDINGS[number]}]})  # fmt: skip
            early = condition(
                f"f{number}", FINDINGS[number], **own, recordedDate="2020-03-01T07:00:00Z",
                onsetDateTime="2020-03-01T07:00:00Z",
            )  # fmt: skip
            early.pop("encounter")
            lines += [patient(f"{name}{number}"), encounter(f"e{number}", **own), finding, early]
            lines.append(condition(f"c{number}", **visit))
        records = tmp_path / f"{name}.ndjson"
        records.write_bytes(b"\n".join(orjson.dumps(line) for line in lines))
        medfed(tmp_path, "records", "import", name, str(records))
        rows = [f"Patient/{name}{number},{number}" for number in PEOPLE[name]]
        (tmp_path / name / "people.csv").write_text("\n".join(["patient,identifier", *rows]) + "\n")
    hospitals = [word for name in NAMES for word in ("--hospital", name)]
    medfed(
        tmp_path, "consortium", "init", "--ledger", "l.db", "--name", "three", *hospitals, "--organiser", "organiser"
    )
    return tmp_path


def allow(root: Path, *names: str, basis: str = 'legal_basis = "a law"\n') -> None:
    for name in names:
        text = f'[alignment]\nsignatures = "approve"\npatients = "approve"\nidentifiers = "people.csv"\n{basis}'
        (root / name / "site.toml").write_text(text)


def test_three_processes_agree_on_words(consortium: Path) -> None:
    words = tmp_words(consortium)
    for name in NAMES:
        (consortium / name / "site.toml").write_text(
            '[library]\nvocabulary = "words.voc"\n[[consent.rule]]\ndecision = "approve"\nproposers = ["organiser"]\n'
        )
        (consortium / name / "words.voc").write_bytes(words)
    hospitals = [word for name in NAMES for word in ("--hospital", name)]
    more = ("--least-patients", "1", "--gamma", "2.5", "--most-concepts", "1", "--ledger", "l.db")
    medfed(consortium, "align", "words-plan", "words.voc", "words.toml", *hospitals, *more)
    checked = medfed(consortium, "study", "check", "words.toml").stdout
    assert "3 hospitals say yes" in checked
    done = medfed(consortium, "study", "propose", "words.toml", "--ledger", "l.db", "--site", "organiser", "--json")
    study = json.loads(done.stdout)["study"]
    agreed = ("align", "words", study[:8], "words.voc", "agreed.voc", "--ledger", "l.db", "--json")
    medfed(consortium, *agreed, code=2)  # nothing is agreed on yet
    run_agents(consortium)
    facts = json.loads(medfed(consortium, *agreed).stdout)
    found = Vocabulary.decode((consortium / "agreed.voc").read_bytes())
    assert found.digest.hex() == facts["vocabulary"]
    assert facts["candidates"] == len(concepts_of(Vocabulary.decode(words)))
    assert set(concepts_of(found)) <= set(concepts_of(Vocabulary.decode(words)))
    medfed(consortium, *agreed, code=2)  # never written over
    medfed(consortium, "ledger", "verify", "l.db")


def tmp_words(root: Path) -> bytes:
    """The candidates: what the first hospital records, as it drafts it."""
    medfed(root, "records", "vocabulary", NAMES[0], "words.voc")
    return (root / "words.voc").read_bytes()


def open_alignment(root: Path, *more: str) -> str:
    hospitals = [word for name in NAMES for word in ("--hospital", name)]
    done = medfed(root, "align", "open", "--ledger", "l.db", "--site", "organiser", *hospitals, *more, "--json")
    return json.loads(done.stdout)["alignment"]


def run_agents(root: Path) -> None:
    command = [*MEDFED, "agent", "run", "--ledger", "l.db", "--until-complete", "--poll", "0.02", "--site"]
    running = {
        name: subprocess.Popen(
            [*command, name], cwd=root, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for name in NAMES
    }
    for name, agent in running.items():
        output, _ = agent.communicate(timeout=60)
        assert agent.returncode == 0, (name, output)


def result(root: Path, name: str, alignment: str, *more: str) -> dict[str, object]:
    done = medfed(root, "align", "result", alignment[:8], "--ledger", "l.db", "--site", name, *more, "--json")
    return json.loads(done.stdout)


def test_three_processes_find_the_people_that_were_planted_and_nobody_else(consortium: Path) -> None:
    allow(consortium, *NAMES)
    alignment = open_alignment(consortium, "--patients")
    run_agents(consortium)
    facts = result(consortium, "north", alignment, "--output", "shared.csv")
    assert (facts["entries"], facts["shared"]) == (3, 2)
    assert facts["sizes"] == [["north", "south", 1], ["north", "west", 2], ["south", "west", 1]]
    assert facts["by_holders"] == [[2, 1], [3, 1]]
    rows = list(csv.reader((consortium / "shared.csv").read_text().splitlines()))
    assert rows[0] == ["local id", "hospitals"]
    assert sorted(rows[1:]) == [["Patient/north222", "north south west"], ["Patient/north333", "north west"]]
    assert stat.S_IMODE((consortium / "shared.csv").stat().st_mode) == 0o600
    medfed(
        consortium,
        "align",
        "result",
        alignment,
        "--ledger",
        "l.db",
        "--site",
        "north",
        "--output",
        "shared.csv",
        code=2,
    )
    medfed(consortium, "ledger", "verify", "l.db")
    listed = json.loads(medfed(consortium, "align", "list", "--ledger", "l.db", "--json").stdout)["alignments"]
    assert [(row["alignment"], row["phase"], row["kind"]) for row in listed] == [(alignment, "completed", "patients")]


def test_signatures_of_imported_cases_are_compared_and_a_person_may_decide(consortium: Path) -> None:
    allow(consortium, "south", "west")
    alignment = open_alignment(consortium)
    shown = medfed(consortium, "align", "show", alignment, "--ledger", "l.db").stdout
    assert "cases, by which features of any concept they have: finding, history" in shown
    medfed(consortium, "align", "approve", alignment, "--ledger", "l.db", "--site", "north")
    run_agents(consortium)
    facts = {name: result(consortium, name, alignment) for name in NAMES}
    assert facts["north"]["sizes"] == facts["south"]["sizes"] == facts["west"]["sizes"]
    assert {name: facts[name]["shared"] for name in NAMES} == expected_shared()


def expected_shared() -> dict[str, int]:
    """From the plain findings: everybody is of one age band, so a finding is a signature."""
    signatures = {name: {FINDINGS[number] for number in PEOPLE[name]} for name in NAMES}
    return {
        name: sum(any(one in signatures[other] for other in NAMES if other != name) for one in signatures[name])
        for name in NAMES
    }


def test_one_site_without_a_legal_basis_stops_the_comparison_of_patients(consortium: Path) -> None:
    allow(consortium, "north", "south")
    allow(consortium, "west", basis="")
    alignment = open_alignment(consortium, "--patients")
    run_agents(consortium)
    shown = medfed(consortium, "align", "show", alignment, "--ledger", "l.db").stdout
    assert "ended (no-legal-basis)" in shown
    refused = medfed(consortium, "align", "result", alignment, "--ledger", "l.db", "--site", "north", code=2)
    assert "no result" in refused.stderr


def test_bad_input_is_one_clear_line(consortium: Path) -> None:
    missing = medfed(consortium, "align", "show", "ffff", "--ledger", "l.db", code=2)
    assert "no alignment on this ledger" in missing.stderr
    alignment = open_alignment(consortium)
    bad = medfed(
        consortium, "align", "decline", alignment, "--ledger", "l.db", "--site", "north", "--code", "No!", code=2
    )
    assert "expected 1 to 40" in bad.stderr
    medfed(consortium, "align", "decline", alignment, "--ledger", "l.db", "--site", "north")
    again = medfed(consortium, "align", "decline", alignment, "--ledger", "l.db", "--site", "north", code=3)
    assert "not expected" in again.stderr
    (consortium / "q.toml").write_text("age_band = [1]\n")
    hospitals = [word for name in NAMES for word in ("--hospital", name)]
    wrong = medfed(
        consortium, "align", "open", "--ledger", "l.db", "--site", "organiser", *hospitals, "--question", "q.toml",
        code=2,
    )  # fmt: skip
    assert "age_band: unknown" in wrong.stderr
