"""A site's heavy work as tasks for its worker: training and counting for a round, teachers, a student.

Whatever needs the vault, blobs or keys is read before the task's own work begins, which sees plain values only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from medfed.encoding import Record, decode, encode
from medfed.errors import InvalidInput
from medfed.federation.learning_state import LearningState
from medfed.federation.model_file import Model, decode_model, encode_model
from medfed.federation.plan import Plan
from medfed.federation.strategies import Memory
from medfed.federation.study import contribution, local_rng
from medfed.hospital.checkpoints import VaultCheckpoints
from medfed.hospital.noisy_update import usable_rows
from medfed.hospital.site import Site
from medfed.hospital.student_release import cases_in, student_from
from medfed.hospital.worker import Task
from medfed.identifiers import StudyId
from medfed.ledger.contracts.rounds import Round
from medfed.models.course import Checkpoints

__all__ = ["compute_contribution", "compute_histograms", "compute_student"]

Values = dict[str, NDArray[Any]]
_TYPES: Final = ("<f4", "<f8", "<i8", "<u4")


class _Array(Record):
    name: str
    type: str
    shape: tuple[int, ...]
    data: bytes


class _Computed(Record):
    values: tuple[_Array, ...]
    memory: bytes


def compute_contribution(
    site: Site, study: StudyId, plan: Plan, current: Round, state: LearningState, memory: Memory
) -> tuple[Values, Memory]:
    """What this hospital contributes to a round of statistics, training or evaluation, and its next local memory.

    Raises:
        As the worker, `study.contribution` and the site's data say.
    """

    def begin() -> Callable[[Checkpoints], tuple[Values, Memory]]:
        rng, rows = local_rng(plan, current.number, site.name), usable_rows(site, plan, study)
        if state.standardisation is not None:
            rows.datasets(state.standardisation)  # kept for the next round, which a child's own would not be
        return lambda kept: contribution(plan, state, current.kind, rows, rng, memory, kept)

    task = Task(
        study.hex(),
        f"study {study.hex()[:12]}, round {current.number} ({current.kind})",
        state.digest,
        begin,
        lambda found: encode(_Computed(tuple(map(_packed, found[0].items())), found[1].save())),
        _computed,
        VaultCheckpoints(site.vault, study, current.number, state.digest),
    )
    return site.worker.do(task)


def compute_histograms(
    site: Site, study: StudyId, plan: Plan, begin: Callable[[], Callable[[], NDArray[np.int64]]]
) -> NDArray[np.int64]:
    """Exact counts of this hospital's teachers for every public case, int64 (queries, classes).

    Raises:
        As the worker says.
    """

    def begun() -> Callable[[Checkpoints], NDArray[np.int64]]:
        work = begin()
        return lambda _: work()

    def pack(counts: NDArray[np.int64]) -> bytes:
        return encode(_packed(("counts", counts)))

    def unpack(data: bytes) -> NDArray[np.int64]:
        return _unpacked(decode(data, _Array))

    name = f"study {study.hex()[:12]}: its teachers"
    return site.worker.do(Task(study.hex(), name, plan.digest, begun, pack, unpack))


def compute_student(site: Site, study: StudyId, plan: Plan, state: LearningState) -> Model:
    """The student of a labelling study.

    Raises:
        As the worker, `cases_in` and `student_from` say.
    """

    def begin() -> Callable[[Checkpoints], Model]:
        cases = cases_in(plan, site.blobs)
        return lambda _: student_from(plan, state, cases)

    name = f"study {study.hex()[:12]}: its student"
    return site.worker.do(Task(study.hex(), name, state.digest, begin, encode_model, decode_model))


def _packed(entry: tuple[str, NDArray[Any]]) -> _Array:
    name, array = entry
    kind = array.dtype.newbyteorder("<").str
    if kind not in _TYPES:
        raise InvalidInput(f"{name}: expected numbers of {', '.join(_TYPES)}, found {kind}")
    return _Array(name, kind, array.shape, array.astype(kind, copy=False).tobytes())


def _unpacked(array: _Array) -> NDArray[Any]:
    if array.type not in _TYPES:
        raise InvalidInput(f"{array.name}: expected numbers of {', '.join(_TYPES)}")
    try:
        return np.frombuffer(bytearray(array.data), dtype=array.type).reshape(array.shape)
    except ValueError:
        raise InvalidInput(f"{array.name}: not as many numbers as its shape says") from None


def _computed(data: bytes) -> tuple[Values, Memory]:
    found = decode(data, _Computed)
    return {one.name: _unpacked(one) for one in found.values}, Memory.load(found.memory)
