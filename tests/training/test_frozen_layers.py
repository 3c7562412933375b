"""Frozen layers in training: no gradient is computed for them, and they keep their bits."""

import numpy as np
import pytest
import tensorflow as tf
from recorded import Recorded
from toy_runs import new_run, start_from, trainer

from alexnet_keras import AlexNet
from alexnet_keras.errors import UsageError
from alexnet_keras.recipes.edits import edit, frozen_layers, rate_factors
from alexnet_keras.recipes.toml import load_recipe, with_overrides
from alexnet_keras.training.optimizer import new_optimizer
from alexnet_keras.training.step import TrainingStep

CONVOLUTIONS = [layer.name for layer in load_recipe("source").network.convolutions]


def frozen_in(recipe, layers):
    return edit(recipe, rate_factors(recipe.network, layers, 0.0))


def test_a_network_that_can_learn_nothing_is_refused(prepared, tiny, tmp_path):
    with pytest.raises(UsageError, match="Every layer is frozen"):
        trainer(new_run(tmp_path / "run", frozen_in(tiny, "conv1..fc8")), prepared)


def a_step(recipe, frozen):
    model = AlexNet(recipe, classes=3, seed=0)
    return TrainingStep(
        model, new_optimizer(recipe, model), tf.distribute.get_strategy(), seed=0, batch_size=4, frozen=frozen
    )


@pytest.mark.parametrize(("frozen", "filters"), [([], 10), (["conv1", "conv2"], 6), (CONVOLUTIONS, 0)])
def test_the_backward_pass_ends_at_the_first_layer_that_learns(tiny, frozen, filters):
    step = a_step(tiny, frozen)
    images, labels = tf.zeros((4, 224, 224, 3), tf.uint8), tf.zeros((4,), tf.int64)
    graph = step.compiled.get_concrete_function(images, labels, *step.scalars(0)).graph
    made = [operation.type for operation in graph.get_operations()]
    assert made.count("Conv2DBackpropFilter") == filters
    assert ("MaxPoolGrad" in made) == (frozen != CONVOLUTIONS)


@pytest.mark.slow
def test_the_layers_that_learn_do_so_as_if_the_frozen_ones_had_gradients(tiny):
    recipe = frozen_in(tiny, "conv1..conv4")
    images = np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3)).astype(np.uint8)
    ends = []
    for frozen in ([], frozen_layers(recipe.network)):
        step = a_step(recipe, frozen)
        for number in range(3):
            step(tf.constant(images), tf.constant([0, 1, 2, 0], tf.int64), number)
        ends.append([*step.model.trainable_variables, *step.optimizer.velocities])
    assert len(ends[0]) == len(ends[1]) == 60
    for with_gradients, without in zip(*ends, strict=True):
        np.testing.assert_allclose(with_gradients.numpy(), without.numpy(), rtol=1e-5, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("averaged", [0.0, 1.0])
def test_frozen_layers_keep_their_bits_for_a_whole_run_and_after_a_restart(
    one_device, prepared, tiny, tmp_path, averaged
):
    def stop():
        raise MemoryError

    run = new_run(tmp_path / "run", edit(frozen_in(tiny, "conv1..fc6"), {"training.averaging_epochs": averaged}))
    start = start_from(one_device[0])
    with pytest.raises(MemoryError):
        trainer(run, prepared, reporter=Recorded((1, 2), stop), initial=start, save_every=1).fit()
    trainer(run, prepared).fit(resume=True)
    before, after = (
        {v.path: v.numpy() for v in model.trainable_variables}
        for model in (one_device[0].load_model(), run.load_model("last"))
    )
    same = {path.split("/")[0] for path in before if before[path].tobytes() == after[path].tobytes()}
    assert same == {"conv1", "conv2", "conv3", "conv4", "conv5", "fc6"}


@pytest.mark.slow
def test_freezing_random_weights_is_reported(one_device, prepared, tiny, tmp_path):
    recipe = with_overrides(frozen_in(tiny, "conv1,conv5"), ["training.epochs=1", "network.conv5.filters=5"])
    alone, started = Recorded(), Recorded()
    start = start_from(one_device[0])
    trainer(new_run(tmp_path / "alone", recipe), prepared, reporter=alone).fit()
    trainer(new_run(tmp_path / "on", recipe), prepared, reporter=started, initial=start).fit()
    assert [warning.partition(":")[0] for warning in alone.warnings] == ["conv1, conv5"]
    assert [warning.partition(":")[0] for warning in started.warnings] == ["conv5"]


@pytest.mark.slow
def test_what_a_schedule_freezes_coasts_to_a_stop_without_a_gradient(tiny):
    """As in the released code: its velocity is multiplied with the momentum, and its kernels are still moved by it."""
    convolutions, ends = [], []
    for coasting in ((), ("conv1/kernel_a", "conv1/kernel_b")):
        model = AlexNet(tiny, classes=3, seed=5)
        optimizer = new_optimizer(tiny, model)
        images = tf.constant(np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3), np.uint8))
        labels, strategy = tf.constant([0, 1, 2, 0], tf.int64), tf.distribute.get_strategy()
        TrainingStep(model, optimizer, strategy, seed=0, batch_size=4)(images, labels, 0)
        optimizer.set_rates({"conv1": 0.0})
        before = model.get_layer("conv1").kernels[0].numpy()
        step = TrainingStep(model, optimizer, strategy, seed=0, batch_size=4, coasting=coasting)
        for number in (1, 2):
            step(images, labels, number)
        assert np.abs(model.get_layer("conv1").kernels[0].numpy() - before).max() > 0, "its velocity moved it"
        ends.append([v.numpy() for v in (*model.trainable_variables, *optimizer.velocities)])
        graph = step.compiled.get_concrete_function(images, labels, *step.scalars(1)).graph
        convolutions.append([operation.type for operation in graph.get_operations()].count("Conv2DBackpropFilter"))
    for one, other in zip(*ends, strict=True):
        np.testing.assert_array_equal(one, other)
    assert convolutions[0] - convolutions[1] == 2, "of conv1's two towers"
