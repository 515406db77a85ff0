"""A study's plan: the full definition of a study, which every hospital approves before anything runs."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from medfed.encoding import Record, digest_of
from medfed.federation.data_format import (
    BinaryTarget as BinaryTarget,
)
from medfed.federation.data_format import (
    BoxesTarget as BoxesTarget,
)
from medfed.federation.data_format import (
    CategoryFeature as CategoryFeature,
)
from medfed.federation.data_format import (
    DataFormat as DataFormat,
)
from medfed.federation.data_format import (
    Feature as Feature,
)
from medfed.federation.data_format import (
    MulticlassTarget as MulticlassTarget,
)
from medfed.federation.data_format import (
    MultilabelTarget as MultilabelTarget,
)
from medfed.federation.data_format import (
    NumberFeature as NumberFeature,
)
from medfed.federation.data_format import (
    PictureFeature as PictureFeature,
)
from medfed.federation.data_format import (
    PixelsFeature as PixelsFeature,
)
from medfed.federation.data_format import (
    SurvivalTarget as SurvivalTarget,
)
from medfed.federation.data_format import (
    Target as Target,
)
from medfed.federation.robust import RobustStrategy
from medfed.identifiers import Digest, Name
from medfed.ledger.contracts.labelling_terms import LabellingTerms, VoteNoise, stages_of
from medfed.ledger.contracts.terms import (
    MAX_AGGREGATORS,
    CiphertextTerms,
    Deadlines,
    RewardPolicy,
    SealedTerms,
    Step,
    Terms,
)
from medfed.models.dataset import Task
from medfed.models.settings import ClassifierModel, LocalTraining, MlpModel, ModelSettings
from medfed.privacy.dp_sum import LatticeChoice

Text = Annotated[str, Meta(min_length=1, max_length=200)]
AlignmentText = Annotated[str, Meta(pattern=r"^([0-9a-f]{32})?\Z")]


class Purpose(Record, frozen=True):
    """What the study is about, in the first seed's words."""

    title: Text
    learning_object: Text
    equipment: Text
    application: Text


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


Mode = Literal["masked", "homomorphic", "sealed"]


class Protection(Record, frozen=True):
    """How updates are protected on their way."""

    mode: Mode = "masked"
    key_holder: Name | UnsetType = UNSET
    """homomorphic: who has the key that opens sums, and nothing but sums; never an aggregator."""
    aggregators: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=MAX_AGGREGATORS)] | UnsetType = UNSET
    """homomorphic: who adds ciphertexts; with several, all must come to the same sum. sealed: the one who opens all."""
    aggregation: RobustStrategy | UnsetType = UNSET
    """sealed: what the aggregator makes of the updates; without it their weighted mean."""

    @property
    def sealed_terms(self) -> SealedTerms | UnsetType:
        """The contract's side of it; unset where nothing is sealed."""
        if self.mode != "sealed" or self.aggregators is UNSET:
            return UNSET
        chosen = RobustStrategy() if self.aggregation is UNSET else self.aggregation
        return SealedTerms(self.aggregators[0], chosen.faulty if chosen.kind == "multi-krum" else 0)

    @property
    def ciphertext_terms(self) -> CiphertextTerms | UnsetType:
        """The contract's side of it; unset where nothing is encrypted."""
        if self.mode != "homomorphic" or self.key_holder is UNSET or self.aggregators is UNSET:
            return UNSET
        return CiphertextTerms(self.key_holder, tuple(sorted(self.aggregators)))


class Participation(Record, frozen=True):
    """Who takes part, and how many suffice."""

    hospitals: Annotated[tuple[Name, ...], Meta(min_length=3, max_length=50)]
    quorum: Annotated[int, Meta(ge=3, le=50)]
    min_examples: Annotated[int, Meta(ge=1, le=10_000_000)] = 20
    max_examples: Annotated[int, Meta(ge=1, le=10_000_000)] = 1_000_000
    max_attempts: Annotated[int, Meta(ge=1, le=64)] = 3


class TrainingNoise(Record, frozen=True):
    """Differential privacy for an ordinary study: each hospital's L2 clip, and Skellam noise in the masked sum."""

    unit: Literal["hospital", "patient"]
    """What the promise protects: a hospital's whole contribution, or any change to one patient's data."""
    clip: Annotated[float, Meta(gt=0)]
    """C: the L2 norm that a hospital's weighted update may have; every hospital weighs the same."""
    multiplier: Annotated[float, Meta(gt=0)]
    """Standard deviation of the noise on a coordinate of the sum over C."""
    lattice: LatticeChoice
    """The integers that values and noise lie on; `study check` says which ones do."""
    epsilon: Annotated[int, Meta(ge=1, lt=2**53)]
    """What all rounds may cost, in millionths."""
    delta: Annotated[int, Meta(ge=1, lt=10**15)]
    """In units of 10^-15."""
    spare: Annotated[int, Meta(ge=0, le=10_000)] = 0
    """Rounds more than planned that may be released, should rounds fail."""
    dropouts: Annotated[int, Meta(ge=0, le=49)] = 0
    colluding: Annotated[int, Meta(ge=1, le=49)] = 1
    attended: Annotated[int, Meta(ge=1, le=50)] = 1
    """k: the most hospitals that one patient may have been at."""
    patient_clip: Annotated[float, Meta(ge=0)] = 0.0
    """Above 0 (DP-SGD): a round is one step, and each patient's gradient is clipped to this before they add up."""
    divisor: Annotated[int, Meta(ge=1, le=10_000_000)] = 1
    """What each hospital divides the sum of its patients' gradients by: a number in the plan, not one of its own."""


class Student(Record, frozen=True):
    """The model that a labelling study releases: trained on public cases with the labels that the votes gave them."""

    local: LocalTraining
    model: ClassifierModel = MlpModel()
    confidence: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """Cases without a label are learned too where a first student is as sure as this; 0: never."""


class Labelling(Record, frozen=True):
    """A labelling study (PATE): `model` and `training.local` are the teachers', and only the student is released."""

    noise: VoteNoise
    cases: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    """SHA-256 of the public cases: a CSV file with the plan's features and nothing else, a case a row."""
    queries: Annotated[int, Meta(ge=1, le=1_000_000)]
    """The first so many cases are voted on."""
    batch: Annotated[int, Meta(ge=1, le=1_000_000)]
    """Cases in one round."""
    teachers: Annotated[tuple[Annotated[int, Meta(ge=1, le=10_000)], ...], Meta(min_length=3, max_length=50)]
    """How many each hospital trains, in the order of `participation.hospitals`."""
    epsilon: Annotated[int, Meta(ge=1, lt=2**53)]
    """What all of it may cost a patient, in millionths."""
    delta: Annotated[int, Meta(ge=1, lt=10**15)]
    """In units of 10^-15."""
    student: Student
    answers: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    """Confident only: the most second histograms in all."""
    spare: Annotated[int, Meta(ge=0, le=10_000)] = 0
    """Batches more than planned that may be released, should rounds fail."""
    dropouts: Annotated[int, Meta(ge=0, le=49)] = 0
    colluding: Annotated[int, Meta(ge=1, le=49)] = 1
    attended: Annotated[int, Meta(ge=1, le=50)] = 1
    """k: the most hospitals that one patient may have been at."""
    accounting: str = "data-independent"
    """How ε is worked out. There is one way: an ε that depends on the votes tells about them."""

    @property
    def batches(self) -> int:
        """Batches in which the queries are voted on."""
        return -(-self.queries // self.batch)

    @property
    def terms(self) -> LabellingTerms:
        """The contract's side."""
        stages, rounds = stages_of(self.noise), self.batches + self.spare
        sizes = (self.batch, max(1, self.answers // self.batches))[:stages]
        return LabellingTerms(
            noise=self.noise,
            sizes=sizes,
            budget=tuple(size * rounds for size in sizes),
            dropouts=self.dropouts,
            colluding=self.colluding,
            attended=self.attended,
            epsilon=self.epsilon,
            delta=self.delta,
        )


class Aligned(Record, frozen=True):
    """Which completed alignments say what cases are learnt from; only in plans over case libraries."""

    signatures: AlignmentText = ""
    """The alignment of signatures whose shared cases are the training set, in hexadecimal; empty: all cases."""
    patients: AlignmentText = ""
    """The alignment of patients by which nobody counts twice, in hexadecimal; empty: everybody counts."""
    least_hospitals: Annotated[int, Meta(ge=2, le=50)] = 2
    """A case is shared when so many hospitals have its signature."""


class Hiding(Record, frozen=True):
    """Learning from cases of which findings are hidden by chance, as a question leaves much unsaid; see `hiding`."""

    widths: Annotated[tuple[Annotated[int, Meta(ge=1, le=10_000)], ...], Meta(min_length=1, max_length=10_000)]
    """How many features in a row make up each finding, which is hidden whole: then all of them are 0."""
    share: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    """The chance that a finding is hidden; one always stays."""
    copies: Annotated[int, Meta(ge=1, le=100)] = 10
    """Copies of each case in a round, drawn anew in the next."""


class Weighing(Record, frozen=True):
    """Counting which values go with which outcome, from which the weights of attributes are learned; see `weighing`.

    Everybody who has the model has the counts, summed over the hospitals' training patients.
    """

    sizes: Annotated[tuple[Annotated[int, Meta(ge=0, le=65_536)], ...], Meta(min_length=1, max_length=10_000)]
    """How many values each attribute is counted by; column `value_N` says which one a case has."""
    outcomes: Annotated[int, Meta(ge=1, le=1024)]
    """Column `outcome` says which of so many a case has."""


class Words(Record, frozen=True):
    """Agreeing on words: in a labelling study whose public cases are the concepts of a vocabulary; see `word_study`."""

    candidates: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    """Digest of the candidate vocabulary."""
    least_patients: Annotated[int, Meta(ge=1, le=10_000_000)] = 5
    """A hospital votes for a concept that it has recorded of so many patients."""
    most_concepts: Annotated[int, Meta(ge=1, le=10_000)] = 3
    """A patient counts for no more of its concepts, chosen by chance, and so pays for no more."""


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
    labelling: Labelling | UnsetType = UNSET
    """Only in a labelling study."""
    aligned: Aligned | UnsetType = UNSET
    """Only where the training sets come from alignments."""
    noise: TrainingNoise | UnsetType = UNSET
    """Only in a study that is trained with differential privacy."""
    hiding: Hiding | UnsetType = UNSET
    """Only where findings are hidden in training."""
    weighing: Weighing | UnsetType = UNSET
    """Only where attributes' weights are learned."""
    words: Words | UnsetType = UNSET
    """Only in a labelling study in which hospitals agree on a vocabulary."""

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
            BoxesTarget: "detection",
        }
        return kinds[type(self.data.target)]

    @property
    def inputs(self) -> int:
        """Columns of an encoded row; see `features`."""
        return sum(feature.width for feature in self.data.features)

    @property
    def side(self) -> int:
        """Pixels of a picture's longer side; 0 in a study over tables."""
        return self.data.picture.side if self.data.picture is not None else 0

    @property
    def outputs(self) -> int:
        """Numbers that the model predicts for a row."""
        target = self.data.target
        if isinstance(target, (MulticlassTarget, BoxesTarget)):
            return len(target.classes)
        return len(target.columns) if isinstance(target, MultilabelTarget) else 1

    def terms(self, initial: Digest) -> Terms:
        """The contract's side of this plan; `initial` is the digest of the starting learning state."""
        people, labelling = self.participation, self.labelling
        steps = (Step("statistics"), Step("training", self.training.rounds), Step("evaluation"))
        if isinstance(self.noise, TrainingNoise):
            steps = (Step("training", self.training.rounds),)  # every exact count would tell of a patient
        if isinstance(labelling, Labelling):
            steps = (Step("votes", labelling.batches * stages_of(labelling.noise)),)
        return Terms(
            plan=self.digest,
            invited=tuple(sorted(people.hospitals)),
            steps=steps,
            quorum=people.quorum,
            min_examples=people.min_examples,
            max_examples=people.max_examples,
            max_attempts=people.max_attempts,
            initial=initial,
            deadlines=self.deadlines,
            rewards=self.rewards,
            labelling=labelling.terms if isinstance(labelling, Labelling) else UNSET,
            ciphertexts=self.protection.ciphertext_terms,
            sealed=self.protection.sealed_terms,
        )
