"""Patient overlap on real records: who of the eICU demo set was at more than one hospital, and nobody else."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import pytest
from tests.support.alignment import AlignmentWorld

from medfed.alignment.blinding import blind_list
from medfed.alignment.inputs import normalise, padded_length, prepare_list
from medfed.alignment.intersection import holders_of_entries, sizes
from medfed.alignment.patients import PatientQuestion, patients_of
from medfed.crypto import new_scalar, seeded_entropy

EICU = Path(__file__).parents[3] / "shared" / "data" / "eicu_demo" / "patient.csv"
pytestmark = pytest.mark.skipif(not EICU.is_file(), reason="the eICU demo set is not here")


def people_by(group: int | None = None) -> dict[str, dict[bytes, tuple[str, ...]]]:
    """Entries of each hospital, or of `group` groups of whole hospitals; each stands for its uniquepid."""
    rows: defaultdict[str, dict[str, dict[str, str]]] = defaultdict(dict)
    with EICU.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            number = int(row["hospitalid"])
            name = f"h{number:03}" if group is None else f"group-{number % group:02}"
            rows[name][row["uniquepid"]] = {"identifier": row["uniquepid"]}
    question = PatientQuestion(system="urn:eicu")
    return {
        name: {entry: tuple(ids) for entry, ids in patients_of(held, question).items()} for name, held in rows.items()
    }


def test_agents_of_ten_groups_of_hospitals_find_who_was_in_several_groups() -> None:
    held = people_by(10)
    world = AlignmentWorld.build(held)
    world.open("patients", bound=2_000)
    assert world.run().phase == "completed"
    expected: defaultdict[str, set[str]] = defaultdict(set)
    for name, entries in held.items():
        for (person,) in entries.values():
            expected[person].add(name)
    several = {person: tuple(sorted(names)) for person, names in expected.items() if len(names) > 1}
    assert len(several) >= 10
    for name in held:
        result = world.result(name)
        found = {person: holders for (person,), holders in zip(result.ids, result.holders, strict=True)}
        assert found == {person: names for person, names in several.items() if name in names}
    kept = [person for name in held for (person,) in held[name].values()]
    left_out = [person for name in held for person in world.result(name).kept_elsewhere(name)]
    assert len(kept) - len(left_out) == len(set(kept))
    assert set(left_out) == set(several)


@pytest.mark.slow
def test_of_all_186_hospitals_exactly_the_19_people_who_were_at_several_are_found() -> None:
    held = people_by()
    assert len(held) == 186
    entropy = seeded_entropy(b"eicu")
    scalars = {name: new_scalar(entropy) for name in held}
    lists, positions = {}, {}
    for name, entries in held.items():
        normal = normalise(tuple(entries))
        length = padded_length(len(normal))
        prepared = prepare_list(normal, length, b"test", scalars[name], entropy)
        elements = prepared.elements
        for other, scalar in scalars.items():
            if other != name:
                elements = blind_list(scalar, elements, length)
        lists[name], positions[name] = elements, prepared.positions
    found = set()
    for name, entries in held.items():
        holders = holders_of_entries(lists, name, positions[name])
        found |= {
            entries[entry][0] for entry, names in zip(normalise(tuple(entries)), holders, strict=True) if len(names) > 1
        }
    with EICU.open(encoding="utf-8", newline="") as file:
        at: defaultdict[str, set[str]] = defaultdict(set)
        for row in csv.DictReader(file):
            at[row["uniquepid"]].add(row["hospitalid"])
    assert found == {person for person, hospitals in at.items() if len(hospitals) > 1}
    assert len(found) == 19
    assert sum(count for _, count in sizes(lists).by_holders) == 19
