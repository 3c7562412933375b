"""Starting from another run: what is copied, skipped and new."""

import numpy as np
from recorded import Recorded
from toy_runs import last_weights, new_run, start_from, trainer
from untrained import untrained_run

from alexnet_keras import AlexNet
from alexnet_keras.recipes.toml import from_dict, to_dict, with_overrides
from alexnet_keras.training.start import InitialWeights, copy_layers


def test_layers_of_the_same_name_and_shape_are_copied_and_the_others_reported(tiny):
    values = to_dict(tiny)
    six = {**values["network"]["convolutions"][4], "name": "conv6", "followed_by": ["relu"]}
    five = {**values["network"]["convolutions"][4], "followed_by": ["relu", "pool"]}
    values["network"]["convolutions"][4:] = [five, six]
    values["network"]["convolutions"][1]["filters"] = 10
    source = AlexNet(tiny, classes=3, seed=1)
    model = AlexNet(from_dict(values), classes=7, seed=2)
    before = {variable.path: variable.numpy() for variable in model.trainable_variables}
    origins = {origin.layer: origin for origin in copy_layers(model, source)}
    assert {name: origin.outcome for name, origin in origins.items()} == {
        "conv1": "copied",
        "conv2": "skipped",
        "conv3": "skipped",
        "conv4": "copied",
        "conv5": "copied",
        "conv6": "new",
        "fc6": "copied",
        "fc7": "copied",
        "fc8": "skipped",
    }
    assert "kernel_a is 24×3 there, kernel_a is 24×7 here" in origins["fc8"].why
    theirs = {variable.path: variable.numpy() for variable in source.trainable_variables}
    for variable in model.trainable_variables:
        layer = variable.path.split("/")[0]
        expected = theirs if origins[layer].outcome == "copied" else before
        np.testing.assert_array_equal(variable.numpy(), expected[variable.path])
    unused = [origin.layer for origin in copy_layers(source, model) if origin.outcome == "not used"]
    assert unused == ["conv6"]


def test_a_run_can_start_from_anothers_weights_with_layers_at_other_rates(one_device, prepared, tiny, tmp_path):
    frozen = [f"network.{name}.rate_factor=0" for name in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")]
    recipe = with_overrides(tiny, [*frozen, "network.fc8.rate_factor=10"])
    run = new_run(tmp_path / "run", recipe)
    reporter = Recorded()
    history = trainer(run, prepared, reporter=reporter, initial=start_from(one_device[0])).fit()
    assert {origin.outcome for origin in reporter.origins} == {"copied"}
    assert history[0]["rate_fc8"] == 10 * history[0]["rate_weights"]
    start = one_device[0].load_model().get_weights()
    *kept, kernel, bias = zip(start, last_weights(run), strict=True)
    for before, after in kept:
        np.testing.assert_array_equal(before, after)
    assert not np.allclose(*kernel) and not np.allclose(*bias)


def test_the_classifier_of_other_classes_is_left_out(prepared, tiny, tmp_path):
    """As many classes are not the same ones; of an imported run that has no names for them, they count as the same."""
    for classes, outcome in (
        (prepared.classes, "copied"),
        (prepared.classes[::-1], "skipped"),
        (("bike", "car", "train"), "skipped"),
        (("0000", "0001", "0002"), "copied"),
    ):
        run = untrained_run(tmp_path / classes[0], tiny, prepared)
        run.update({"classes": list(classes)})
        model = AlexNet(tiny, classes=3, seed=2)
        before = model.get_layer("fc8").get_weights()[0]
        origins = {each.layer: each for each in InitialWeights(run).copy_into(model, prepared.classes)}
        assert {each.outcome for each in origins.values()} == {"copied", outcome}
        assert origins["fc8"].outcome == outcome and origins["fc8"].why in ("", "its classes are others")
        assert (outcome == "skipped") == np.array_equal(model.get_layer("fc8").get_weights()[0], before)
