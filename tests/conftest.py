"""What the tests share: two logical CPU devices, and small prepared datasets that the tests draw themselves."""

import ctypes
import gc
import os
import random
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.pop("ALEXNET_HOME", None)
if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes: more threads than cores would only wait
    for threads in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(threads, "1")

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# The files that take longest, longest first, so that none of them is left for the end.
LONGEST = (
    "test_documented_commands.py",
    "test_cluster.py",
    "test_restart.py",
    "test_trials.py",
    "test_reproduce_command.py",
    "test_installed_command.py",
    "test_walkthrough.py",
    "test_trainer.py",
    "test_benchmark_command.py",
    "test_export_run.py",
    "test_guards.py",
    "test_visualize_command.py",
    "test_training_commands.py",
    "test_resume.py",
    "test_many_machines.py",
    "test_commands.py",
    "test_export_command.py",
    "test_layers_against_numpy.py",
    "test_predictions.py",
    "test_saliency.py",
    "test_ilsvrc_source.py",
    "test_errors.py",
    "test_classifier.py",
)


def pytest_configure(config):
    """Gives TensorFlow two devices, where tests run: not in a process that only hands them to others."""
    if "PYTEST_XDIST_WORKER" in os.environ or not config.getoption("numprocesses", None):
        import tensorflow as tf

        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
        )


def pytest_collection_modifyitems(items):
    """Long files first; within a file, tests stay in their order."""
    place = {name: index for index, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


def pytest_collection_finish():
    """Takes what was imported out of the garbage collector's rounds: half a million objects that stay."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def weights_without_a_seed():
    """Keras draws the seeds nobody gave from Python's generator, so every run of a test has the same weights."""
    random.seed(1)


@pytest.fixture(autouse=True)
def memory_given_back():
    """After each test that took a while, releases what its networks leave behind: else processes grow to 10 GiB.

    TensorFlow registers the gradient of every custom gradient that it traces, and with it the graph, for good.
    """
    began = time.monotonic()
    yield
    if time.monotonic() - began < 1:
        return
    from tensorflow.python.framework.ops import gradient_registry

    for name in [name for name in gradient_registry.list() if name.startswith("CustomGradient-")]:
        del gradient_registry._registry[name]
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


def draw_images(folder: Path, counts: dict[str, int], size: tuple[int, int] = (260, 300), seed: int = 0) -> Path:
    """Class folders of JPEG images, each class a colour of its own with noise."""
    rng = np.random.default_rng(seed)
    for number, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        color = np.array([(200, 60, 60), (60, 200, 60), (60, 60, 200), (200, 200, 60)][number % 4])
        for index in range(count):
            pixels = np.clip(color + rng.normal(0, 40, (*size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index:03}.jpg", quality=90)
    return folder


@pytest.fixture(scope="session")
def write_images():
    """`draw_images`, for tests that need a folder of their own."""
    return draw_images


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """Three classes in train and val folders: 36 and 12 images."""
    root = tmp_path_factory.mktemp("pictures")
    for split, count, seed in (("train", 12, 1), ("val", 4, 2)):
        draw_images(root / split, dict.fromkeys(("blue", "green", "red"), count), seed=seed)
    return root


@pytest.fixture(scope="session")
def prepared(images, tmp_path_factory):
    """The same, prepared."""
    from alexnet_keras.data.preparation import prepare
    from alexnet_keras.data.sources.folder import folder_source

    return prepare(folder_source(images), tmp_path_factory.mktemp("data") / "colors", seed=0)


@pytest.fixture(scope="session")
def tiny():
    """The topology of `source`, a few kernels wide, for training in seconds."""
    from alexnet_keras.recipes.toml import load_recipe, with_overrides

    widths = {"conv1": 6, "conv2": 8, "conv3": 8, "conv4": 8, "conv5": 6}
    changes = [f"network.{name}.filters={width}" for name, width in widths.items()]
    stds = {"conv2": 0.05, "conv3": 0.15, "conv4": 0.2, "conv5": 0.2, "fc6": 0.08, "fc7": 0.2}  # so few inputs
    changes += [f"network.{name}.initial_std={std}" for name, std in stds.items()] + ["network.fc8.initial_std=0.2"]
    changes += ["network.fc6.units=16", "network.fc7.units=12", "training.batch_size=8", "training.epochs=2"]
    changes += ["training.weight_rate=0.002", "training.bias_rate=0.004"]  # at more, rounding grows tenfold a step
    return with_overrides(load_recipe("source"), changes)
