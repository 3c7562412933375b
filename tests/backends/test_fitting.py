"""`fit` by a recipe and `alexnet train` have the same losses; a page's program trains from files on every backend."""

import fitting
import numpy as np
import pytest
from test_backends import other_backends

from alexnet_keras.recipes.edits import edit
from alexnet_keras.recipes.toml import to_toml

STRONG = {"momentum": 0.5, "weight_decay": 0.3, "bias_decay": 0.1, "label_smoothing": 0.1}


def check(found, backend):
    expected, fitted, allowed = found["train"], found[backend], fitting.TOLERANCES[backend]
    assert len(fitted["losses"]) == 3 * fitting.EPOCHS
    assert fitted["losses"][0] == pytest.approx(expected["losses"][0], rel=1e-6)
    np.testing.assert_allclose(fitted["losses"], expected["losses"], rtol=allowed)
    assert fitting.difference(fitted["weights"], expected["weights"]) < allowed
    assert not np.allclose(expected["losses"][:3], expected["losses"][3:6], rtol=1e-3), "nothing was learnt"


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {f"training.{name}": value for name, value in STRONG.items()}])
def test_the_losses_of_fit_are_those_of_a_training(tiny, tmp_path, changes):
    recipe = tmp_path / "recipe-of-the-test.toml"
    recipe.write_text(to_toml(edit(tiny, changes)))
    fitting._train(tmp_path, str(recipe), images=1, batch_size=4, rate=1e-4)
    fitting._fit(tmp_path, "tensorflow")
    found = {name: dict(np.load(tmp_path / f"{name}.npz")) for name in ("train", "tensorflow")}
    check(found, "tensorflow")


@pytest.mark.slow
@other_backends
def test_the_losses_of_fit_are_those_of_a_training_on_other_backends(tiny, tmp_path, backend):
    recipe = tmp_path / "recipe-of-the-test.toml"
    recipe.write_text(to_toml(tiny))
    found = fitting.losses(tmp_path, str(recipe), images=1, batch_size=4, rate=1e-4, backends=[backend])
    check(found, backend)


@pytest.mark.slow
@other_backends
def test_the_program_that_trains_from_files_runs_without_tensorflow(tmp_path, backend):
    first, *_, last = fitting.losses_from_files(tmp_path, backend, images=20)
    assert last < first
    assert (tmp_path / "photos.keras").is_file()
