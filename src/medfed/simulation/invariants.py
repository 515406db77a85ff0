"""What must hold after every step of a fault simulation, whatever went wrong. Nothing here knows what went wrong.

1. Replicas agree: a second replica replays every block from the genesis and reaches the same state digest.
2. What was final stays final: closed rounds, agreed bases, points and closed studies never change back.
3. Nothing honest is penalised: no honest hospital is expelled, and who survives a released round gets its points.
4. Released sums are exact, over at least the quorum, and signed by every honest survivor.
5. Privacy: no coalition within the bound can compute anything but the released sums; see `opening`.
6. No model and no dataset is counted over two sets of survivors, but for those who left or were removed.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np

from medfed.blobs import BlobStore
from medfed.hospital.aggregation import CLOSED, unmasked_total
from medfed.identifiers import Digest, Name
from medfed.ledger.contracts.rewards import points, statement
from medfed.ledger.contracts.rounds import Round, round_record
from medfed.ledger.contracts.studies import Study, capped_examples, study_record
from medfed.ledger.contracts.updates import submission
from medfed.ledger.engine import StateView
from medfed.ledger.engines.memory import MemoryEngine
from medfed.ledger.state import State
from medfed.ledger.transition import Tip, apply_block, genesis_tip, tip_after
from medfed.simulation.faults import Cast
from medfed.simulation.opening import broken_promises, derive, known_seeds
from medfed.simulation.witness import InvariantBroken, Witness, keystream

__all__ = ["Watch", "verify_numbers", "verify_privacy"]


@dataclass
class Watch:
    """Compares each state with what was seen before."""

    cast: Cast
    witness: Witness
    blobs: BlobStore
    replica: tuple[State, Tip] | None = None
    closed: dict[int, Round] = field(default_factory=dict[int, Round])
    bases: dict[int, Digest] = field(default_factory=dict[int, Digest])
    earned: dict[Name, int] = field(default_factory=dict[Name, int])
    votes: dict[int, set[Digest]] = field(default_factory=dict[int, set[Digest]])
    ended: str = ""

    def step(self, engine: MemoryEngine, corrupt: Collection[Name]) -> bool:
        """Check the newest state; False if there is nothing new.

        Raises:
            InvariantBroken: names what does not hold.
        """
        view = engine.view()
        if self.replica is not None and view.tip.height == self.replica[1].height:
            return False
        self._follow(engine)
        study = study_record(view, self.witness.study)
        if study is None:
            raise InvariantBroken("the study is gone")
        self._check_final(view, study)
        self._check_penalties(study, corrupt)
        for number in range(study.next_round):
            record = round_record(view, study.study, number)
            if record is not None and record.phase in CLOSED and number not in self.closed:
                self.closed[number] = record
                if record.phase == "released":
                    self._check_released(view, study, record, corrupt)
        self.witness.ledger_moved(view)
        return True

    def _follow(self, engine: MemoryEngine) -> None:
        """Rule 1."""
        state, tip = self.replica or genesis_tip(engine.genesis)
        for block in engine.blocks(tip.height + 1):
            writes, _ = apply_block(engine.genesis, state, tip, block)
            state, tip = state.with_writes(writes), tip_after(block.header)
        if tip != engine.view().tip:
            raise InvariantBroken(f"a replica that replays block {tip.height} reaches another state")
        self.replica = (state, tip)

    def _check_final(self, view: StateView, study: Study) -> None:
        """Rule 2."""
        for number, record in self.closed.items():
            if round_record(view, study.study, number) != record:
                raise InvariantBroken(f"round {number} was {record.phase} and has changed since")
        if study.base is not None and self.bases.setdefault(study.base_round, study.base) != study.base:
            raise InvariantBroken(f"the base after round {study.base_round} was agreed and has changed since")
        for name in self.cast.names:
            now = points(view, name)
            if now < self.earned.get(name, 0):
                raise InvariantBroken(f"{name} has lost points")
            self.earned[name] = now
        if self.ended and study.phase != self.ended:
            raise InvariantBroken(f"the study was {self.ended} and is {study.phase} now")
        if study.phase in ("completed", "aborted"):
            self.ended = study.phase

    def _check_penalties(self, study: Study, corrupt: Collection[Name]) -> None:
        """Rule 3, and that honest hospitals name one base."""
        honest = [name for name in self.cast.honest if name not in corrupt]
        blamed = sorted(set(study.expelled) & set(self.cast.honest))
        if blamed:
            raise InvariantBroken(f"{blamed[0]} is honest and was expelled")
        named = {base for voter, base, _, _ in study.base_votes if voter in honest}
        self.votes.setdefault(study.base_round, set()).update(named)
        if len(self.votes[study.base_round]) > 1:
            raise InvariantBroken(f"honest hospitals name two bases after round {study.base_round}")

    def _check_released(self, view: StateView, study: Study, record: Round, corrupt: Collection[Name]) -> None:
        """Rules 3 and 4."""
        if len(record.survivors) < self.cast.quorum:
            raise InvariantBroken(f"round {record.number} was released over {len(record.survivors)} hospitals")
        for name in record.survivors:
            if name in self.cast.byzantine or name in corrupt or record.kind != "training":
                continue
            due = min(capped_examples(view, study, name), study.terms.rewards.cap_examples) // 100
            awards = [a.points for _, a in statement(view, name) if a.cause == "examples" and a.round == record.number]
            if awards != ([due * study.terms.rewards.per_hundred_examples] if due else []):
                raise InvariantBroken(f"{name} survived round {record.number} and was not awarded its examples")
        self._check_sum(view, study, record)

    def _check_sum(self, view: StateView, study: Study, record: Round) -> None:
        """The published sum is that of the plain vectors, where all survivors are watched."""
        vectors = self.witness.published.vectors
        plain: list[tuple[Name, Digest]] = []
        for name in record.survivors:
            sent = submission(view, study.study, record.number, record.attempt, name)
            known = vectors.get(((name, record.number, record.attempt), sent.blob if sent else b""))
            if known is None:
                return
            plain.append(known.plain)
        total = np.sum([self.witness.plains[key] for key in plain], axis=0, dtype=np.uint32)
        if not np.array_equal(unmasked_total(view, study, self.witness.plan, record, self.blobs), total):
            raise InvariantBroken(f"round {record.number}: the released sum is not the sum of the survivors' vectors")


def verify_privacy(
    cast: Cast, witness: Witness, corrupt: Collection[Name], gone: Collection[Name], only: int | None = None
) -> int:
    """Rules 5 and 6 against every coalition of the largest size that contains all liars; returns how many.

    `only` picks one of them, by number.

    Raises:
        InvariantBroken: says which coalition computes what.
    """
    if cast.protection != "masked":
        _verify_no_difference(witness, gone)
        return 0
    liars = {*corrupt, *cast.byzantine}
    spare = cast.bound - len(liars)
    if spare < 0:
        return 0
    others = [name for name in cast.names if name not in liars]
    choices = list(itertools.combinations(others, spare))
    if only is not None:
        choices = [choices[only % len(choices)]]
    for more in choices:
        coalition = {*liars, *more}
        found = broken_promises(witness.published, coalition, gone, cast.quorum)
        if found:
            raise InvariantBroken(f"{', '.join(sorted(coalition))}: {found[0]}")
    _verify_no_difference(witness, gone)
    return len(choices)


def verify_numbers(witness: Witness, coalition: Iterable[Name]) -> int:
    """That what the solver derives comes out of the real bytes; returns how many combinations were computed.

    Raises:
        InvariantBroken: the solver's picture of the masks is not what was published.
    """
    members = set(coalition)
    known = known_seeds(witness.published, members)
    vectors = list(witness.published.vectors.values())
    derived = derive(witness.published, members)
    for combination in derived:
        length = len(witness.masked[vectors[next(iter(combination.rows))].blob])
        left = np.zeros(length, dtype=np.uint32)
        for index, factor in combination.rows.items():
            vector = vectors[index]
            word = np.uint32(factor % 2**32)
            if len(witness.masked[vector.blob]) != length:
                raise InvariantBroken("vectors of different rounds hang together by a mask")
            left += word * witness.masked[vector.blob]
            for seed, sign in [(vector.self_seed, 1), *vector.pair_seeds.values()]:
                if seed in known:
                    left -= np.uint32(factor * sign % 2**32) * keystream(seed, length)
        for key, factor in combination.plain.items():
            left -= np.uint32(factor % 2**32) * witness.plains[key]
        if left.any():
            raise InvariantBroken("a combination that the solver derives does not come out of the published bytes")
    return len(derived)


def _verify_no_difference(witness: Witness, gone: Collection[Name]) -> None:
    """Rule 6."""
    seen: dict[bytes, tuple[int, frozenset[Name]]] = {}
    for release in sorted(witness.published.releases.values(), key=lambda entry: (entry.round, entry.attempt)):
        parts = {part for name in release.survivors for part in witness.parts.get((name, release.round), ())}
        for part in sorted(parts):
            earlier = seen.setdefault(part, (release.round, release.survivors))
            if earlier[1] - set(gone) != release.survivors - set(gone):
                raise InvariantBroken(
                    f"rounds {earlier[0]} and {release.round} count the same over {sorted(earlier[1])} "
                    f"and {sorted(release.survivors)}"
                )
