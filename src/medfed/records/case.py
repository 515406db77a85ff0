"""The patient case: pathological features known before the diagnosis, and the outcome (second seed).

`id` and `patient` are local and never leave the site. Times are UTC seconds since 1970. A record is checked against its
bounds by `check_case`; the library stores none that was not. Nothing here may print a value.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from msgspec import Meta

from medfed.encoding import Record, decode, encode
from medfed.errors import InvalidInput
from medfed.records.coding import Coding, ConceptKey

__all__ = [
    "Case",
    "Comparator",
    "Course",
    "CourseStatus",
    "Feature",
    "FeatureKind",
    "Outcome",
    "Seconds",
    "Sex",
    "Status",
    "Treatment",
    "check_case",
]

Seconds = Annotated[int, Meta(ge=-(2**36), le=2**36)]
"""UTC seconds since 1970, or since a stay began where a table has no dates; about the years -200 to 4100."""

Status = Literal["present", "refuted", "not-assessed"]
"""What was found of a feature that the record mentions; one it does not mention is none of these."""

Sex = Literal["", "female", "male", "other"]
FeatureKind = Literal["finding", "measurement", "history", "allergy", "medication"]
CourseStatus = Literal["resolved", "improved", "unchanged", "worse", "died", "unknown"]

Comparator = Literal["", "<", "<=", ">=", ">"]
_PATH: Final = re.compile(r"`\$\.([\w.\[\]]+)`")
_Number = Annotated[float, Meta(ge=-1e15, le=1e15)]
_Amount = Annotated[float, Meta(gt=0, le=1e12)]
_Days = Annotated[float, Meta(ge=0, le=60_000)]
_Unit = Annotated[str, Meta(max_length=80)]
_Id = Annotated[str, Meta(min_length=1, max_length=400)]


class Feature(Record, frozen=True):
    """One thing known of the patient at the index time."""

    concept: Coding
    kind: FeatureKind = "finding"
    status: Status = "present"
    value: _Number | Coding | None = None
    """A measured number in `unit`, or the code of a coded result."""
    unit: _Unit = ""
    """UCUM; a unit outside UCUM is written as an annotation, `{tablet}`, which converts to nothing."""
    comparator: Comparator = ""
    """Not empty: the true value is only known to be on this side of `value`."""
    duration: _Days | None = None
    occurrence_condition: Coding | None = None
    severity: Annotated[int, Meta(ge=1, le=4)] | None = None
    """1 mild, 2 moderate, 3 severe, 4 critical."""
    onset: Seconds | None = None
    time: Seconds | None = None
    """When it was measured or written down."""

    @property
    def key(self) -> ConceptKey:
        """The concept's key."""
        return self.concept.key


class Treatment(Record, frozen=True):
    """One drug given or ordered, or one procedure. A dose means nothing without its unit and basis."""

    drug: Coding
    kind: Literal["drug", "procedure"] = "drug"
    route: Coding | None = None
    dose: _Amount | None = None
    dose_high: _Amount | None = None
    """Upper end where a range was ordered; `dose` is then the lower end."""
    dose_unit: _Unit = ""
    basis: Literal["absolute", "per-kg", "per-m2"] = "absolute"
    frequency: Annotated[float, Meta(gt=0, le=1440)] | None = None
    """Times a day."""
    as_needed: bool = False
    time: Seconds | None = None
    duration: _Days | None = None


class Course(Record, frozen=True):
    """How it went, and when that was known."""

    status: CourseStatus = "unknown"
    time: Seconds | None = None


class Outcome(Record, frozen=True):
    """What was found to be wrong, what came of it, what was done, and how it went.

    The first diagnosis is the main one.
    """

    diagnoses: Annotated[tuple[Coding, ...], Meta(max_length=256)] = ()
    complications: Annotated[tuple[Coding, ...], Meta(max_length=256)] = ()
    treatments: Annotated[tuple[Treatment, ...], Meta(max_length=4096)] = ()
    course: Course = Course()


class Case(Record, frozen=True):
    """A patient's features at `index_time`, just before the diagnosis, and the outcome."""

    id: _Id
    patient: _Id
    index_time: Seconds
    age: Annotated[float, Meta(ge=0, le=130)] | None
    """Years at the index time."""
    sex: Sex
    features: Annotated[tuple[Feature, ...], Meta(max_length=8192)]
    outcome: Outcome
    source: _Id
    """What it was made from: the resource's key or the table's row, stable over imports."""
    group: Annotated[str, Meta(max_length=80)] = ""
    """The hospital or ward within a data set that has several; empty where the site is one hospital."""
    assisted: bool = False
    """It came back through assisted diagnosis, so it never enters a test set."""


def check_case(case: Case) -> Case:
    """Return `case` if every field is within its bounds.

    Raises:
        InvalidInput: one is not; the message names the field, never its value.
    """
    try:
        return decode(encode(case), Case)
    except InvalidInput as error:
        # The decoder's message may quote the value; only the path in it is passed on.
        path = _PATH.search(str(error))
        raise InvalidInput(f"case: {path[1] if path else 'a field'} is out of its bounds") from None
