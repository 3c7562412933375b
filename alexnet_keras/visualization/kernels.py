"""Figure 3: the kernels of the first layer."""

from pathlib import Path

import keras
from matplotlib.figure import Figure

from alexnet_keras.kernel_grid import first_kernels, kernel_grid
from alexnet_keras.layers.each_tower import tower_letter
from alexnet_keras.visualization.style import INK, save_figure


def draw_kernels(model: keras.Model, path: Path) -> None:
    """Writes the first convolution's kernels, tower a above tower b (paper, figure 3)."""
    towers = first_kernels(model)
    grids = [kernel_grid(kernels) for kernels in towers]
    width = 9.0
    heights = [width * grid.shape[0] / grid.shape[1] for grid in grids]
    figure = Figure(figsize=(width, sum(heights) + 0.35 * len(grids)), layout="constrained")
    axes = figure.subplots(len(grids), 1, squeeze=False, height_ratios=heights)[:, 0]
    for tower, (axis, grid) in enumerate(zip(axes, grids, strict=True)):
        side = towers[tower].shape[0]
        axis.imshow(grid, interpolation="nearest")
        axis.set_title(
            f"Tower {tower_letter(tower)}: {towers[tower].shape[-1]} kernels of {side}×{side}×3",
            loc="left",
            fontsize=10,
            color=INK,
        )
        axis.axis("off")
    save_figure(figure, path)
