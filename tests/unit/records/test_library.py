"""The case library: private, idempotent, and forgetful when it has to be."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from medfed.crypto import seeded_entropy
from medfed.errors import InvalidInput, Refused
from medfed.records.case import Case, Feature, Outcome
from medfed.records.coding import local_coding
from medfed.records.draft import draft_vocabulary
from medfed.records.library import Library


def case(library: Library, source: str, patient: str = "p1", **fields: object) -> Case:
    features = (Feature(local_coding("t", "cough")), Feature(local_coding("t", "temperature"), value=38.0, unit="Cel"))
    outcome = Outcome((local_coding("t", "flu"),))
    made = Case(library.id_of(source), patient, 0, 40.0, "female", features, outcome, source)
    return msgspec.structs.replace(made, **fields)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library.db", seeded_entropy(b"library"))


def test_the_file_is_readable_by_its_owner_only(library: Library, tmp_path: Path) -> None:
    library.put(case(library, "s"), "test")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "open.db"
    path.touch(0o644)
    path.chmod(0o644)
    with pytest.raises(Refused) as caught:
        Library(path, seeded_entropy(b""))
    assert caught.value.code == "library-mode"


def test_a_file_that_is_no_library_is_said(tmp_path: Path) -> None:
    path = tmp_path / "text.db"
    path.write_text("x" * 5000)
    path.chmod(0o600)
    with pytest.raises(InvalidInput, match="not a case library"):
        Library(path, seeded_entropy(b""))


def test_putting_the_same_case_again_changes_nothing(library: Library) -> None:
    assert library.put(case(library, "s"), "test") == "made"
    revision = library.revision
    assert library.put(case(library, "s"), "test") == "unchanged"
    assert (library.revision, len(library)) == (revision, 1)
    assert library.put(case(library, "s", age=41.0), "test") == "made"
    assert (len(library), library.revision > revision) == (1, True)


def test_identifiers_hold_over_reopening_and_differ_between_libraries(tmp_path: Path) -> None:
    first = Library(tmp_path / "a.db", seeded_entropy(b"a"))
    identifier = first.id_of("s")
    first.close()
    assert Library(tmp_path / "a.db", seeded_entropy(b"other")).id_of("s") == identifier
    assert Library(tmp_path / "b.db", seeded_entropy(b"b")).id_of("s") != identifier


def test_a_case_out_of_bounds_is_refused_without_its_value(library: Library) -> None:
    with pytest.raises(InvalidInput) as caught:
        library.put(case(library, "s", age=987.0), "test")
    assert "987" not in str(caught.value)
    assert len(library) == 0


def test_a_withdrawal_removes_the_patient_at_once_and_for_good(library: Library, tmp_path: Path) -> None:
    for number in range(3):
        library.put(case(library, f"s{number}"), "test")
    library.put(case(library, "other", "p2"), "test")
    assert library.withdraw("p1") == 3
    assert [held.patient for held in library.cases()] == ["p2"]
    with pytest.raises(Refused) as caught:
        library.put(case(library, "s0"), "test")
    assert caught.value.code == "consent-withdrawn"
    assert library.withdraw("p1") == 0
    library.close()
    again = Library(tmp_path / "library.db", seeded_entropy(b""))
    assert again.is_withdrawn("p1")
    assert not again.is_withdrawn("p2")


def test_nothing_of_a_withdrawn_patient_stays_in_the_file(library: Library, tmp_path: Path) -> None:
    secret = "Zanzibar4711"
    library.put(case(library, f"stay/{secret}", secret), "test")
    library.put(case(library, "other", "p2"), "test")
    library.withdraw(secret)
    library.close()
    assert all(secret.encode() not in path.read_bytes() for path in tmp_path.iterdir())


def test_columns_are_made_anew_after_a_withdrawal(library: Library) -> None:
    library.put(case(library, "a", "p1"), "test")
    library.put(case(library, "b", "p2"), "test")
    vocabulary = draft_vocabulary(library.cases(), person=False)
    held = library.columns(vocabulary)
    assert held is library.columns(vocabulary)
    library.withdraw("p1")
    left = library.columns(vocabulary)
    assert left.ids == (library.id_of("b"),)
    assert left.columns.count == 1


def test_assisted_cases_can_be_left_out(library: Library) -> None:
    library.put(case(library, "a"), "test")
    library.put(case(library, "b", assisted=True), "test")
    assert [held.source for held in library.cases(assisted=False)] == ["a"]
    assert len(list(library.cases())) == 2


def test_an_import_removes_its_own_cases_only_and_never_assisted_ones(library: Library) -> None:
    library.put(case(library, "a"), "fhir")
    library.put(case(library, "b"), "fhir")
    library.put(case(library, "c"), "tables")
    library.put(case(library, "d", assisted=True), "fhir")
    assert library.keep_only("p1", "fhir", [library.id_of("a")]) == 1
    assert sorted(held.source for held in library.cases()) == ["a", "c", "d"]


def test_a_failed_transaction_leaves_nothing(library: Library) -> None:
    with pytest.raises(KeyError), library.transaction():
        library.put(case(library, "a"), "test")
        raise KeyError
    assert len(library) == 0
