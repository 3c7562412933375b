"""The model on Keras's other backends, where they are installed, and what says that it needs TensorFlow."""

import importlib.util
import json
import os
import subprocess
import sys

import agreement
import keras
import numpy as np
import pytest
from untrained import untrained_run

from alexnet_keras import AlexNet, Classifier, resume, train
from alexnet_keras.backend import backend_name, require_tensorflow, tower_devices
from alexnet_keras.errors import UsageError
from alexnet_keras.evaluation.features import FeatureExtractor
from alexnet_keras.evaluation.predictor import Predictor
from alexnet_keras.recipes.toml import load_recipe, to_toml, with_overrides
from alexnet_keras.training.step import TrainingStep
from alexnet_keras.visualization.saliency import find_saliency

OTHERS = [backend for backend in agreement.BACKENDS if backend != "tensorflow"]
other_backends = pytest.mark.parametrize(
    "backend",
    [
        pytest.param(
            backend,
            marks=pytest.mark.skipif(
                importlib.util.find_spec(backend) is None,
                reason=f"{agreement.BACKENDS[backend]} is not installed; `make backends` has it",
            ),
        )
        for backend in OTHERS
    ],
)


@pytest.fixture(scope="module")
def recipes(tiny, tmp_path_factory):
    """One tower without normalisation; normalisation across two towers; two towers: a few kernels wide."""
    folder = tmp_path_factory.mktemp("recipes")
    widths = [f"network.conv{number}.filters=6" for number in range(1, 6)]
    widths += ["network.fc6.units=16", "network.fc7.units=12"]
    narrow = {name: with_overrides(load_recipe(name), widths) for name in ("torchvision", "caffe")}
    files = []
    for name, recipe in {**narrow, "tiny": tiny}.items():
        files.append(folder / f"{name}.toml")
        files[-1].write_text(to_toml(recipe))
    return [str(file) for file in files]


@pytest.mark.slow
@other_backends
@pytest.mark.parametrize(
    ("dtype", "count", "allowed"), [("float32", 3, agreement.TOLERANCE), ("mixed_bfloat16", 1, 0.03)]
)
def test_one_file_gives_the_same_logits_whichever_backend_wrote_and_read_it(
    recipes, tmp_path, backend, dtype, count, allowed
):
    wanted = {"folder": tmp_path, "recipes": recipes[-count:], "classes": 5, "images": 2, "dtype": dtype}
    found = agreement.differences(**wanted, backends=["tensorflow", backend])
    assert len(found) == count * 2 * 2
    assert max(found.values()) <= allowed, found
    assert max(found.values()) > 0, "the same backend was compared with itself"


TRAINING = """
import sys
sys.modules["tensorflow"] = None
import keras, numpy as np
from alexnet_keras import AlexNet, load_recipe
recipe = load_recipe(sys.argv[1])
crops = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype(np.uint8)
for options in ({}, {"include_top": False}, {"dtype": "mixed_float16"}):
    model = AlexNet(recipe, classes=5, seed=1, **options)
    def run(training):
        return keras.ops.convert_to_numpy(keras.ops.cast(model(crops, training=training), "float32"))
    quiet, again, first, second = run(False), run(False), run(True), run(True)
    assert np.isfinite([quiet, first, second]).all() and quiet.shape == (2, *model.output_shape[1:])
    assert (quiet == again).all() and (first != second).any()
assert model.predict(crops, verbose=0).shape == (2, 5)
print("done")
"""


@pytest.mark.slow
@other_backends
def test_dropout_and_colour_noise_run_on_every_backend_without_tensorflow(recipes, backend):
    environment = {**os.environ, "KERAS_BACKEND": backend}
    command = [sys.executable, "-c", TRAINING, recipes[-1]]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.stdout.strip() == "done", result.stderr


def on_the_command_line(*arguments, backend="jax"):
    code = "import sys; from alexnet_keras.cli.main import cli; cli(sys.argv[1:], prog_name='alexnet')"
    environment = {**os.environ, "KERAS_BACKEND": backend}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("command", ["train", "info devices", "benchmark"])
def test_commands_that_compute_say_that_they_need_tensorflow(command):
    result = on_the_command_line(*command.split())
    assert result.returncode == 2
    assert f"`alexnet {command}` needs Keras's TensorFlow backend, and Keras's backend here is jax" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_commands_that_compute_nothing_run_on_any_backend():
    result = on_the_command_line("recipes", "source", "--json")
    assert result.returncode == 0 and json.loads(result.stdout)


@pytest.mark.slow
def test_images_are_prepared_whatever_kerass_backend(images, tmp_path):
    result = on_the_command_line("prepare", images, "--out", tmp_path / "data")
    assert result.returncode == 0, result.stderr
    assert "36 train, 12 val" in result.stdout


@pytest.mark.parametrize(
    "use",
    [
        lambda model: Predictor(model),
        lambda model: FeatureExtractor(model),
        lambda model: TrainingStep(model, None, None, seed=0, batch_size=1),
        lambda model: find_saliency(model, np.zeros((1, 256, 256, 3), np.uint8)),
        lambda model: tower_devices("/CPU:0", "/CPU:1").__enter__(),
    ],
)
def test_what_computes_with_tensorflow_says_so_on_another_backend(use, tiny, monkeypatch):
    model = AlexNet(tiny, classes=3)
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(UsageError, match=r"needs Keras's TensorFlow backend, .* is torch: set KERAS_BACKEND"):
        use(model)


def test_what_another_backend_refuses_leaves_no_run_and_none_as_failed(prepared, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = untrained_run(tmp_path / "saved_models" / "done", tiny, prepared)
    before = run.facts
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    for what, refused in (
        ("Training", lambda: train(prepared, tiny)),
        ("Training", lambda: resume(run)),
        ("Classifying images", lambda: Classifier(run)),
        ("Classifying images", lambda: Classifier("torchvision")),  # before anything is downloaded
    ):
        with pytest.raises(UsageError, match=f"^{what} needs Keras's TensorFlow backend"):
            refused()
    assert run.facts == before and [path.name for path in run.path.parent.iterdir()] == ["done"]


def test_the_environment_does_not_outrank_the_backend_that_keras_has(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert backend_name() == "tensorflow"
    require_tensorflow("This")
