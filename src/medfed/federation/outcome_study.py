"""V1 to V2 as an ordinary study: a plan, a table of cases and a prediction, all in one vocabulary fixed by its digest.

The plan names the vocabulary's digest as its learning object and every column of V1 and V2 by number, so that the
hospitals approve the very words. Only diagnoses, complications and drugs are predicted, not doses. Assisted cases train
but never test.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from msgspec import UNSET

from medfed.errors import InvalidInput
from medfed.federation.model_file import Model
from medfed.federation.plan import (
    Aligned,
    DataFormat,
    Hiding,
    MultilabelTarget,
    NumberFeature,
    Participation,
    Plan,
    Purpose,
    Training,
    Weighing,
)
from medfed.federation.splits import Fractions, split_of
from medfed.federation.tables import Table, table_from
from medfed.federation.weighing import value_columns
from medfed.identifiers import Digest
from medfed.models.settings import LocalTraining, MlpModel
from medfed.records.case import Case
from medfed.records.columns import CaseColumns
from medfed.records.outcome_counts import attribute_values, value_sizes
from medfed.records.rows import RowReader
from medfed.records.units import UnitConverter
from medfed.records.vectors import Vectoriser
from medfed.records.vocabulary import Vocabulary

__all__ = ["outcome_plan", "outcome_table", "predict_outcome", "vocabulary_of"]

_MARK: Final = "cases in vocabulary "
_FRACTIONS: Final[Fractions] = (0.15, 0.2)
"""Of the patients for validation and for test."""
_RATE_PER_LABEL: Final = 1 / 16
"""The loss is a mean over labels, so that a label's gradient shrinks with their number; the learning rate grows."""


def outcome_plan(
    vocabulary: Vocabulary,
    hospitals: Sequence[str],
    *,
    title: str,
    rounds: int = 40,
    hidden: tuple[int, ...] = (128,),
    local: LocalTraining | None = None,
    seed: int = 0,
    aligned: Aligned | None = None,
    hide: float = 0.5,
    copies: int = 10,
    fractions: Fractions = _FRACTIONS,
    weigh: bool = False,
    least_scale: float | None = None,
) -> Plan:
    """A plan in which these hospitals learn V2 from V1, each from `copies` copies of its cases in a round with each
    finding hidden with chance `hide`; with 0, from whole cases.

    `fractions` of the patients validate and test. No column is divided by less than `least_scale`: what few cases have
    is 0 in nearly all, and would count as much as what half of them have. With `weigh` they also sum which values go
    with which first diagnosis, for the weights of attributes.

    Raises:
        InvalidInput: the vocabulary predicts nothing, or more than a plan holds.
    """
    vectoriser = Vectoriser(vocabulary)
    width, labels = vectoriser.width, vectoriser.labels
    if not 1 <= labels <= 1024 or width < 1:
        raise InvalidInput(f"vocabulary: expected something to ask and 1 to 1024 outcomes, found {width} and {labels}")
    names = tuple(sorted(hospitals))
    return Plan(
        Purpose(title, _MARK + vocabulary.digest.hex(), "case library", "assisted diagnosis"),
        DataFormat(
            tuple(NumberFeature(f"v1_{n}", -3.0, 3.0) for n in range(width)),
            MultilabelTarget(tuple(f"v2_{n}" for n in range(labels))),
            "patient",
            "split",
            validation_fraction=fractions[0],
            test_fraction=fractions[1],
            least_scale=UNSET if least_scale is None else least_scale,
        ),
        MlpModel(hidden=hidden),
        Training(
            rounds,
            local or LocalTraining(steps=20, batch_size=64, learning_rate=max(0.1, labels * _RATE_PER_LABEL)),
            seed=seed,
            best_round=fractions[0] > 0,
        ),
        Participation(names, max(3, len(names) - 1)),
        aligned=aligned if aligned is not None else UNSET,
        hiding=Hiding(vectoriser.widths, hide, copies) if hide > 0 else UNSET,
        weighing=Weighing(value_sizes(vocabulary.attributes), len(vocabulary.diagnoses)) if weigh else UNSET,
    )


def vocabulary_of(plan: Plan) -> Digest | None:
    """The digest of the vocabulary that a plan's columns are in; None where they are in none."""
    marked = plan.purpose.learning_object
    try:
        return bytes.fromhex(marked.removeprefix(_MARK)) if marked.startswith(_MARK) else None
    except ValueError:
        return None


def outcome_table(
    cases: Iterable[Case],
    vocabulary: Vocabulary,
    split_key: bytes,
    units: UnitConverter | None = None,
    fractions: Fractions = _FRACTIONS,
    weigh: bool = False,
) -> Table:
    """The table of a plan made by `outcome_plan`: one row a case.

    Patients are split under the site's `split_key` by the plan's `fractions`; one who has an assisted case is trained
    on and never tested. With `weigh` it has the columns that such a plan counts.

    Raises:
        InvalidInput: there are no cases.
    """
    vectoriser = Vectoriser(vocabulary, units)
    listed = list(cases)
    vectors = [vectoriser.vectorise(case) for case in listed]
    if not vectors:
        raise InvalidInput("cases: there are none to learn from")
    columns: dict[str, Any] = _v1_columns(np.stack([vector.v1 for vector in vectors]))
    v2 = np.stack([vector.v2 for vector in vectors]).astype(np.float64)
    columns |= {f"v2_{n}": v2[:, n] for n in range(v2.shape[1])}
    if weigh:
        columns |= _counted_columns(listed, vocabulary, units)
    assisted = {case.patient for case in listed if case.assisted}
    splits = ["train" if c.patient in assisted else split_of(c.patient.encode(), split_key, fractions) for c in listed]
    columns["split"] = np.array(splits, dtype=object)
    columns["patient"] = np.array([case.patient for case in listed], dtype=object)
    return table_from(columns, name="case library")


def predict_outcome(
    model: Model, vocabulary: Vocabulary, cases: Sequence[Case], units: UnitConverter | None = None
) -> npt.NDArray[np.float64]:
    """V2 of each case as the model predicts it: probabilities `(cases, labels)`.

    Raises:
        InvalidInput: the model was trained in another vocabulary.
    """
    if vocabulary_of(model.plan) != vocabulary.digest:
        raise InvalidInput("model: it was trained in another vocabulary than this one")
    vectoriser = Vectoriser(vocabulary, units)
    return model.predict(_v1_columns(np.stack([vectoriser.vectorise(case).v1 for case in cases])))


def _v1_columns(v1: npt.NDArray[np.float32]) -> dict[str, Any]:
    values = v1.astype(np.float64)
    return {f"v1_{n}": values[:, n] for n in range(values.shape[1])}


def _counted_columns(cases: Sequence[Case], vocabulary: Vocabulary, units: UnitConverter | None) -> dict[str, Any]:
    """Each case's first diagnosis that the vocabulary names, and the place of its value of each attribute."""
    reader = RowReader(vocabulary, units)
    columns = CaseColumns.build(vocabulary.attributes, [reader.read(case).row for case in cases])
    places = {coding.key: place for place, coding in enumerate(vocabulary.diagnoses)}
    named = ((places[c.key] for c in case.outcome.diagnoses if c.key in places) for case in cases)
    counted = np.column_stack([[next(found, -1) for found in named], attribute_values(columns)]).astype(np.float64)
    counted[counted < 0] = np.nan
    weighing = Weighing(value_sizes(vocabulary.attributes), len(vocabulary.diagnoses))
    return dict(zip(value_columns(weighing), counted.T, strict=True))
