"""What a plan says about a model and about training it at one hospital. Records only; no arrays, no learning."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from medfed.encoding import Record

__all__ = [
    "ClassifierModel",
    "CoxModel",
    "DetectorModel",
    "ImageModel",
    "LocalTraining",
    "MlpModel",
    "ModelSettings",
    "ModuleModel",
    "PictureTraining",
    "ResNet18Model",
    "SmallCnnModel",
    "Vgg11Model",
]

PositiveFloat = Annotated[float, Meta(gt=0)]
NonNegativeFloat = Annotated[float, Meta(ge=0)]


class MlpModel(Record, tag_field="kind", tag="mlp"):
    """A fully connected network; no hidden layer makes it (multinomial) logistic regression."""

    hidden: tuple[Annotated[int, Meta(ge=1, le=4096)], ...] = ()
    activation: Literal["relu", "tanh"] = "relu"


class CoxModel(Record, tag_field="kind", tag="cox"):
    """A linear Cox proportional-hazards model (Breslow ties), its partial likelihood taken within each hospital."""


class ImageModel(Record):
    """What convolutional classifiers have in common. Group normalisation, no weights from elsewhere."""

    side: Annotated[int, Meta(ge=8, le=512)]
    """Pixels of a side of the square images."""
    channels: Literal[1, 3] = 1
    """1 for grey images, 3 for colour."""
    filters: Annotated[int, Meta(ge=8, le=128, multiple_of=8)] = 64
    """Channels of the first layer, which all later ones follow from."""
    trainable: tuple[Annotated[str, Meta(min_length=1, max_length=100)], ...] = ()
    """Prefixes of the names of parameters that are trained; empty for all."""
    clip: Annotated[float, Meta(gt=0, le=1e6)] = 5.0
    """Largest norm of a batch's gradient, before penalties."""
    flip: bool = False
    """Mirror training images left to right at random; not where sides have a meaning."""
    shift: Annotated[int, Meta(ge=0, le=64)] = 0
    """Most pixels that training images are moved by at random, each way; edges are continued."""


class SmallCnnModel(ImageModel, tag_field="kind", tag="small-cnn"):
    """Three convolutions, two poolings, the mean of each channel, and a linear layer."""

    filters: Annotated[int, Meta(ge=8, le=128, multiple_of=8)] = 16


class Vgg11Model(ImageModel, tag_field="kind", tag="vgg11"):
    """VGG-11 (Simonyan and Zisserman 2015, A) with the mean of each channel in place of the two large layers."""


class ResNet18Model(ImageModel, tag_field="kind", tag="resnet18"):
    """ResNet-18 (He et al. 2016); below 64 pixels with a first layer of 3 by 3 and no pooling, as for small images."""


ClassifierModel = MlpModel | SmallCnnModel | Vgg11Model | ResNet18Model
"""What can say which class."""


Layer = Annotated[str, Meta(min_length=1, max_length=100)]


class DetectorModel(Record, tag_field="kind", tag="detector"):
    """A detector of boxes in pictures, from torchvision, with group normalisation."""

    architecture: Literal["fcos", "retinanet", "ssdlite", "faster-rcnn"] = "fcos"
    channels: Annotated[int, Meta(ge=32, le=256, multiple_of=32)] = 64
    """Of the feature pyramid."""
    trainable: Annotated[tuple[Layer, ...], Meta(max_length=64)] = ()
    """Prefixes of the names of parameters that are trained; empty for all."""


class ModuleModel(Record, tag_field="kind", tag="module"):
    """A `torch.nn.Module` of the consortium's own, for classes of pictures; see `models.approved_code`."""

    path: Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_.]{0,150}:[A-Za-z_][A-Za-z0-9_]{0,80}\Z")]
    """`package.module:name` of what makes it: called with the shape of a picture (channels, side, side) and the number
    of outputs, and named in the module's `MEDFED_MODELS`."""
    source: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    """Digest of the code: of every source file of the top-level package. `medfed model code PATH` prints it."""
    parameters: Annotated[int, Meta(ge=1, le=2**29)]
    """How many numbers it is, so that a plan can be checked without running its code."""


ModelSettings = ClassifierModel | CoxModel | DetectorModel | ModuleModel


class PictureTraining(Record):
    """What only the training of detectors, and of modules of one's own, has."""

    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    """Of the learning rate, over all rounds of the study; one-cycle has its peak at `learning_rate`."""
    gradient_clip: Annotated[float, Meta(gt=0, le=1e6)] = 5.0
    """Largest Euclidean norm of a batch's gradient."""
    flip_sideways: bool = True
    """Mirror pictures left to right at random."""
    flip_upside: bool = True
    """And upside down."""
    keep_optimizer: bool = True
    """The optimizer's state stays at the hospital from round to round; else each round starts afresh."""


class LocalTraining(Record):
    """One hospital's share of a training round. Exactly one of `steps` and `epochs` is positive."""

    steps: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    epochs: Annotated[int, Meta(ge=0, le=100_000)] = 0
    batch_size: Annotated[int, Meta(ge=0, le=1_000_000)] = 16
    """Examples a step; 0 means all of them."""
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """adamw, which decays weights apart from the gradient, is for detectors and modules of one's own."""
    learning_rate: PositiveFloat = 0.02
    momentum: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    weight_decay: NonNegativeFloat = 0.0
    """L2 penalty: adds `weight_decay * w` to the gradient of weights, not of biases."""
    proximal: NonNegativeFloat = 0.0
    """FedProx's mu: adds `mu * (w - w_start)` to the gradient."""
    pictures: PictureTraining | UnsetType = UNSET
    """Only of detectors and modules of one's own; left out, its defaults count."""

    @property
    def picture_training(self) -> PictureTraining:
        """`pictures`, or what counts where the plan leaves it out."""
        return self.pictures if isinstance(self.pictures, PictureTraining) else PictureTraining()
