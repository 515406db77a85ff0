"""V1 to V2 through a real masked study in the simulation."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from medfed.encoding import encode
from medfed.errors import InvalidInput
from medfed.federation.outcome_study import outcome_plan, outcome_table, predict_outcome, vocabulary_of
from medfed.records.case import Case, Feature, Outcome
from medfed.records.coding import local_coding
from medfed.records.draft import draft_vocabulary
from medfed.simulation.api import simulate

FINDINGS = {"flu": ("fever", "ache"), "cold": ("sneeze", "cough"), "measles": ("rash", "fever")}


def cases(seed: int, number: int = 90) -> list[Case]:
    rng = np.random.default_rng(seed)
    made: list[Case] = []
    for n in range(number):
        diagnosis = sorted(FINDINGS)[int(rng.integers(3))]
        names = [name for name in FINDINGS[diagnosis] if rng.random() < 0.9] or ["tired"]
        features = tuple(Feature(local_coding("t", name)) for name in names)
        outcome = Outcome((local_coding("t", diagnosis),))
        made.append(Case(f"{seed}-{n}", f"p{n}", 0, None, "", features, outcome, f"s{n}"))
    return made


def test_hospitals_learn_diagnoses_in_a_vocabulary_that_their_plan_fixes() -> None:
    held = {f"h{n}": cases(n) for n in range(3)}
    words = draft_vocabulary([one for listed in held.values() for one in listed], person=False)
    plan = outcome_plan(words, list(held), title="outcomes", rounds=6, hidden=(16,))
    assert vocabulary_of(plan) == words.digest
    tables = {name: outcome_table(listed, words, bytes(32)) for name, listed in held.items()}
    model = simulate(plan, tables, seed=1).model
    unseen = [one for one in cases(99) if len(one.features) == 2]
    predicted = predict_outcome(model, words, unseen)
    named = [words.diagnoses[int(row.argmax())].code for row in predicted[:, : len(words.diagnoses)]]
    right = np.mean([name == one.outcome.diagnoses[0].code for name, one in zip(named, unseen, strict=True)])
    assert right > 0.95
    other = draft_vocabulary(held["h0"][:3], person=False)
    with pytest.raises(InvalidInput, match="another vocabulary"):
        predict_outcome(model, other, unseen)


def test_a_plan_says_the_least_scale_only_where_it_has_one() -> None:
    words = draft_vocabulary(cases(0), person=False)
    plain = outcome_plan(words, ["a", "b", "c"], title="outcomes")
    bounded = outcome_plan(words, ["a", "b", "c"], title="outcomes", least_scale=0.2)
    assert bounded.data.least_scale == 0.2
    assert b"least_scale" in encode(bounded)
    assert b"least_scale" not in encode(plain)


def test_a_patient_with_an_assisted_case_is_trained_on_and_never_tested() -> None:
    listed = cases(1)
    words = draft_vocabulary(listed, person=False)
    before = outcome_table(listed, words, bytes(32)).texts("split")
    tested = before.index("test")
    marked = [msgspec.structs.replace(one, assisted=n == tested) for n, one in enumerate(listed)]
    after = outcome_table(marked, words, bytes(32)).texts("split")
    assert after[tested] == "train"
    assert [s for n, s in enumerate(after) if n != tested] == [s for n, s in enumerate(before) if n != tested]
