"""A run whose network nobody trained, but whose probabilities differ from image to image."""

import numpy as np
import pytest

from alexnet_keras import AlexNet
from alexnet_keras.interop.exported import samples_of
from alexnet_keras.runs import Run


def make_run(path, recipe, prepared, **facts):
    """A run with a model of the recipe, whose mean is an image unlike its mirror image."""
    data = {**prepared.facts, "titles": ["Blau", "grün", "красный"]}
    known = {"classes": list(prepared.classes), "data": data, "recipe": recipe.name, "precision": "float32"}
    run = Run.create(path, recipe, {**known, **facts})
    mean = np.random.default_rng(3).uniform(60, 180, (256, 256, 3))
    precision = facts.get("precision", "float32")
    model = AlexNet(recipe, classes=3, mean_image=mean, seed=1, dtype=precision)
    model.save(run.model_path)
    return run


@pytest.fixture(scope="session")
def run_of(prepared, tmp_path_factory):
    """Makes a run of a recipe."""

    def made(recipe, **facts):
        return make_run(tmp_path_factory.mktemp("runs") / "run", recipe, prepared, **facts)

    return made


@pytest.fixture(scope="session")
def run(run_of, tiny):
    """A run of the recipe `tiny`."""
    return run_of(tiny)


@pytest.fixture(scope="session")
def samples(prepared):
    """Twelve images."""
    return samples_of(prepared, "val", 64)
