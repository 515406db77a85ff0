"""What convolutional classifiers are made of, without torch: published sizes, and the same first bits everywhere."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from medfed.errors import InvalidInput
from medfed.models.image_layers import first_parameters, layers_of, shapes_of
from medfed.models.learner import learner_for
from medfed.models.settings import ImageModel, ResNet18Model, SmallCnnModel, Vgg11Model

MODELS = (SmallCnnModel(side=28), Vgg11Model(side=28, filters=16), ResNet18Model(side=28, filters=8))


def _size(model: ImageModel, outputs: int) -> int:
    return sum(math.prod(shape) for shape in shapes_of(model, outputs).values())


def test_resnet_18_has_as_many_parameters_as_published():
    assert _size(ResNet18Model(side=224, channels=3), 1000) == 11_689_512  # torchvision's table of weights


def test_vgg_11_has_the_convolutions_of_configuration_a():
    shapes = shapes_of(Vgg11Model(side=224, channels=3), 1000)
    widths = [shape[0] for name, shape in shapes.items() if len(shape) == 4]
    assert widths == [64, 128, 256, 256, 512, 512, 512, 512]
    # torchvision's vgg11_bn has 9,225,984 - 2,752 before its classifier; 2,752 are biases of convolutions.
    assert _size(Vgg11Model(side=224, channels=3), 1000) - 512 * 1000 - 1000 == 9_225_984 - 2_752


@pytest.mark.parametrize("model", MODELS)
def test_first_parameters_are_bounded_by_each_layer_s_inputs_and_differ_by_seed(model: ImageModel):
    shapes = shapes_of(model, 3)
    found = first_parameters(shapes, 5)
    assert found == first_parameters(shapes, 5)
    assert found != first_parameters(shapes, 6)
    for name, values in found.items():
        if name.endswith("bias"):
            assert not values.any()
        elif values.ndim == 1:
            assert (values == 1).all()
        else:
            inputs = math.prod(values.shape[1:])
            bound = math.sqrt(6 / inputs) if values.ndim == 4 else math.sqrt(6 / (inputs + values.shape[0]))
            assert 0.8 * bound < np.abs(values).max() <= np.float32(bound)
            assert abs(float(values.mean())) < 3 * bound / math.sqrt(values.size)


def test_first_parameters_are_these_bits():
    shapes = shapes_of(SmallCnnModel(side=28), 1)
    assert (
        first_parameters(shapes, 7).digest.hex() == "fb96b48b2b7105c2f8d947cf6831c12a3ec01abb779b2974d9350c0e7aca9f81"
    )


def test_a_plan_s_classifier_needs_no_torch_until_it_computes():
    code = (
        "import sys; from medfed.models.learner import learner_for; from medfed.models.settings import Vgg11Model;"
        "learner_for(Vgg11Model(side=28), 'multiclass', 784, 4).initial(1); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_images_of_another_size_and_layers_that_do_not_exist_are_refused():
    with pytest.raises(InvalidInput, match="1 x 28 x 28 are 784 numbers, found 49 inputs"):
        learner_for(SmallCnnModel(side=28), "binary", 49, 1)
    with pytest.raises(InvalidInput, match="no parameter is named like neck"):
        learner_for(SmallCnnModel(side=28, trainable=("neck",)), "binary", 784, 1)
    with pytest.raises(InvalidInput, match="survival"):
        learner_for(SmallCnnModel(side=28), "survival", 784, 1)
    with pytest.raises(InvalidInput, match="no image classifier"):
        layers_of(ImageModel(side=28))
    with pytest.raises(InvalidInput, match="seed"):
        first_parameters(shapes_of(MODELS[0], 1), -1)
