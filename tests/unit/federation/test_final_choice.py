"""Which model is released after the last round, and that test patients have no say in it."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.study import small_plan

from medfed.federation.acceptance import absorb_evaluation, fallback_of
from medfed.federation.figures import BinaryEvaluation
from medfed.federation.learning_state import Candidate, LearningState
from medfed.federation.strategies import Memory
from medfed.federation.study import initial_state, released_parameters
from medfed.models.parameters import Parameters


def evaluation(loss: int, separated: bool = True) -> BinaryEvaluation:
    negative, positive = [0] * 256, [0] * 256
    negative[10 if separated else 200] = 20
    positive[200 if separated else 10] = 20
    return BinaryEvaluation(tuple(negative), tuple(positive), loss)


def model(start: LearningState, value: float) -> Parameters:
    return start.parameters.with_flat(np.full(start.parameters.flat.size, value, dtype=np.float32))


def state_with(best_loss: int, last: float, best: float, **training: object) -> tuple[LearningState, object]:
    plan = small_plan(**training)  # type: ignore[arg-type]
    start = initial_state(plan)
    judged = evaluation(best_loss)
    candidate = Candidate(model(start, best), Memory(), 1, judged.preference, judged.score)
    return (
        start.changed(parameters=model(start, last), trained=2, best=candidate, trusted=candidate, validation=judged),
        plan,
    )


TEST_LAST, TEST_FALLBACK = evaluation(1), evaluation(2)


@pytest.mark.parametrize(("last_loss", "released", "test"), [(50, 2.0, TEST_LAST), (150, 1.0, TEST_FALLBACK)])
def test_the_better_validated_of_last_and_best_is_released(
    last_loss: int, released: float, test: BinaryEvaluation
) -> None:
    state, plan = state_with(100, last=2.0, best=1.0)
    after = absorb_evaluation(plan, state, 9, evaluation(last_loss), TEST_LAST, TEST_FALLBACK)  # type: ignore[arg-type]
    assert released_parameters(plan, after).flat[0] == released  # type: ignore[arg-type]
    assert after.test == test
    assert after.validation is not None
    assert after.validation.loss_units == min(last_loss, 100)


def test_without_best_round_the_last_model_is_released_whatever_its_loss() -> None:
    state, plan = state_with(100, last=2.0, best=1.0, best_round=False)
    after = absorb_evaluation(plan, state, 9, evaluation(900), TEST_LAST, TEST_FALLBACK)  # type: ignore[arg-type]
    assert released_parameters(plan, after).flat[0] == 2.0  # type: ignore[arg-type]
    assert after.test == TEST_LAST
    assert after.validation is not None
    assert after.validation.loss_units == 900


def test_a_last_model_whose_score_fell_too_far_is_not_released() -> None:
    state, plan = state_with(100, last=2.0, best=1.0, best_round=False, max_score_drop=0.1)
    fallen = evaluation(50, separated=False)
    after = absorb_evaluation(plan, state, 9, fallen, TEST_LAST, TEST_FALLBACK)  # type: ignore[arg-type]
    assert released_parameters(plan, after).flat[0] == 1.0  # type: ignore[arg-type]
    assert after.test == TEST_FALLBACK
    assert after.history[-1].verdict == "score"


def test_test_patients_never_decide() -> None:
    state, plan = state_with(100, last=2.0, best=1.0)
    good, bad = evaluation(0), evaluation(10_000, separated=False)
    for last, fallback in ((good, bad), (bad, good)):
        after = absorb_evaluation(plan, state, 9, evaluation(150), last, fallback)  # type: ignore[arg-type]
        assert released_parameters(plan, after).flat[0] == 1.0  # type: ignore[arg-type]
        assert after.test == fallback


def test_a_study_of_one_round_can_release_what_it_trained() -> None:
    plan = small_plan(rounds=1)
    start = initial_state(plan)
    assert fallback_of(plan, start) == start.parameters
    trained = start.changed(parameters=model(start, 3.0), trained=1)
    after = absorb_evaluation(plan, trained, 2, evaluation(5), TEST_LAST, TEST_FALLBACK)
    assert released_parameters(plan, after).flat[0] == 3.0
