"""The kernels of the first layer: scaling, and training steps side by side."""

import numpy as np
import pytest
from PIL import Image
from tiers import rest_slow

from alexnet_keras import AlexNet
from alexnet_keras.errors import DataError, NotFiniteError, UsageError
from alexnet_keras.network.kernels import compare_towers, first_kernels, kernel_grid, largest_weight
from alexnet_keras.runs import Run
from alexnet_keras.training.records import KernelSnapshot, kernel_snapshots, save_kernels
from alexnet_keras.visualization import kernels as drawing
from alexnet_keras.visualization.kernels import draw_kernels, draw_kernels_over_time, draw_towers, moments_shown


def test_kernels_are_shown_in_order_on_grey_each_at_its_own_scale():
    kernels = np.zeros((2, 2, 3, 5), np.float32)
    kernels[0, 0, 0, 1] = 4.0  # red up
    kernels[1, 1, 2, 4] = -0.5  # blue down
    grid = kernel_grid(kernels, columns=3)
    assert grid.shape == (5, 8, 3)  # two rows of three, a pixel apart
    np.testing.assert_array_equal(grid[0, 0], [0.5, 0.5, 0.5])
    np.testing.assert_array_equal(grid[0, 3], [1.0, 0.5, 0.5])
    np.testing.assert_array_equal(grid[4, 4], [0.5, 0.5, 0.0])
    np.testing.assert_array_equal(grid[2], np.ones((8, 3)))  # the gap


def test_the_towers_kernels_are_the_first_convolutions(model):
    towers = first_kernels(model)
    assert [kernels.shape for kernels in towers] == [(11, 11, 3, 6)] * 2
    np.testing.assert_array_equal(towers[1], model.get_layer("conv1").kernels[1].numpy())


def test_a_path_may_be_a_string(model, tmp_path):
    draw_kernels(model, str(tmp_path / "kernels.png"))
    assert (tmp_path / "kernels.png").exists()


def test_an_image_format_that_does_not_exist_is_refused(model, tmp_path):
    with pytest.raises(UsageError, match=r"\.png"):
        draw_kernels(model, tmp_path / "kernels.txt")


def test_a_misspelt_scaling_is_refused(model, tmp_path):
    save_kernels(tmp_path / "kernels", first_kernels(model), 0, 0)
    for draw, drawn in ((draw_kernels, model), (draw_kernels_over_time, Run(tmp_path))):
        with pytest.raises(UsageError, match="Received: scaling='Global'"):
            draw(drawn, tmp_path / "kernels.png", "Global")


def test_kernels_that_are_not_finite_are_not_drawn_and_not_taken_for_dead_ones(tiny, tmp_path):
    model = AlexNet(tiny, classes=3, seed=0)
    model.get_layer("conv1").kernels[1].assign(np.full((11, 11, 3, 6), np.nan))
    towers = first_kernels(model)
    with pytest.raises(NotFiniteError, match="kernels of the first layer are not finite for tower b"):
        draw_kernels(model, tmp_path / "kernels.png")
    with pytest.raises(NotFiniteError, match="tower b"):
        draw_towers(towers, compare_towers(towers), tmp_path / "towers.png")


def two_kernels():
    """One ten times as strong as the other, both red at the top left."""
    kernels = np.zeros((2, 2, 3, 2), np.float32)
    kernels[0, 0, 0] = (0.5, 0.05)
    return kernels


def test_under_global_scaling_kernels_keep_their_proportions():
    towers = [two_kernels(), 2 * two_kernels()]
    assert largest_weight(towers, "global") == 1.0
    weak, strong = (kernel_grid(kernels, largest=largest_weight(towers, "global")) for kernels in towers)
    np.testing.assert_allclose([weak[0, 0, 0], weak[0, 3, 0]], [0.75, 0.525])
    np.testing.assert_allclose([strong[0, 0, 0], strong[0, 3, 0]], [1.0, 0.55])


def test_under_kernel_scaling_each_kernel_reaches_full_colour():
    assert largest_weight([two_kernels()], "kernel") is None
    grid = kernel_grid(two_kernels())
    assert grid[0, 0, 0] == grid[0, 3, 0] == 1.0


@pytest.mark.parametrize("largest", [None, 0.0])
def test_dead_kernels_are_grey(largest):
    np.testing.assert_array_equal(
        kernel_grid(np.zeros((2, 2, 3, 1), np.float32), largest=largest), np.full((2, 2, 3), 0.5)
    )


def test_about_six_moments_are_shown_most_of_them_early_with_the_first_and_the_last(tmp_path):
    moments = [KernelSnapshot(epochs, 5 * epochs, tmp_path) for epochs in range(92)]
    assert [moment.epochs for moment in moments_shown(moments)] == [0, 1, 5, 14, 36, 91]
    for few in range(1, 92):
        epochs = [moment.epochs for moment in moments_shown(moments[:few])]
        assert epochs == sorted(set(epochs)), "each once, in order"
        assert (epochs[0], epochs[-1], len(epochs)) == (0, few - 1, min(few, 6))


@pytest.mark.parametrize("scaling", rest_slow(("global", "kernel")))
def test_moments_of_training_are_shown_side_by_side(tmp_path, monkeypatch, scaling):
    random, run, shown = np.random.default_rng(0), Run(tmp_path), []
    for epochs in range(8):
        kernels = random.normal(0, 0.01 * (epochs + 1), (2, 11, 11, 3, 48)).astype(np.float32)
        save_kernels(run.kernels_path, kernels, epochs, 100 * epochs)
    monkeypatch.setattr(drawing, "show_image", lambda axis, grid, **options: shown.append(grid))
    draw_kernels_over_time(run, tmp_path / "kernels.png", scaling)
    monkeypatch.undo()
    assert len(shown) == 6 * 2
    spread = [np.abs(grid[grid < 1] - 0.5).mean() for grid in shown[::2]]
    if scaling == "global":
        assert spread == sorted(spread) and spread[-1] > 5 * spread[0], "kernels grow from left to right"
    else:
        assert max(spread) < 1.2 * min(spread)
    draw_kernels_over_time(run, tmp_path / "kernels.png", scaling)
    assert Image.open(tmp_path / "kernels.png").width > 1500


def test_moments_that_are_not_finite_or_of_another_network_are_refused(tmp_path):
    run = Run(tmp_path)
    for epochs in range(3):
        save_kernels(run.kernels_path, np.ones((2, 11, 11, 3, 8), np.float32), epochs, epochs)
    last = kernel_snapshots(run.kernels_path)[-1].path
    np.save(last, np.full((2, 11, 11, 3, 8), np.nan, np.float32))
    with pytest.raises(NotFiniteError):
        draw_kernels_over_time(run, tmp_path / "kernels.png")
    np.save(last, np.ones((1, 5, 5, 3, 8), np.float32))
    with pytest.raises(DataError, match=rf"{last.name} is damaged or of another network"):
        draw_kernels_over_time(run, tmp_path / "kernels.png")
    assert not (tmp_path / "kernels.png").exists()


def test_a_run_without_kept_kernels_is_refused(tmp_path):
    with pytest.raises(UsageError, match="kept no kernels"):
        draw_kernels_over_time(Run(tmp_path), tmp_path / "kernels.png")


@pytest.mark.parametrize("scaling", ["kernel", "global"])
def test_kernels_of_a_bfloat16_model_are_drawn(tiny, tmp_path, scaling):
    model = AlexNet(tiny, classes=3, seed=0, dtype="bfloat16")
    assert first_kernels(model)[0].dtype == np.float32
    draw_kernels(model, tmp_path / "kernels.svg", scaling)
    assert (tmp_path / "kernels.svg").stat().st_size > 1000
