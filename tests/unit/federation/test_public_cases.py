"""Public cases: nothing in them may point to a person, and what is wrong is said without quoting a cell."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace
from tests.support.labelling import labelling_plan, public_csv
from tests.support.study import small_plan

from medfed.errors import InvalidInput, Refused
from medfed.federation.plan import NumberFeature, Plan
from medfed.federation.public_cases import read_public_cases, verify_deidentified
from medfed.federation.tables import table_of_bytes

GOOD = public_csv()


def _refusal(data: bytes, plan: Plan | None = None) -> str:
    with pytest.raises(Refused) as refused:
        verify_deidentified(plan or labelling_plan(), table_of_bytes(data, "public cases"))
    assert refused.value.code == "identifiers"
    return str(refused.value)


def _with_column(name: str, cell: str) -> bytes:
    head, *rows = GOOD.decode().splitlines()
    return "\n".join([f"{head},{name}", *(f"{row},{cell}" for row in rows)]).encode()


def _with_cell(at: int, cell: str) -> bytes:
    head, first, *rows = GOOD.decode().splitlines()
    cells = first.split(",")
    cells[at] = cell
    return "\n".join([head, ",".join(cells), *rows]).encode()


def test_good_cases_are_read_and_standardised_by_themselves() -> None:
    cases = read_public_cases(labelling_plan(), GOOD)
    assert cases.features.shape == (60, labelling_plan().inputs)
    assert np.abs(cases.features[:, 0].mean()) < 0.02
    assert cases.features[:, 0].std() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("column", ["person", "ill", "name", "mrn", "anything else"])
def test_a_column_that_is_no_feature_is_refused_without_repeating_what_it_is_called(column: str) -> None:
    said = _refusal(_with_column(column, "Jane Roe"))
    assert "column 4" in said
    assert "Jane" not in said


@pytest.mark.parametrize("column", ["patient_nbr", "e-mail", "Date of birth", "phone", "medical record id", "zip_code"])
def test_a_feature_called_like_an_identifier_is_refused(column: str) -> None:
    plan = labelling_plan()
    data = replace(plan.data, features=(*plan.data.features, NumberFeature(column, 0.0, 1.0)))
    assert "called like an identifier" in _refusal(_with_column(column, "1"), replace(plan, data=data))


@pytest.mark.parametrize("column", ["number of visits", "num_medications", "width", "validity", "medication named"])
def test_a_harmless_name_is_not_refused(column: str) -> None:
    plan = labelling_plan()
    data = replace(plan.data, features=(*plan.data.features, NumberFeature(column, 0.0, 2.0)))
    table = table_of_bytes(_with_column(column, "1"), "public cases")
    assert len(verify_deidentified(replace(plan, data=data), table)) == 60


@pytest.mark.parametrize(
    ("at", "cell", "said"),
    [
        (2, "jane.roe@example.org", "1 cells of column 'ward' are none"),
        (1, "4711", "1 cells of column 'dose' are outside"),
        (0, "93", "1 cells of column 'age' are ages above 89"),
    ],
)
def test_a_cell_that_may_point_to_a_person_is_refused_and_not_quoted(at: int, cell: str, said: str) -> None:
    message = _refusal(_with_cell(at, cell))
    assert said in message
    assert cell not in message


def test_missing_cells_are_fine() -> None:
    assert len(verify_deidentified(labelling_plan(), table_of_bytes(_with_cell(2, ""), "public cases"))) == 60


def test_other_bytes_than_the_plan_names_are_refused() -> None:
    with pytest.raises(InvalidInput, match="SHA-256"):
        read_public_cases(labelling_plan(), GOOD + b"\n")


def test_fewer_cases_than_queries_are_refused() -> None:
    few = public_csv(10)
    with pytest.raises(InvalidInput, match="10 rows; the plan asks about 40"):
        read_public_cases(labelling_plan(cases=few), few)


def test_a_plan_without_labelling_has_no_public_cases() -> None:
    with pytest.raises(InvalidInput, match="labelling"):
        read_public_cases(small_plan(), GOOD)
