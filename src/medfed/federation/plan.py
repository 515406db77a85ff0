"""A study's plan: the full definition of a study, which every hospital approves before anything runs."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from medfed.encoding import Record, digest_of
from medfed.identifiers import Digest, Name
from medfed.ledger.contracts.terms import Deadlines, RewardPolicy, Step, Terms
from medfed.models.dataset import Task
from medfed.models.settings import LocalTraining, ModelSettings

Text = Annotated[str, Meta(min_length=1, max_length=200)]
ColumnName = Annotated[str, Meta(min_length=1, max_length=100)]


class Purpose(Record, frozen=True):
    """What the study is about, in the first seed's words."""

    title: Text
    learning_object: Text
    equipment: Text
    application: Text


class NumberFeature(Record, frozen=True, tag_field="kind", tag="number"):
    """A measured quantity. Values outside [low, high] are counted and clipped; `missing_values` read as missing."""

    name: ColumnName
    low: float
    high: float
    unit: str = "1"
    code: str = ""
    missing_values: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """Columns it gives the model: value and missing indicator."""
        return 2


class CategoryFeature(Record, frozen=True, tag_field="kind", tag="category"):
    """One of a list of candidates, compared as text after numbers are written shortest ("1.0" is "1")."""

    name: ColumnName
    values: Annotated[tuple[str, ...], Meta(min_length=2, max_length=256)]
    code: str = ""
    missing_values: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Columns it gives the model: one for each candidate, "other" and missing."""
        return len(self.values) + 2


Feature = NumberFeature | CategoryFeature


class BinaryTarget(Record, frozen=True, tag_field="kind", tag="binary"):
    """Ill (1) when the column's value is one of `positive`, well (0) when one of `negative`."""

    column: ColumnName
    positive: Annotated[tuple[str, ...], Meta(min_length=1, max_length=256)]
    negative: Annotated[tuple[str, ...], Meta(min_length=1, max_length=256)]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that hold the target."""
        return (self.column,)


class MulticlassTarget(Record, frozen=True, tag_field="kind", tag="multiclass"):
    """One of `classes`."""

    column: ColumnName
    classes: Annotated[tuple[str, ...], Meta(min_length=2, max_length=256)]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that hold the target."""
        return (self.column,)


class MultilabelTarget(Record, frozen=True, tag_field="kind", tag="multilabel"):
    """Several columns of 0 and 1, each predicted."""

    columns: Annotated[tuple[ColumnName, ...], Meta(min_length=1, max_length=1024)]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that hold the target."""
        return self.columns


class SurvivalTarget(Record, frozen=True, tag_field="kind", tag="survival"):
    """Time to an event, right-censored: `event` is 1 where it was seen, 0 where follow-up ended."""

    time: ColumnName
    event: ColumnName

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that hold the target."""
        return (self.time, self.event)


Target = BinaryTarget | MulticlassTarget | MultilabelTarget | SurvivalTarget


class DataFormat(Record, frozen=True):
    """The training-set format: what every hospital's table must have."""

    features: Annotated[tuple[Feature, ...], Meta(min_length=1, max_length=10_000)]
    target: Target
    patient: ColumnName | None = None
    """Column that identifies the patient (rows of one patient stay together); without it each row is one patient."""
    split: ColumnName | None = None
    """Column that says train, validation or test; without it a hash under the site's key splits the patients."""
    validation_fraction: Annotated[float, Meta(ge=0, lt=0.5)] = 0.15
    test_fraction: Annotated[float, Meta(ge=0, lt=0.5)] = 0.2
    rare_category: Annotated[int, Meta(ge=1, le=10_000)] = 10
    """Categories that fewer patients than this have, over all hospitals, become "other"."""

    @property
    def numbers(self) -> tuple[NumberFeature, ...]:
        """The measured quantities, in order."""
        return tuple(feature for feature in self.features if isinstance(feature, NumberFeature))

    @property
    def categories(self) -> tuple[CategoryFeature, ...]:
        """The categories, in order."""
        return tuple(feature for feature in self.features if isinstance(feature, CategoryFeature))

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that a hospital's table must have."""
        others = [name for name in (self.patient, self.split) if name is not None]
        return (*(feature.name for feature in self.features), *self.target.names, *others)


class StrategySettings(Record, frozen=True):
    """How the mean of the updates becomes the next model. `rate` is the server's learning rate."""

    name: Literal["fedavg", "fedprox", "fedavgm", "fedadagrad", "fedadam", "fedyogi", "scaffold"] = "fedavg"
    rate: Annotated[float, Meta(gt=0)] = 1.0
    momentum: Annotated[float, Meta(ge=0, lt=1)] = 0.9
    beta1: Annotated[float, Meta(ge=0, lt=1)] = 0.5
    beta2: Annotated[float, Meta(ge=0, lt=1)] = 0.99
    tau: Annotated[float, Meta(gt=0)] = 0.01


class EarlyStopping(Record, frozen=True):
    """Stop when the validation loss counter has not improved for `patience` rounds; 0 never stops."""

    patience: Annotated[int, Meta(ge=0, le=10_000)] = 0
    min_rounds: Annotated[int, Meta(ge=1, le=10_000)] = 5


class Training(Record, frozen=True):
    """The training requirements."""

    rounds: Annotated[int, Meta(ge=1, le=10_000)]
    local: LocalTraining
    strategy: StrategySettings = StrategySettings()
    seed: Annotated[int, Meta(ge=0, lt=2**32)] = 0
    """Starts the initial parameters and every hospital's order of examples."""
    clip: Annotated[float, Meta(gt=0, le=1e6)] = 16.0
    """Largest magnitude of one coordinate of an update; beyond it is clipped and counted."""
    best_round: bool = True
    """Release the round with the best validation score rather than the last."""
    stopping: EarlyStopping = EarlyStopping()
    max_update_norm: Annotated[float, Meta(ge=0)] = 0.0
    """An aggregate whose Euclidean norm passes this is rejected; 0 sets no bound."""
    max_score_drop: Annotated[float, Meta(ge=0, le=1)] = 1.0
    """A fall of the federated validation score by more than this rejects the aggregate."""


class Protection(Record, frozen=True):
    """How updates are protected on their way."""

    mode: Literal["masked"] = "masked"


class Participation(Record, frozen=True):
    """Who takes part, and how many suffice."""

    hospitals: Annotated[tuple[Name, ...], Meta(min_length=3, max_length=50)]
    quorum: Annotated[int, Meta(ge=3, le=50)]
    min_examples: Annotated[int, Meta(ge=1, le=10_000_000)] = 20
    max_examples: Annotated[int, Meta(ge=1, le=10_000_000)] = 1_000_000
    max_attempts: Annotated[int, Meta(ge=1, le=64)] = 3


class Plan(Record, frozen=True):
    """Everything that defines a study. Its digest is what hospitals approve."""

    purpose: Purpose
    data: DataFormat
    model: ModelSettings
    training: Training
    participation: Participation
    protection: Protection = Protection()
    deadlines: Deadlines = Deadlines()
    rewards: RewardPolicy = RewardPolicy()
    version: Literal[1] = 1

    @property
    def digest(self) -> Digest:
        """What hospitals approve."""
        return digest_of("medfed/plan", self)

    @property
    def task(self) -> Task:
        """What kind of thing is predicted; `models.learner.Task`."""
        kinds: dict[type[Target], Task] = {
            BinaryTarget: "binary",
            MulticlassTarget: "multiclass",
            MultilabelTarget: "multilabel",
            SurvivalTarget: "survival",
        }
        return kinds[type(self.data.target)]

    @property
    def inputs(self) -> int:
        """Columns of an encoded row; see `features`."""
        return sum(feature.width for feature in self.data.features)

    @property
    def outputs(self) -> int:
        """Numbers that the model predicts for a row."""
        target = self.data.target
        if isinstance(target, MulticlassTarget):
            return len(target.classes)
        return len(target.columns) if isinstance(target, MultilabelTarget) else 1

    def terms(self, initial: Digest) -> Terms:
        """The contract's side of this plan; `initial` is the digest of the starting learning state."""
        people = self.participation
        return Terms(
            plan=self.digest,
            invited=tuple(sorted(people.hospitals)),
            steps=(Step("statistics"), Step("training", self.training.rounds), Step("evaluation")),
            quorum=people.quorum,
            min_examples=people.min_examples,
            max_examples=people.max_examples,
            max_attempts=people.max_attempts,
            initial=initial,
            deadlines=self.deadlines,
            rewards=self.rewards,
        )
