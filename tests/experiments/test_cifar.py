"""The CIFAR-10 networks: what they compute, and that a stopped training resumes as if it had not been stopped."""

import math
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
from PIL import Image
from recorded import Recorded

from alexnet_keras.errors import DataError, DivergedError
from alexnet_keras.experiments import cifar_lrn, figure_1
from alexnet_keras.experiments.cifar import (
    CifarImages,
    CifarNetwork,
    CifarRun,
    CifarTrainer,
    Labelled,
    build,
    error_on,
    load_cifar,
    optimizer_of,
    random_crops,
    ten_crops,
)
from alexnet_keras.experiments.lab import Lab, Options
from alexnet_keras.layers import LocallyConnected2D

MEAN = np.full((32, 32, 3), 120, np.float32)


@pytest.fixture(scope="module")
def images():
    """Images that are dark in one half and bright in the other; which one is the class."""
    random = np.random.default_rng(0)

    def draw(count):
        labels = random.integers(0, 2, count)
        pixels = random.integers(0, 100, (count, 32, 32, 3))
        pixels[np.arange(count)[:, None], :, (16 * labels[:, None] + np.arange(16)).astype(int)] += 120
        return Labelled(pixels.astype(np.uint8), labels.astype(np.int64))

    return CifarImages(draw(512), draw(64), ("left", "right"), "drawn", "digest", "val")


def folder_of(path, size=(32, 32), splits=(("train", 3), ("test", 2)), classes=("cat", "dog")):
    for split, count in splits:
        for index, name in enumerate(classes):
            (path / split / name).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", size, (10 * index, 20, 30 + number)).save(path / split / name / f"{number}.png")
    return path


def test_a_folder_is_read_with_its_labels(tmp_path):
    found = load_cifar(str(folder_of(tmp_path)))
    assert found.train.images.shape == (6, 32, 32, 3) and len(found.test) == 4
    np.testing.assert_array_equal(found.train.images[:, 0, 0, 0], 10 * found.train.labels)
    assert found.classes == ("cat", "dog")


def test_images_that_were_replaced_are_others(tmp_path):
    """Uncompressed files keep their size whatever they show."""
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (32, 32), (1, 2, 3)).save(tmp_path / split / name / "0.bmp")
    before, again = (load_cifar(str(tmp_path)).digest for _ in range(2))
    Image.new("RGB", (32, 32), (1, 2, 4)).save(tmp_path / "test" / "dog" / "0.bmp")
    assert before == again != load_cifar(str(tmp_path)).digest


def test_the_test_error_is_of_the_test_split_where_there_is_one_and_how_the_source_was_read_is_reported(tmp_path):
    whole = folder_of(tmp_path / "whole", splits=(("train", 3), ("val", 1), ("test", 2)))
    found = load_cifar(str(whole))
    assert len(found.test) == 4 and found.split == "test"
    reporter = Recorded()
    found = load_cifar(str(folder_of(tmp_path / "part", splits=(("train", 3), ("val", 1)))), reporter)
    assert len(found.test) == 2 and found.split == "val"
    assert reporter.notes == []
    load_cifar(str(folder_of(tmp_path / "alone", splits=(("train", 3),))), reporter)
    assert "has no validation split; 20% of every class is held out" in reporter.notes[0]


def test_more_classes_than_ten_are_refused(tmp_path):
    folder = folder_of(tmp_path, classes=[f"class {number}" for number in range(11)])
    with pytest.raises(DataError, match="has 11 classes; CIFAR-10 has 10"):
        load_cifar(str(folder))


def test_images_of_another_size_are_refused(tmp_path):
    with pytest.raises(DataError, match="is 33x32; CIFAR-10's are 32x32"):
        load_cifar(str(folder_of(tmp_path, (33, 32))))


def test_random_crops_are_crops_and_half_of_them_mirrored():
    images = np.arange(400 * 32 * 32 * 3, dtype=np.int64).reshape(400, 32, 32, 3)
    crops = random_crops(images, 24, np.random.default_rng(0))
    mirrored = 0
    for image, crop in zip(images, crops, strict=True):
        flipped = crop[0, 0, 0] > crop[0, 1, 0]
        whole = crop[:, ::-1] if flipped else crop
        top, left = np.argwhere(image[..., 0] == whole[0, 0, 0])[0]
        np.testing.assert_array_equal(whole, image[top : top + 24, left : left + 24])
        mirrored += flipped
    assert 150 < mirrored < 250


def test_ten_crops_are_corners_centre_and_reflections():
    images = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3))
    views = ten_crops(images, 24)
    np.testing.assert_array_equal(views[2], images[:, 4:28, 4:28])
    np.testing.assert_array_equal(views[3], images[:, 8:, :24])
    np.testing.assert_array_equal(views[9], images[:, 8:, 8:][:, :, ::-1])


def test_a_locally_connected_layer_has_kernels_of_its_own_at_every_position():
    layer = LocallyConnected2D(4, 3, bias_initializer="random_normal")
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 3)).astype(np.float32)
    found = keras.ops.convert_to_numpy(layer(x))
    kernel, bias = (keras.ops.convert_to_numpy(weight) for weight in (layer.kernel, layer.bias))
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    for row in range(5):
        for column in range(6):
            patch = padded[:, row : row + 3, column : column + 3].reshape(2, -1)
            expected = patch @ kernel[row * 6 + column] + bias[row, column]
            np.testing.assert_allclose(found[:, row, column], expected, rtol=1e-4, atol=1e-5)


def test_the_released_networks_have_their_shapes():
    model = build(CifarNetwork("convolutional"), MEAN, seed=0)
    assert [tuple(w.shape) for w in model.weights if "kernel" in w.path] == [
        *((5, 5, 3, 32), (5, 5, 32, 32), (5, 5, 32, 64), (1024, 10)),
    ]
    model = build(CifarNetwork("local", normalize=True, side=24), MEAN, seed=0)
    assert [tuple(w.shape) for w in model.weights if "kernel" in w.path] == [
        *((5, 5, 3, 64), (5, 5, 64, 64), (36, 576, 32), (36, 288, 32), (1152, 10)),
    ]


def test_normalization_and_nonlinearity_are_all_that_differs():
    def kinds(**changes):
        layers = build(CifarNetwork("local", side=24, **changes), MEAN, seed=0).layers
        return [layer.activation.__name__ if hasattr(layer, "activation") else type(layer).__name__ for layer in layers]

    plain, normalized = kinds(), kinds(normalize=True)
    assert [kind for kind in normalized if kind != "LocalResponseNormalization"] == plain
    assert normalized.count("LocalResponseNormalization") == 2
    assert [kind.replace("tanh", "relu") for kind in kinds(activation="tanh")] == plain != kinds(activation="tanh")


def test_convolutions_do_not_decay():
    network = CifarNetwork("local", side=24, decay=0.004)
    optimizer = optimizer_of(network, model := build(network, MEAN, seed=0))
    decays = {v.path: d for v, d in zip(model.trainable_variables, optimizer.decays, strict=True)}
    assert {path for path, decay in decays.items() if decay} == {"local3/kernel", "local4/kernel", "fc10/kernel"}


@pytest.mark.slow
def test_a_training_that_was_stopped_ends_with_the_same_weights(images, tmp_path):
    network = CifarNetwork("local", normalize=True, side=24, decay=0.004)
    whole, parts = (CifarRun(tmp_path, name, network, images, seed=3, drops=(2,)) for name in ("whole", "parts"))
    straight = CifarTrainer(whole)
    straight.train(3)
    CifarTrainer(parts).train(1)
    resumed = CifarTrainer(parts)
    assert resumed.position.epoch == 1
    resumed.train(3)
    assert resumed.position.history == straight.position.history
    for one, other in zip(straight.model.weights, resumed.model.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_decides_the_training_decides_where_its_states_are(images, tmp_path):
    network = CifarNetwork("convolutional")
    run = CifarRun(tmp_path, "relu", network, images, seed=1)
    CifarTrainer(run).train(1)
    assert CifarTrainer(run).position.epoch == 1
    others = [
        CifarRun(tmp_path, "relu", network, images, seed=2),
        CifarRun(tmp_path, "relu", network, images, seed=1, dtype="mixed_bfloat16"),
        CifarRun(tmp_path, "relu", network, images, seed=1, drops=(92, 94)),
        CifarRun(tmp_path, "relu", CifarNetwork("convolutional", "tanh"), images, seed=1),
    ]
    assert len({each.folder for each in (run, *others)}) == 5
    assert [CifarTrainer(each).position.epoch for each in others] == [0] * 4
    others[0].folder.mkdir()
    for file in run.folder.iterdir():
        shutil.copy(file, others[0].folder)
    with pytest.raises(DataError, match="seed is 1 there and 2 here"):
        CifarTrainer(others[0])


@pytest.mark.slow
def test_the_network_learns_what_can_be_learnt(images, tmp_path):
    trainer = CifarTrainer(CifarRun(tmp_path, "relu", CifarNetwork("convolutional", weight_rate=0.003), images, seed=1))
    before = error_on(trainer.model, images.test, 32)
    trainer.train(8)
    assert before > 0.3 and error_on(trainer.model, images.test, 32) < 0.1
    assert [row["epoch"] for row in trainer.position.history[:5]] == [0.25, 0.5, 0.75, 1.0, 1.25]


def test_the_crossing_is_between_two_segments():
    rows = [{"epoch": 0.25 * (i + 1), "error": error} for i, error in enumerate((0.5, 0.4, 0.3, 0.2, 0.1))]
    assert figure_1.epochs_to_target(rows) == pytest.approx(0.75)  # halfway from 0.625 to 0.875
    assert figure_1.epochs_to_target(rows[:3]) == figure_1.epochs_to_target([]) == math.inf


def test_seeds_that_do_not_reach_the_target_are_counted(images, monkeypatch, tmp_path):
    """Each race has the epoch in which its winner reaches it."""
    epochs = {"relu": {1: 6, 2: 8}, "tanh": {1: 40, 2: math.inf}}

    def race(lab, images, kind, seed, most):
        return {"winner": {"rate": 0.01, "rows": [{"epoch": 1.0, "error": epochs[kind][seed]}]}}

    monkeypatch.setattr(figure_1, "load_cifar", lambda *arguments: images)
    monkeypatch.setattr(figure_1, "race", race)
    monkeypatch.setattr(figure_1, "epochs_to_target", lambda rows: rows[0]["error"])
    found = figure_1.run(Lab(Options(seeds=2), tmp_path))
    relu, tanh, ratio = (row.measured for row in found.comparisons)
    assert (relu, tanh, ratio) == ("7 (-5.71 to 19.7), 2 seeds", "1 of 2 not in 80 epochs", "-")
    assert found.summary.endswith("reached by ReLU after 7.0 epochs and by tanh with 1 of 2 seeds within 80 epochs.")
    epochs["tanh"][2] = 44
    found = figure_1.run(Lab(Options(seeds=2), tmp_path))
    assert found.comparisons[-1].ours.values == pytest.approx((40 / 6, 44 / 8))
    assert found.summary.endswith("after 42.0 epochs: ReLUs were 6.1 times as fast, where the paper has six times.")


def test_a_race_that_every_rate_leaves_ends_in_a_sentence(monkeypatch):
    """Some diverge only after the rounds, in the final."""
    rows = [{"epoch": 1.0, "error": 0.9}]
    monkeypatch.setattr(figure_1, "train", lambda *arguments: rows if arguments[-1] <= figure_1.ROUNDS[-1] else [])
    with pytest.raises(DivergedError, match="with tanh diverged at every learning rate"):
        figure_1.race(None, None, "tanh", seed=1, most=80)


def test_a_training_ends_at_its_target_and_its_history_at_the_epoch_that_is_asked_for(images, tmp_path):
    run = CifarRun(tmp_path, "relu", CifarNetwork("convolutional"), images, seed=1)
    trainer = CifarTrainer(run)
    assert len(trainer.train(2, target=1.0)) == 1
    assert trainer.position.epoch == 0
    history = CifarTrainer(run).train(2)
    assert CifarTrainer(run).train(1) == history[:4] and len(history) == 8, "a state of more epochs is there"


def test_what_was_tested_on_val_is_not_taken_for_the_test_split(images, monkeypatch, tmp_path):
    """Version 0.1 tested on val even where there is a test split; what it kept had the same inputs but for `split`."""
    monkeypatch.setattr(Lab, "kept", lambda lab, name, inputs, compute: inputs)
    inputs = {
        split: cifar_lrn.train_and_test(Lab(Options(), tmp_path), replace(images, split=split), "with", 1, 16, ())
        for split in ("val", "test")
    }
    assert set(inputs["val"]) == {"network", "data", "seed", "dtype", "drops", "epochs"}
    assert inputs["test"] == inputs["val"] | {"split": "test"}
