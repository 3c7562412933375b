"""What every layer promises besides what Keras's harness asks: saving, dtypes, mixed precision."""

import keras
import numpy as np
import pytest
from tiers import rest_slow

from alexnet_keras.layers import (
    AcrossTowers,
    ColorNoise,
    EachTower,
    LocallyConnected2D,
    LocalResponseNormalization,
    MeanSubtraction,
    PlainDropout,
    SpatialResponseNormalization,
    TowerConv2D,
    TowerDense,
)

MAPS = (2, 9, 9, 8)
CASES = {
    "lrn": (lambda dtype: LocalResponseNormalization(3, 0.1, 0.6, 1.0, "sum", dtype=dtype), [MAPS]),
    "spatial": (lambda dtype: SpatialResponseNormalization(3, 0.1, 0.6, 2.0, dtype=dtype), [MAPS]),
    "dropout": (lambda dtype: PlainDropout(0.3, seed=4, dtype=dtype), [MAPS]),
    "mean": (lambda dtype: MeanSubtraction((9, 9, 3), np.full(3, 7.0), dtype=dtype), [(2, 9, 9, 3)]),
    "scaled mean": (lambda dtype: MeanSubtraction((1, 1, 3), np.full(3, 7.0), 0.02, dtype=dtype), [(2, 9, 9, 3)]),
    "noise": (lambda dtype: ColorNoise((1, 2, 3), np.eye(3), 0.2, False, 3, dtype=dtype), [(2, 9, 9, 3)]),
    "conv image": (lambda dtype: TowerConv2D(4, 3, 2, (0, 1), dtype=dtype), [(2, 9, 9, 3)]),
    "across": (lambda dtype: AcrossTowers(LocalResponseNormalization(3, 0.1, dtype=dtype), dtype=dtype), [MAPS, MAPS]),
    "conv own": (lambda dtype: TowerConv2D(4, 3, 1, (1, 1), reads="own", dtype=dtype), [MAPS, MAPS]),
    "local": (lambda dtype: LocallyConnected2D(4, 3, dtype=dtype), [MAPS]),
    "conv all": (lambda dtype: TowerConv2D(4, 3, 1, (1, 1), reads="all", dtype=dtype), [MAPS, MAPS]),
    "dense": (lambda dtype: TowerDense(4, towers=1, reads="all", dtype=dtype), [(2, 5), (2, 5)]),
    "each": (lambda dtype: EachTower(keras.layers.MaxPooling2D(3, 2, dtype=dtype), dtype=dtype), [MAPS, MAPS]),
}
cases = pytest.mark.parametrize(("make", "shapes"), CASES.values(), ids=CASES)


def inputs(shapes):
    arrays = [np.random.default_rng(0).normal(0, 5, shape).astype(np.float32) for shape in shapes]
    return arrays if len(arrays) > 1 else arrays[0]


@cases
def test_a_saved_model_computes_the_same_and_loads_in_safe_mode_without_custom_objects(make, shapes, tmp_path):
    layer = make("float32")
    entries = [keras.Input(shape[1:]) for shape in shapes]
    entries = entries if len(entries) > 1 else entries[0]
    model = keras.Model(entries, layer(entries))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for before, after in zip(*(keras.tree.flatten(m(inputs(shapes))) for m in (model, loaded)), strict=True):
        np.testing.assert_array_equal(before, after)


@cases
@pytest.mark.parametrize("policy", rest_slow(("mixed_bfloat16", "mixed_float16")))
def test_mixed_precision_is_close_to_float32(make, shapes, policy):
    exact, mixed = make("float32"), make(policy)
    expected = keras.tree.flatten(exact(inputs(shapes)))
    mixed(inputs(shapes))
    if exact.weights:
        mixed.set_weights(exact.get_weights())
    for wide, narrow in zip(expected, keras.tree.flatten(mixed(inputs(shapes))), strict=True):
        compute = "float32" if isinstance(mixed, MeanSubtraction | ColorNoise) else policy.removeprefix("mixed_")
        assert keras.backend.standardize_dtype(narrow.dtype) == compute
        wide, narrow = (keras.ops.convert_to_numpy(keras.ops.cast(x, "float32")) for x in (wide, narrow))
        np.testing.assert_allclose(narrow, wide, rtol=0.03, atol=0.05 * np.abs(wide).max())


@pytest.mark.parametrize(
    "make",
    [
        lambda: LocalResponseNormalization(4),
        lambda: LocalResponseNormalization(alpha_convention="average"),
        lambda: SpatialResponseNormalization(0),
        lambda: PlainDropout(1.0),
        lambda: MeanSubtraction((1, 1, 3), scale=0.0),
        lambda: TowerConv2D(4, 3, reads="other"),
        lambda: ColorNoise((1, 2), np.eye(3)),
    ],
)
def test_impossible_arguments_are_refused_with_what_was_received(make):
    with pytest.raises(ValueError, match="Received"):
        make()
