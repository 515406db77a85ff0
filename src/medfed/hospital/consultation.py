"""Assisted diagnosis at a site: library, vocabulary, released model and decision log together.

The network's prediction is asked in the columns of the plan that trained it; a model trained in another vocabulary is
refused. A case is retained in the library before the log says so, under an identifier made from the answer, so a kill
in between is made good by the next follow-up. No clock in here: time comes in as UTC seconds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from msgspec import UNSET

from medfed.crypto import Entropy
from medfed.diagnosis.answer import Answer, AnswerSettings, Network, make_answer
from medfed.diagnosis.decisions import Decisions, Entry, FollowedUp
from medfed.diagnosis.question import Question, question_case
from medfed.diagnosis.weights import shared_weights
from medfed.errors import Refused
from medfed.federation.model_file import Model
from medfed.federation.outcome_study import predict_outcome
from medfed.records.library import Library
from medfed.records.units import UnitConverter
from medfed.records.vocabulary import Vocabulary

__all__ = ["ask", "follow_up", "open_decisions", "withdraw_patient"]


def open_decisions(site: Path) -> Decisions:
    """The decision log of a site directory."""
    return Decisions(site / "decisions.db")


def ask(
    library: Library,
    decisions: Decisions,
    question: Question,
    vocabulary: Vocabulary,
    *,
    model: Model | None,
    time: int,
    user: str,
    entropy: Entropy,
    settings: AnswerSettings = AnswerSettings(),  # noqa: B008 - frozen
    units: UnitConverter | None = None,
) -> Answer:
    """Answer a question and write into the log what was shown.

    Attributes weigh what the model's study learned; all the same where it learned no weights.

    Raises:
        InvalidInput: the question, or a model in another vocabulary. Refused: "consent-withdrawn".
    """
    if library.is_withdrawn(question.patient):
        raise Refused("consent-withdrawn", "question: its patient has withdrawn consent")
    identifier = entropy(8).hex()
    asked = question_case(question, vocabulary, library.id_of(f"answer/{identifier}"), time)
    network = weights = None
    if model is not None:
        v2 = predict_outcome(model, vocabulary, [asked], units)[0]
        network = Network(model.digest, v2.astype(np.float64))
        counts = model.standardisation.outcome_counts
        weights = shared_weights(vocabulary, counts) if counts is not UNSET else None
    answer = make_answer(
        identifier, question, asked, library, vocabulary,
        time=time, user=user, settings=settings, weights=weights, network=network, units=units,
    )  # fmt: skip
    decisions.record_answer(answer, asked)
    return answer


def follow_up(
    library: Library, decisions: Decisions, answer: str, followed: FollowedUp, *, user: str, time: int
) -> Entry:
    """Write down a course; with an acceptable one and a decided diagnosis the question becomes an assisted case.

    Raises:
        InvalidInput, Refused: see `Decisions.follow_up`, and "consent-withdrawn".
    """
    entry = decisions.follow_up(answer, followed, user=user, time=time)
    case = decisions.new_case(answer)
    if case is None:
        return entry
    library.put(case, "assisted")
    return decisions.retain(answer, case.id, user=user, time=time)


def withdraw_patient(library: Library, decisions: Decisions, patient: str) -> int:
    """Remove a patient's cases and open questions; how many cases went. The log keeps codes, and nothing asked."""
    decisions.erase(patient)
    return library.withdraw(patient)
