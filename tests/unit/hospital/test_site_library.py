from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from medfed.alignment.intersection import Sizes
from medfed.alignment.patients import PatientQuestion
from medfed.alignment.signature import SignatureQuestion
from medfed.crypto import seeded_entropy
from medfed.errors import InvalidInput
from medfed.federation.outcome_study import outcome_plan
from medfed.federation.plan import Aligned
from medfed.hospital.alignment_state import AlignmentResult, alignment_key
from medfed.hospital.site_library import LIBRARY_FILE, aligned_cases, library_entries, library_table
from medfed.hospital.vault import Vault
from medfed.records.case import Case, Feature, Outcome
from medfed.records.coding import Coding
from medfed.records.draft import draft_vocabulary
from medfed.records.library import Library

ID = bytes(16)
HEX = ID.hex()


def case(number: int, finding: str) -> Case:
    outcome = Outcome((Coding("urn:x", f"disease {finding}"),))
    return Case(
        f"c{number}", f"p{number}", 0, 50.0, "female", (Feature(Coding("urn:x", finding)),), outcome, f"s{number}"
    )


CASES = [case(n, "fever" if n < 4 else "cough") for n in range(8)]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    library = Library(tmp_path / LIBRARY_FILE, seeded_entropy(b"library"))
    for one in CASES:
        library.put(one, "test")
    library.close()
    return tmp_path


@pytest.fixture
def vault() -> Vault:
    return Vault(None, bytes(32), seeded_entropy(b"vault"))


def entries(site: Path, kind: str, question: bytes, identifiers: str = "") -> dict[bytes, tuple[str, ...]]:
    found = library_entries(site, identifiers, seeded_entropy(b"x"), kind, question)  # type: ignore[arg-type]
    return {entry: tuple(ids) for entry, ids in found.items()}


def result(*rows: tuple[tuple[str, ...], tuple[str, ...]], kind: str = "signatures") -> AlignmentResult:
    ids, holders = zip(*rows, strict=True)
    return AlignmentResult(kind, ID, bytes(32), ("a", "b"), 9, tuple(ids), tuple(holders), Sizes((), ()))  # type: ignore[arg-type]


def test_signatures_stand_for_the_cases_of_the_library(site: Path) -> None:
    found = entries(site, "signatures", SignatureQuestion().encode())
    assert sorted(found.values()) == [("c0", "c1", "c2", "c3"), ("c4", "c5", "c6", "c7")]


def test_people_are_read_from_their_own_file_and_only_those_of_the_library(site: Path) -> None:
    (site / "people.csv").write_text("patient,identifier,family\np0,12-3,A\np1,,B\nelsewhere,77,C\n")
    found = entries(site, "patients", PatientQuestion().encode(), "people.csv")
    assert list(found.values()) == [("p0",)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("patient,family\np0,A\n", "missing: identifier"),
        ("patient,identifier\np0,1\np0,2\n", "there twice"),
    ],
)
def test_a_file_of_identifiers_that_cannot_be_used_is_refused(site: Path, text: str, said: str) -> None:
    (site / "people.csv").write_text(text)
    with pytest.raises(InvalidInput, match=said) as error:
        entries(site, "patients", PatientQuestion().encode(), "people.csv")
    assert "p0" not in str(error.value)


def test_without_a_file_of_identifiers_or_a_library_nothing_is_compared(site: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="names no file of identifiers"):
        entries(site, "patients", PatientQuestion().encode())
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="no case library here"):
        entries(tmp_path / "empty", "signatures", SignatureQuestion().encode())
    assert not (tmp_path / "empty" / LIBRARY_FILE).exists()


def test_only_shared_cases_are_learnt_from_and_nobody_counts_twice(vault: Vault) -> None:
    vault.store(alignment_key(ID, "result"), result((("c0", "c1"), ("a", "b")), (("c2",), ("a", "b", "c"))))
    kept = aligned_cases(CASES, Aligned(signatures=HEX), vault, "b")
    assert [one.id for one in kept] == ["c0", "c1", "c2"]
    kept = aligned_cases(CASES, Aligned(signatures=HEX, least_hospitals=3), vault, "b")
    assert [one.id for one in kept] == ["c2"]


def test_a_person_is_left_out_where_another_hospital_keeps_it(vault: Vault) -> None:
    vault.store(alignment_key(ID, "result"), result((("p0",), ("a", "b")), (("p1",), ("b", "c")), kind="patients"))
    patients = [one.patient for one in aligned_cases(CASES, Aligned(patients=HEX), vault, "b")]
    assert patients == ["p1", *(f"p{n}" for n in range(2, 8))]


def test_a_plan_whose_alignment_this_site_does_not_know_has_no_table(site: Path, vault: Vault) -> None:
    words = draft_vocabulary(CASES)
    (site / "words.voc").write_bytes(words.encode())
    plan = outcome_plan(words, ["a", "b", "c"], title="t", aligned=Aligned(signatures=HEX))
    with pytest.raises(InvalidInput, match="no result of it"):
        library_table(site, plan, "words.voc", bytes(32), vault, "a", seeded_entropy(b"x"))
    vault.store(alignment_key(ID, "result"), result((("c0", "c1", "c4"), ("a", "b"))))
    table = library_table(site, plan, "words.voc", bytes(32), vault, "a", seeded_entropy(b"x"))
    assert len(table) == 3
    everything = replace(plan, aligned=outcome_plan(words, ["a", "b", "c"], title="t").aligned)
    assert len(library_table(site, everything, "words.voc", bytes(32), vault, "a", seeded_entropy(b"x"))) == 8


def test_another_vocabulary_than_the_plans_is_refused(site: Path, vault: Vault) -> None:
    (site / "words.voc").write_bytes(draft_vocabulary(CASES[:2]).encode())
    plan = outcome_plan(draft_vocabulary(CASES), ["a", "b", "c"], title="t")
    with pytest.raises(InvalidInput, match="not the vocabulary that the plan names"):
        library_table(site, plan, "words.voc", bytes(32), vault, "a", seeded_entropy(b"x"))
    with pytest.raises(InvalidInput, match="names no vocabulary"):
        library_table(site, plan, "", bytes(32), vault, "a", seeded_entropy(b"x"))
