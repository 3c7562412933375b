"""The style of figures: they are the same whatever the user's settings of matplotlib are."""

from importlib import import_module
from pkgutil import iter_modules

import matplotlib
import numpy as np
import pytest
from full_disk import full_after
from matplotlib import style

from alexnet_keras import visualization
from alexnet_keras.visualization.confusion import draw_confusion
from alexnet_keras.visualization.style import new_figure, save_figure

MODULES = [f"{visualization.__name__}.{module.name}" for module in iter_modules(visualization.__path__)]


def test_a_figure_is_the_same_under_any_settings_and_leaves_them(tmp_path):
    draw_confusion(np.eye(3), ["cat", "dog", "eel"], tmp_path / "plain.png")
    theirs = {"font.family": "monospace", "savefig.transparent": True, "figure.dpi": 50, "axes.titlesize": 40}
    with style.context(["dark_background", theirs]):
        before = dict(matplotlib.rcParams)
        draw_confusion(np.eye(3), ["cat", "dog", "eel"], tmp_path / "dark.png")
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "dark.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


@pytest.mark.parametrize("suffix", visualization.FORMATS)
def test_a_full_disk_is_an_error_of_the_system(tmp_path, suffix):
    figure, axes = new_figure(4, 4)
    axes[0, 0].scatter(*np.random.default_rng(0).random((2, 3000)))
    with full_after(30_000):
        save_figure(figure, tmp_path / f"figure{suffix}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", MODULES)
def test_every_figure_is_drawn_in_this_style(name):
    draws = {key: value for key, value in vars(import_module(name)).items() if key.startswith("draw_")}
    assert all(hasattr(function, "__wrapped__") for function in draws.values()), "decorated with own_style"
