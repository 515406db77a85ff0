"""What a site's case library gives to others' questions: entries for alignments, and the table of a plan over cases.

Both stay here: entries leave only hashed, blinded and padded, the table only as masked updates. Identifiers of patients
are read from a file of their own, never from the library. Nothing here may log or raise what a case says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from medfed.alignment.patients import PatientQuestion, patients_of
from medfed.alignment.signature import SignatureQuestion, signatures_of
from medfed.crypto import Entropy
from medfed.errors import InvalidInput
from medfed.federation.outcome_study import outcome_table, vocabulary_of
from medfed.federation.plan import Aligned, Plan, Weighing, Words
from medfed.federation.tables import Table, read_csv
from medfed.federation.word_study import word_table
from medfed.hospital.alignment_state import AlignmentResult, load_result
from medfed.hospital.vault import Vault
from medfed.identifiers import Name
from medfed.input_file import read_input
from medfed.ledger.contracts.alignment import AlignmentKind
from medfed.records.case import Case
from medfed.records.library import Library
from medfed.records.units import UnitConverter
from medfed.records.vocabulary import MAX_VOCABULARY_BYTES, Vocabulary

__all__ = ["LIBRARY_FILE", "aligned_cases", "candidate_table", "library_entries", "library_table", "read_identifiers"]

LIBRARY_FILE: Final = "library.db"
_PATIENT_COLUMN: Final = "patient"


def library_entries(
    directory: Path, identifiers: str, entropy: Entropy, kind: AlignmentKind, question: bytes
) -> Mapping[bytes, Sequence[str]]:
    """This site's entries for a question, each with the ids of its cases, or of its patients.

    Raises:
        InvalidInput: no library, no file of identifiers where patients are asked for, or a malformed question.
    """
    if kind == "signatures":
        asked = SignatureQuestion.decode(question)
        with closing(_open(directory, entropy)) as library:
            return signatures_of(library.cases(), asked)
    people = PatientQuestion.decode(question)
    if not identifiers:
        raise InvalidInput(f"{directory / 'site.toml'}: [alignment] names no file of identifiers")
    with closing(_open(directory, entropy)) as library:
        here = {case.patient for case in library.cases()}
    rows = read_identifiers(directory / identifiers, people)
    return patients_of({patient: fields for patient, fields in rows.items() if patient in here}, people)


def read_identifiers(path: Path, question: PatientQuestion) -> dict[str, dict[str, str]]:
    """The identifying fields of every patient in a CSV file with the column `patient` and one for each field asked for.

    Raises:
        InvalidInput: a column is missing, a patient is there twice, or the file is no table.
    """
    table = read_csv(path)
    wanted = (_PATIENT_COLUMN, *question.fields)
    missing = [name for name in wanted if name not in table.columns]
    if missing:
        raise InvalidInput(f"{path}: expected the columns {', '.join(wanted)}; missing: {', '.join(missing)}")
    columns = {name: table.texts(name) for name in wanted}
    rows: dict[str, dict[str, str]] = {}
    for at, patient in enumerate(columns[_PATIENT_COLUMN]):
        if patient is None:
            continue
        if patient in rows:
            raise InvalidInput(f"{table.place(at, _PATIENT_COLUMN)}: this patient is there twice")
        rows[patient] = {field: columns[field][at] or "" for field in question.fields}
    return rows


def library_table(
    directory: Path, plan: Plan, words: str, split_key: bytes, vault: Vault, me: Name, entropy: Entropy
) -> Table:
    """The table of a plan over cases, from the library and the vocabulary file `words`.

    Raises:
        InvalidInput: no library, another vocabulary than the plan's, or an alignment that has no result here.
    """
    if not words:
        raise InvalidInput(f"{directory / 'site.toml'}: [library] names no vocabulary")
    vocabulary = Vocabulary.decode(read_input(directory / words, MAX_VOCABULARY_BYTES, str(directory / words)))
    if vocabulary_of(plan) != vocabulary.digest:
        raise InvalidInput(f"{directory / words}: it is not the vocabulary that the plan names")
    with closing(_open(directory, entropy)) as library:
        cases = list(library.cases())
    if isinstance(plan.aligned, Aligned):
        cases = aligned_cases(cases, plan.aligned, vault, me)
    fractions = (plan.data.validation_fraction, plan.data.test_fraction)
    weigh = isinstance(plan.weighing, Weighing)
    return outcome_table(cases, vocabulary, split_key, UnitConverter(), fractions, weigh)


def candidate_table(directory: Path, asked: Words, words: str, entropy: Entropy) -> Table:
    """The table of a study that agrees on words, from the library and the file `words` of the candidates.

    Raises:
        InvalidInput: no library, or another vocabulary than the plan's candidates.
    """
    if not words:
        raise InvalidInput(f"{directory / 'site.toml'}: [library] names no vocabulary")
    candidates = Vocabulary.decode(read_input(directory / words, MAX_VOCABULARY_BYTES, str(directory / words)))
    if candidates.digest.hex() != asked.candidates:
        raise InvalidInput(f"{directory / words}: it is not the candidate vocabulary that the plan names")
    with closing(_open(directory, entropy)) as library:
        return word_table(library.cases(), candidates)


def aligned_cases(cases: Iterable[Case], aligned: Aligned, vault: Vault, me: Name) -> list[Case]:
    """The cases whose signature enough hospitals have, less those of people who count at another hospital.

    A case that came into the library after the signatures were compared is left out.

    Raises:
        InvalidInput: an alignment that the plan names has no result at this site.
    """
    kept = list(cases)
    if aligned.signatures:
        shared = _need_result(vault, aligned.signatures).shared_with(aligned.least_hospitals)
        kept = [case for case in kept if case.id in shared]
    if aligned.patients:
        elsewhere = _need_result(vault, aligned.patients).kept_elsewhere(me)
        kept = [case for case in kept if case.patient not in elsewhere]
    return kept


def _need_result(vault: Vault, alignment: str) -> AlignmentResult:
    found = load_result(vault, bytes.fromhex(alignment))
    if found is None:
        raise InvalidInput(f"alignment {alignment}: this site has no result of it, and the plan learns from it")
    return found


def _open(directory: Path, entropy: Entropy) -> Library:
    path = directory / LIBRARY_FILE
    if not path.is_file():
        raise InvalidInput(f"{path}: no case library here; make one with `medfed records import`")
    return Library(path, entropy)
