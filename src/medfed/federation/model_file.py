"""A released model as one file: safetensors with the plan, the statistics and a card in its metadata.

The file alone is enough to diagnose from a table in the plan's format. It holds nothing but what the study
released; loading it must never run code from it, and every part is checked against the others.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import safetensors.numpy
from msgspec import UNSET, Meta, UnsetType
from numpy.typing import NDArray
from safetensors import SafetensorError

from medfed.encoding import Record, decode, encode
from medfed.errors import InvalidInput, Unavailable
from medfed.federation.detection import detector_of
from medfed.federation.features import Standardisation, encode_features, read_features
from medfed.federation.figures import Evaluation
from medfed.federation.learning_state import LearningState
from medfed.federation.picture_table import read_source
from medfed.federation.plan import Plan, TrainingNoise
from medfed.federation.plan_rules import verify_plan
from medfed.federation.prepared import picture_rows
from medfed.federation.study import learner_of, released_parameters
from medfed.federation.tables import TableSource, table_from
from medfed.identifiers import Digest, sha256
from medfed.input_file import read_input
from medfed.models.dataset import Dataset
from medfed.models.learner import parameter_count
from medfed.models.parameters import Parameters
from medfed.models.settings import ModuleModel
from medfed.models.torch_detection import Detections
from medfed.privacy.account import DELTA_STEP, EPSILON_STEP

__all__ = [
    "MAX_FILE_BYTES",
    "Model",
    "ModelCard",
    "NoiseCard",
    "StudentCard",
    "decode_model",
    "encode_model",
    "load_model",
    "model_of",
    "save_model",
]

MAX_FILE_BYTES: Final = 4 << 30
_KEY: Final = "medfed"
"""One metadata key holds everything, so that equal models have equal bytes whatever order a writer gives keys."""
_MAX_HEADER: Final = 16 << 20


class NoiseCard(Record):
    """What the training promised, whatever the data were."""

    unit: str
    epsilon: float
    delta: float
    attended: Annotated[int, Meta(ge=1)]
    """For a patient who was at no more than so many of the hospitals."""


class StudentCard(Record):
    """Of a student of a labelling study: where its labels come from, and what they cost."""

    mechanism: str
    teachers: Annotated[int, Meta(ge=1)]
    """Of all hospitals together."""
    queries: Annotated[int, Meta(ge=1)]
    labels: Annotated[int, Meta(ge=0)]
    """Public cases that got one."""
    unlabelled: Annotated[int, Meta(ge=0)]
    agreement: float
    """The share of labelled cases in which the student says what the label says."""
    epsilon: float
    """What the whole study may have cost a patient, whatever the data were."""
    delta: float
    attended: Annotated[int, Meta(ge=1)]
    """For a patient who was at no more than so many of the hospitals."""
    unit: str = "patient"


class ModelCard(Record):
    """What a reader of the model should know. Everything is read off the study, nothing is claimed."""

    title: str
    task: str
    intended_use: str
    plan: Digest
    state: Digest
    """The learning state that the model was released from."""
    hospitals: tuple[str, ...]
    """Those invited; who took part in which round is on the ledger."""
    aggregates: Annotated[int, Meta(ge=0)]
    """Accepted aggregates in the released model."""
    validation: Evaluation | None
    """Of the released model, when the plan releases the best round."""
    test: Evaluation | None
    """On the hospitals' test patients, looked at once."""
    limits: str = (
        "Learned from the participating hospitals' patients as the plan describes them; elsewhere it must be "
        "validated first. It supports a decision and never makes one."
    )
    noise: NoiseCard | UnsetType = UNSET
    """Only of a model that was trained with differential privacy."""
    student: StudentCard | UnsetType = UNSET
    """Only of a labelling study's student."""


class _Attached(Record):
    plan: Plan
    standardisation: Standardisation
    card: ModelCard
    version: int = 1


@dataclass(frozen=True)
class Model:
    """A released model, ready to diagnose."""

    plan: Plan
    standardisation: Standardisation
    parameters: Parameters
    card: ModelCard

    def predict(self, source: TableSource) -> NDArray[Any]:
        """What the model says of each row of a table, or picture of an image set, in the plan's format (no target is
        needed).

        Float64 probabilities: binary (n,), multiclass and multilabel (n, k); survival: risk scores (n,); a detector's
        best scores of each class (n, k).

        Raises:
            InvalidInput: a column is missing or a cell is not of its kind.
        """
        if self.plan.data.picture is not None:
            return learner_of(self.plan).answers(self.parameters, self._pictures(source))
        raw = read_features(table_from(source), self.plan.data)
        features = encode_features(raw, self.plan, self.standardisation)
        return learner_of(self.plan).predict(self.parameters, features)

    def detect(self, source: TableSource) -> list[Detections]:
        """The boxes that a detector finds in each picture of an image set, in the set's order, best first.

        Raises:
            InvalidInput: the model is no detector, or `source` no image set.
        """
        if self.plan.data.picture is None:
            raise InvalidInput("model: it was made for tables and finds no boxes")
        return list(detector_of(learner_of(self.plan)).detections(self.parameters, self._pictures(source)))

    def _pictures(self, source: TableSource) -> Dataset:
        rows = picture_rows(self.plan, read_source(source))
        width = (self.plan.outputs,) if self.plan.task in ("detection", "multilabel") else ()
        return rows.dataset(np.zeros((len(rows.positions), *width), dtype=np.float32))

    @property
    def digest(self) -> Digest:
        """SHA-256 of the file."""
        return sha256(encode_model(self))


def model_of(plan: Plan, state: LearningState) -> Model:
    """The model that a study in `state` releases.

    Raises:
        InvalidInput: the statistics round has not been absorbed.
    """
    if state.standardisation is None:
        raise InvalidInput("model: expected a learning state after the statistics round")
    is_best = plan.training.best_round and state.best is not None
    card = ModelCard(
        title=plan.purpose.title,
        task=plan.task,
        intended_use=plan.purpose.application,
        plan=plan.digest,
        state=state.digest,
        hospitals=plan.participation.hospitals,
        aggregates=state.best.trained if is_best and state.best else state.trained,
        validation=state.validation if state.test is not None or is_best else None,
        test=state.test,
        noise=_noise_card(plan),
    )
    return Model(plan, state.standardisation, released_parameters(plan, state), card)


def _noise_card(plan: Plan) -> NoiseCard | UnsetType:
    noise = plan.noise
    if not isinstance(noise, TrainingNoise):
        return UNSET
    return NoiseCard(noise.unit, noise.epsilon / EPSILON_STEP, noise.delta / DELTA_STEP, noise.attended)


def encode_model(model: Model) -> bytes:
    """The model's safetensors file; equal models give equal bytes."""
    attached = encode(_Attached(model.plan, model.standardisation, model.card))
    text = base64.b64encode(attached).decode("ascii")
    arrays = {name: np.ascontiguousarray(array) for name, array in model.parameters.items()}
    return safetensors.numpy.save(arrays, metadata={_KEY: text})


def decode_model(data: bytes) -> Model:
    """The model whose file is `data`.

    Raises:
        InvalidInput: it is damaged, made by something else, or its parts do not belong together.
    """
    attached = _read_attached(data)
    verify_plan(attached.plan)
    try:
        arrays = safetensors.numpy.load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"model file: {error}") from None
    expected = _expected_shapes(attached.plan, arrays)
    if {name: array.shape for name, array in arrays.items()} != dict(expected):
        raise InvalidInput("model file: its arrays are not those of the model that its plan describes")
    if any(array.dtype != np.float32 for array in arrays.values()):
        raise InvalidInput("model file: expected float32 arrays")
    if attached.card.plan != attached.plan.digest:
        raise InvalidInput("model file: the card names another plan")
    parameters = Parameters.from_arrays({name: arrays[name] for name in expected})
    return Model(attached.plan, attached.standardisation, parameters, attached.card)


def _expected_shapes(plan: Plan, arrays: Mapping[str, NDArray[Any]]) -> Mapping[str, tuple[int, ...]]:
    """What the plan's model consists of; of a module of one's own only how much, because no file may make code run."""
    learner = learner_of(plan)
    if not isinstance(plan.model, ModuleModel):
        return learner.shapes
    found = {name: array.shape for name, array in arrays.items()}
    return found if sum(array.size for array in arrays.values()) == parameter_count(learner) else {}


def save_model(path: Path, model: Model) -> None:
    """Write the model's file.

    Raises:
        Unavailable: the file cannot be written.
    """
    try:
        path.write_bytes(encode_model(model))
    except OSError as error:
        raise Unavailable(f"model file {path}: {error.strerror or error}") from None


def load_model(path: Path | str) -> Model:
    """The model in a file.

    Raises:
        InvalidInput: it is absent, too large or damaged.
    """
    path = Path(path)
    return decode_model(read_input(path, MAX_FILE_BYTES, f"model file {path}"))


def _read_attached(data: bytes) -> _Attached:
    """What the metadata holds. A safetensors file is a little-endian length, that much JSON, then the arrays."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(_MAX_HEADER, len(data) - 8):
        raise InvalidInput("model file: not a safetensors file")
    try:
        text = json.loads(data[8 : 8 + length])["__metadata__"][_KEY]
        attached = base64.b64decode(text, validate=True)
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error):
        raise InvalidInput(f"model file: expected metadata under {_KEY!r}, found none") from None
    return decode(attached, _Attached)
