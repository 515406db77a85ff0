"""Patient overlap planted among the Synthea patients, who have none of their own: it is found, and nobody else."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import orjson
import pytest
from tests.support.alignment import AlignmentWorld

from medfed.alignment.patients import PatientQuestion, patients_of

SYNTHEA = Path(__file__).parents[3] / "shared" / "data" / "fhir_synthea_r4"
pytestmark = pytest.mark.skipif(not SYNTHEA.is_dir(), reason="the Synthea bundles are not here")
QUESTION = PatientQuestion(fields=("family", "given", "birth_date"))
Fields = dict[str, str]


def people() -> dict[str, dict[str, Fields]]:
    """Name and birth date of every Patient, by hospital (a folder each) and id."""
    found: dict[str, dict[str, Fields]] = {}
    for folder in sorted(path for path in SYNTHEA.iterdir() if path.is_dir()):
        held = found.setdefault(folder.name.split("_")[0], {})
        for path in sorted(folder.rglob("*.json")):
            for entry in orjson.loads(path.read_bytes()).get("entry", []):
                patient = entry.get("resource", {})
                if patient.get("resourceType") == "Patient":
                    name = patient["name"][0]
                    fields = {"family": name["family"], "given": name["given"][0], "birth_date": patient["birthDate"]}
                    held[patient["id"]] = fields
    return found


def spelt_otherwise(fields: Fields) -> Fields:
    """The same person as another hospital types it: capitals, a space, a decomposed accent, a time behind the date."""
    family = unicodedata.normalize("NFD", fields["family"].upper())
    return {"family": f" {family}", "given": fields["given"].lower(), "birth_date": fields["birth_date"] + "T00:00:00Z"}


def found_by_agents(held: dict[str, dict[str, Fields]]) -> dict[str, dict[str, set[str]]]:
    """At each hospital: who of its people is elsewhere too, and where."""
    world = AlignmentWorld.build({name: patients_of(rows, QUESTION) for name, rows in held.items()})
    world.open("patients", question=QUESTION.encode())
    assert world.run().phase == "completed"
    results = {name: world.result(name) for name in held}
    return {
        name: {ids[0]: set(holders) for ids, holders in zip(result.ids, result.holders, strict=True)}
        for name, result in results.items()
    }


def test_people_planted_at_several_hospitals_are_found_and_nobody_else() -> None:
    held = people()
    assert len(held) == 6
    assert all(len(rows) >= 3 for rows in held.values())
    assert found_by_agents(held) == {name: {} for name in held}
    first, second, third, *_ = held
    couple, traveller = next(iter(held[first])), next(iter(held[second]))
    # Near misses: a namesake born on another day, and somebody of the same day with another given name.
    namesake, twin = list(held[first].values())[1], list(held[third].values())[1]
    held[third]["namesake"] = {**namesake, "birth_date": "1901-01-01"}
    held[second]["twin"] = {**twin, "given": twin["given"] + "a"}
    # One at two hospitals and one at three, under a local number of each hospital's own and spelt otherwise.
    expected: dict[str, dict[str, set[str]]] = {name: {} for name in held}
    for person, home, places in ((couple, first, {first, second}), (traveller, second, {first, second, third})):
        for place in places:
            local = person if place == home else f"local-{person}"
            held[place][local] = held[home][person] if place == home else spelt_otherwise(held[home][person])
            expected[place][local] = places
    assert found_by_agents(held) == expected
