"""Where a study stands: the model, the strategy's memory, the statistics, the best round and what happened so
far.

Hospitals name it by its digest, the *base* of the next update; so it holds nothing but what follows from the
plan and from released sums, and equal states have equal bytes. It must never hold anything of one hospital
alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from medfed.encoding import Record, decode, encode
from medfed.federation.features import Standardisation
from medfed.federation.figures import Evaluation, Fraction
from medfed.federation.strategies.memory import Memory
from medfed.identifiers import Digest, sha256
from medfed.models.parameters import Parameters

__all__ = ["Candidate", "LearningState", "RoundRecord", "Verdict", "VoteBook"]

Verdict = Literal["accepted", "norm", "score", "diverged", "evaluated"]
"""What became of a training round's aggregate: taken, or why not. The evaluation round has none: "evaluated", or
"score" where the last model had fallen."""


class RoundRecord(Record):
    """One absorbed training or evaluation round. Validation figures are of the model that the round started from."""

    round: int
    """The ledger's counter over all kinds of rounds."""
    verdict: Verdict
    examples: int
    """Validation patients behind the evaluation."""
    preference: Fraction
    """Greater is better; minus the summed log loss over patients, or the C-index."""
    score: Fraction
    """In [0, 1]: AUC, accuracy or C-index."""
    clipped: int
    """Coordinates of all updates that the plan's clip cut."""
    norm: float
    """Euclidean norm of the mean update."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that validation patients have judged."""

    parameters: Parameters
    memory: Memory
    trained: int
    """How many accepted aggregates it has in it."""
    preference: Fraction
    score: Fraction


class VoteBook(Record):
    """What the noisy votes of a labelling study have decided so far."""

    labels: Annotated[tuple[Annotated[int, Meta(ge=-1, le=10_000)], ...], Meta(max_length=1_000_000)] = ()
    """The class of each case whose batch is done, in order; -1 where it got none."""
    passed: Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(max_length=1_000_000)] = ()
    """Confident, between a batch's two rounds: positions in the batch that passed the threshold."""


@dataclass(frozen=True)
class LearningState:
    """The whole of it. Changed only by `study.absorb`."""

    parameters: Parameters
    """What the next training round starts from."""
    memory: Memory
    standardisation: Standardisation | None = None
    """None until the statistics round."""
    trained: int = 0
    """How many aggregates are in `parameters`."""
    trusted: Candidate | None = None
    """The last model whose score was not a fall beyond the plan's tolerance: where a fall goes back to."""
    best: Candidate | None = None
    rejected_in_a_row: int = 0
    stopped: bool = False
    history: tuple[RoundRecord, ...] = ()
    validation: Evaluation | None = None
    """The best model's so far; after the evaluation round the released model's, where it is known."""
    test: Evaluation | None = None
    """That of the released model, after the evaluation round."""
    votes: VoteBook | None = None
    """Only in a labelling study."""

    @cached_property
    def digest(self) -> Digest:
        """SHA-256 of `save()`: the base that hospitals attest."""
        return sha256(self.save())

    def save(self) -> bytes:
        """Canonical bytes."""
        stored = _Stored(
            parameters=self.parameters.save(),
            memory=self.memory.save(),
            standardisation=self.standardisation,
            trained=self.trained,
            trusted=_store(self.trusted),
            best=_store(self.best),
            rejected_in_a_row=self.rejected_in_a_row,
            stopped=self.stopped,
            history=self.history,
            validation=self.validation,
            test=self.test,
            votes=self.votes if self.votes is not None else UNSET,
        )
        return encode(stored)

    @staticmethod
    def load(data: bytes) -> LearningState:
        """The state whose bytes are `data`.

        Raises:
            InvalidInput: they are damaged.
        """
        stored = decode(data, _Stored)
        return LearningState(
            parameters=Parameters.load(stored.parameters),
            memory=Memory.load(stored.memory),
            standardisation=stored.standardisation,
            trained=stored.trained,
            trusted=_restore(stored.trusted),
            best=_restore(stored.best),
            rejected_in_a_row=stored.rejected_in_a_row,
            stopped=stored.stopped,
            history=stored.history,
            validation=stored.validation,
            test=stored.test,
            votes=stored.votes if isinstance(stored.votes, VoteBook) else None,
        )

    def changed(self, **fields: object) -> LearningState:
        """A copy with some fields replaced."""
        return replace(self, **fields)  # pyright: ignore[reportArgumentType]


_Count = Annotated[int, Meta(ge=0)]


class _StoredCandidate(Record):
    parameters: bytes
    memory: bytes
    trained: _Count
    preference: Fraction
    score: Fraction


class _Stored(Record):
    parameters: bytes
    memory: bytes
    standardisation: Standardisation | None
    trained: _Count
    trusted: _StoredCandidate | None
    best: _StoredCandidate | None
    rejected_in_a_row: _Count
    stopped: bool
    history: Annotated[tuple[RoundRecord, ...], Meta(max_length=10_000)]
    validation: Evaluation | None
    test: Evaluation | None
    version: Literal[1] = 1
    votes: VoteBook | UnsetType = UNSET


def _store(one: Candidate | None) -> _StoredCandidate | None:
    if one is None:
        return None
    return _StoredCandidate(one.parameters.save(), one.memory.save(), one.trained, one.preference, one.score)


def _restore(one: _StoredCandidate | None) -> Candidate | None:
    if one is None:
        return None
    parameters, memory = Parameters.load(one.parameters), Memory.load(one.memory)
    return Candidate(parameters, memory, one.trained, one.preference, one.score)
