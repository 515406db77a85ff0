"""What a training round's aggregate does to the learning state: taken or rejected, best so far or not, stop
or go on.

The rules, in their order:

1. The round's evaluation judges the model that the round *started* from. If its score fell by more than
`max_score_drop` below the last trusted model's, that model comes back, and this round's aggregate, which was
made from the fallen one, is rejected with it.
2. Otherwise the start is trusted; it is the best so far if its preference (log loss, for survival the
C-index) is strictly greater than the best one's.
3. The aggregate is rejected if its norm passes `max_update_norm`, or if the next model would not be finite.
4. Training should stop once `min_rounds` rounds were absorbed and the best one lies `patience` rounds back.

5. The evaluation round judges the last model in the same way, and so decides which one is released: by rules 1 and 2
the best one if the plan says so, else the last trusted one. Test patients were counted under both, and only the
released one's counts are kept; the choice never looks at them.

Without validation patients nothing is judged: rules 1, 2 and 4 never apply. Comparisons are on integers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from medfed.errors import InvalidInput
from medfed.federation.figures import Evaluation, Fraction, is_greater
from medfed.federation.learning_state import Candidate, LearningState, RoundRecord, Verdict
from medfed.federation.plan import Plan
from medfed.federation.strategies import strategy_for
from medfed.federation.strategies.strategy import UPDATE, take_mean
from medfed.models.parameters import Parameters

__all__ = ["absorb_evaluation", "absorb_training", "fallback_of", "integer_norm"]

_GRID: Final = 1 << 20
_CHUNK: Final = 1 << 20
_MILLION: Final = 1_000_000

Array = NDArray[Any]


def absorb_training(
    plan: Plan,
    state: LearningState,
    r: int,
    sums: Mapping[str, Array],
    evaluation: Evaluation,
    share: tuple[int, int],
) -> tuple[LearningState, bool]:
    """The next state, and whether the aggregate was accepted."""
    size = state.parameters.flat.size
    mean = {name: take_mean(sums, name, size) for name in strategy_for(plan.training).vectors}
    norm = integer_norm(mean[UPDATE], plan.training.clip)
    judged = _judge_start(plan, state, evaluation)
    verdict: Verdict
    if judged is None:
        verdict, after = "score", _back_to_trusted(state)
    else:
        verdict, after = _step(plan, judged, mean, norm, share)
    clipped = int(sums["clipped"][0]) if "clipped" in sums else 0  # beside noise it is not counted
    record = RoundRecord(r, verdict, evaluation.examples, evaluation.preference, evaluation.score, clipped, norm)
    accepted = verdict == "accepted"
    history = (*state.history, record)
    after = after.changed(
        history=history,
        rejected_in_a_row=0 if accepted else state.rejected_in_a_row + 1,
        stopped=state.stopped or _should_stop(plan, history),
    )
    return after, accepted


def fallback_of(plan: Plan, state: LearningState) -> Parameters:
    """The model that is released if the last one is not: the best one so far, or the last trusted one."""
    candidate = state.best if plan.training.best_round else state.trusted
    return candidate.parameters if candidate is not None else state.parameters


def absorb_evaluation(
    plan: Plan, state: LearningState, r: int, validation: Evaluation, last: Evaluation, fallback: Evaluation
) -> LearningState:
    """Rule 5: the state with the released model's test counts; `released_parameters` then gives that model."""
    judged = _judge_start(plan, state, validation)
    verdict: Verdict = "evaluated" if judged is not None else "score"
    after = judged if judged is not None else _back_to_trusted(state)
    is_last = judged is not None and (
        not plan.training.best_round or judged.best is None or judged.best.trained == state.trained
    )
    record = RoundRecord(r, verdict, validation.examples, validation.preference, validation.score, 0, 0.0)
    best_known = state.validation if plan.training.best_round else None
    return after.changed(
        history=(*state.history, record),
        validation=validation if is_last else best_known,
        test=last if is_last else fallback,
    )


def integer_norm(vector: Array, clip: float) -> float:
    """The Euclidean norm of `vector`, whose magnitudes are about `clip` at most, on a grid of clip / 2^20.

    Squares are summed as integers: a float sum would depend on the order a machine takes. No honest mean passes the
    clip; magnitudes beyond twice the clip count as twice the clip, so that a chunk's sum stays below 2^63.
    """
    step = clip / _GRID
    total = 0
    for at in range(0, vector.size, _CHUNK):
        units = np.rint(np.clip(vector[at : at + _CHUNK] / step, -2 * _GRID, 2 * _GRID)).astype(np.int64)
        total += int((units * units).sum())
    return math.sqrt(total) * step


def _judge_start(plan: Plan, state: LearningState, evaluation: Evaluation) -> LearningState | None:
    """The state with the round's start trusted (rule 2), or None if its score fell too far (rule 1)."""
    if evaluation.preference[1] == 0:
        return state.changed(validation=evaluation)
    if state.trusted is not None and _fell(state.trusted.score, evaluation.score, plan.training.max_score_drop):
        return None
    start = _candidate(state, evaluation)
    if state.best is None or is_greater(start.preference, state.best.preference):
        return state.changed(trusted=start, best=start, validation=evaluation)
    return state.changed(trusted=start)


def _fell(before: Fraction, after: Fraction, tolerance: float) -> bool:
    """Whether before - after > tolerance (rounded to millionths), exactly."""
    allowed = round(tolerance * _MILLION)
    fall = (before[0] * after[1] - after[0] * before[1]) * _MILLION
    return before[1] > 0 and after[1] > 0 and fall > allowed * before[1] * after[1]


def _candidate(state: LearningState, evaluation: Evaluation) -> Candidate:
    return Candidate(state.parameters, state.memory, state.trained, evaluation.preference, evaluation.score)


def _back_to_trusted(state: LearningState) -> LearningState:
    old = state.trusted
    if old is None:
        return state
    return state.changed(parameters=old.parameters, memory=old.memory, trained=old.trained)


def _step(
    plan: Plan, state: LearningState, mean: Mapping[str, Array], norm: float, share: tuple[int, int]
) -> tuple[Verdict, LearningState]:
    """Rule 3."""
    limit = plan.training.max_update_norm
    if limit > 0 and norm > limit:
        return "norm", state
    part = share[0] / share[1]
    try:
        parameters, memory = strategy_for(plan.training).server_step(state.parameters, mean, state.memory, part)
    except InvalidInput:
        # The vectors were checked above, so what is left is a number that float32 cannot hold.
        return "diverged", state
    return "accepted", state.changed(parameters=parameters, memory=memory, trained=state.trained + 1)


def _should_stop(plan: Plan, history: tuple[RoundRecord, ...]) -> bool:
    """Rule 4."""
    rule = plan.training.stopping
    if rule.patience == 0 or len(history) < rule.min_rounds:
        return False
    best: int | None = None
    for at, record in enumerate(history):
        counted = record.verdict != "score" and record.preference[1] > 0
        if counted and (best is None or is_greater(record.preference, history[best].preference)):
            best = at
    return best is not None and len(history) - 1 - best >= rule.patience
