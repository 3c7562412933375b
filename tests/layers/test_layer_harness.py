"""Keras's own harness for layers over every layer of the package, so that a Keras that breaks one is noticed.

It checks the configuration and its serialisation, `build`, symbolic against eager shapes, weights and seeds by number,
a compiled training step, and mixed precision. The training step is left out where a layer's output is a list: the
harness adds outputs up with `ops.sum`, which takes one tensor.
"""

import keras
import numpy as np
import pytest
from keras.src.testing import TestCase

from alexnet_keras import layers

MAPS = (2, 5, 4, 6)
HALF = "mixed_float16"  # of a wrapped layer, which computes in a dtype of its own whatever its wrapper's is
# arguments, shape of the input, shape of the output, trainable weights, seeds
CASES = {
    "AcrossTowers": ({"layer": layers.LocalResponseNormalization(3, dtype=HALF)}, [MAPS, MAPS], [MAPS, MAPS], 0, 0),
    "ColorNoise": ({"magnitudes": (1.0, 2.0, 3.0), "vectors": np.eye(3)}, (2, 5, 4, 3), (2, 5, 4, 3), 0, 1),
    "EachTower": ({"layer": keras.layers.MaxPooling2D(3, 2, dtype=HALF)}, [MAPS, MAPS], [(2, 2, 1, 6)] * 2, 0, 0),
    "LocalResponseNormalization": ({"n": 3, "alpha_convention": "sum"}, MAPS, MAPS, 0, 0),
    "LocallyConnected2D": ({"filters": 7, "kernel_size": 3}, MAPS, (2, 5, 4, 7), 2, 0),
    "MeanSubtraction": ({"shape": (5, 4, 3), "scale": 0.5}, (2, 5, 4, 3), (2, 5, 4, 3), 0, 0),
    "PlainDropout": ({"rate": 0.25, "seed": 3}, MAPS, MAPS, 0, 1),
    "SpatialResponseNormalization": ({"size": 3, "k": 2.0}, MAPS, MAPS, 0, 0),
    "TowerConv2D": ({"filters": 7, "kernel_size": 3, "strides": 2}, [MAPS, MAPS], [(2, 2, 1, 7)] * 2, 4, 0),
    "TowerDense": ({"units": 7, "reads": "all"}, [(2, 6), (2, 6)], [(2, 7)] * 2, 4, 0),
}


def test_no_layer_is_missing():
    assert set(CASES) == set(layers.__all__)


@pytest.mark.filterwarnings("ignore:.*(does not have any trainable weights|`shuffle=True` was passed)")
@pytest.mark.parametrize("name", CASES)
def test_a_layer_keeps_to_what_keras_asks_of_layers(name):
    options, input_shape, output_shape, weights, seeds = CASES[name]
    TestCase().run_layer_test(
        getattr(layers, name),
        init_kwargs=options,
        input_shape=input_shape,
        expected_output_shape=output_shape,
        expected_num_trainable_weights=weights,
        expected_num_non_trainable_weights=int(name == "MeanSubtraction"),
        expected_num_seed_generators=seeds,
        expected_num_losses=0,
        run_training_check=not isinstance(output_shape, list),
    )
