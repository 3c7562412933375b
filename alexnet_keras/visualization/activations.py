"""Feature maps: what a layer makes of one image."""

from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from alexnet_keras.errors import UsageError
from alexnet_keras.evaluation.errors import check_finite
from alexnet_keras.evaluation.features import outputs_of
from alexnet_keras.evaluation.predictor import centre
from alexnet_keras.layers import EachTower, TowerConv2D
from alexnet_keras.layers.towers import tower_letter
from alexnet_keras.visualization.style import INK, QUIET, save_figure, shorten

MOST_MAPS = 64  # of a tower
CEILING = 99.9  # percentile of the sizes of activities that gets the strongest colour
SHARPNESS = 56  # pixels that a map is wide at least, so that the lines between small maps stay thin

LINES = "#c4c4c4"  # around the maps, and between them where the grid is NaN

MapScaling = Literal["map", "global"]


@dataclass(frozen=True)
class FeatureMaps:
    """A layer's maps of one image.

    Attributes:
        layer: Its name.
        crop: What the network saw, uint8 `(side, side, 3)`.
        towers: Float32 `(height, width, maps)` a tower.
    """

    layer: str
    crop: np.ndarray
    towers: list[np.ndarray]


def layers_with_maps(model: keras.Model) -> list[str]:
    """The layers whose output has a height and a width in every tower, from the first convolution on."""
    return [
        layer.name
        for layer in model.layers
        if isinstance(layer, TowerConv2D | EachTower)
        and all(len(output.shape) == 4 for output in outputs_of(model, layer.name))
    ]


def feature_maps(model: keras.Model, layer: str, image: np.ndarray) -> FeatureMaps:
    """The maps of a layer for the centre crop of one image, uint8 `(256, 256, 3)`.

    Raises:
        UsageError: there is no such layer, or it has no maps; the sentence names those that have.
        NotFiniteError: the maps are not finite.
    """
    known = layers_with_maps(model)
    if layer not in known:
        exists = any(found.name == layer for found in model.layers)
        problem = f"The layer {layer!r} has no feature maps" if exists else f"There is no layer {layer!r}"
        raise UsageError(f"{problem}; those with maps are {', '.join(known)}.")
    (crop,) = centre(image[None], model.input_shape[1])
    outputs = keras.Model(model.input, outputs_of(model, layer))(crop, training=False)
    maps = outputs if isinstance(outputs, list | tuple) else [outputs]
    towers = [keras.ops.convert_to_numpy(keras.ops.cast(own, "float32"))[0] for own in maps]
    for own in towers:
        check_finite(own.reshape(1, -1), f"The feature maps of the layer {layer}")
    return FeatureMaps(layer, crop[0], towers)


def draw_activations(found: FeatureMaps, path: Path, title: str = "", scaling: MapScaling = "map") -> None:
    """Writes the crop and beside it the maps, towers apart; white is zero.

    Where a tower has more than 64 maps its first 64 are shown, and its title says so.

    Args:
        path: .png, .svg or .pdf.
        title: what the image is, under the crop.
        scaling: `"map"` shows each map by its own largest activity, `"global"` all by that of the layer.

    Raises:
        UsageError: the file has another suffix.
    """
    shown = [maps[..., :MOST_MAPS] for maps in found.towers]
    signed = min(float(maps.min()) for maps in shown) < 0
    colors: dict[str, Any] = {"cmap": "RdBu_r" if signed else "Greys", "norm": Normalize(-1.0 if signed else 0.0, 1.0)}
    ceiling = _ceilings(np.concatenate([maps.reshape(-1) for maps in shown])[:, None])[0]
    columns = _columns(max(maps.shape[-1] for maps in shown))
    rows = ceil(max(maps.shape[-1] for maps in shown) / columns)
    small: dict[str, Any] = {"fontsize": 7.5, "color": INK}
    side, across = 2.3, 3.7  # inches: of the crop, and of a tower
    height = max(across * rows / columns + 0.6, side + 1.0)
    figure = Figure(figsize=(side + (across + 0.2) * len(shown), height), layout="constrained")
    places = figure.add_gridspec(1, len(shown) + 1, width_ratios=[side] + [across] * len(shown))
    axis = figure.add_subplot(places[0])
    axis.imshow(found.crop)
    axis.set_title("Input", loc="left", fontsize=9, color=QUIET)
    axis.set_xlabel(shorten(title, 36), **small)
    panels = [figure.add_subplot(places[1 + tower]) for tower in range(len(shown))]
    for tower, (panel, maps) in enumerate(zip(panels, shown, strict=True)):
        scaled = maps / (_ceilings(maps.reshape(-1, maps.shape[-1])) if scaling == "map" else ceiling)
        panel.imshow(map_grid(scaled, columns), interpolation="nearest", **colors)
        height, width, count = found.towers[tower].shape
        number = f"the first {MOST_MAPS} of {count}" if count > MOST_MAPS else count
        about = f"{found.layer}, tower {tower_letter(tower)}: {number} maps of {height}×{width}"
        panel.set_title(about, loc="left", fontsize=9, color=INK)
        if silent := int((maps == 0).all(axis=(0, 1)).sum()):
            panel.set_xlabel(
                f"{silent} of the {maps.shape[-1]} maps {'is' if silent == 1 else 'are'} all zero", **small
            )
        panel.set_facecolor(LINES)
    for any_axis in (axis, *panels):
        any_axis.set_anchor("N")
        any_axis.set_xticks([])
        any_axis.set_yticks([])
        any_axis.spines[:].set_color(LINES)
    bar = axis.inset_axes((0.0, -0.22, 1.0, 0.045))
    figure.colorbar(ScalarMappable(**colors), cax=bar, orientation="horizontal")
    ends = (-1, 0, 1) if signed else (0, 1)
    bar.set_xticks(ends, [f"{end * (ceiling if scaling == 'global' else 1):.3g}".replace("-", "−") for end in ends])
    of_what = "activity, one scale for all maps" if scaling == "global" else "activity, of each map's largest"
    bar.set_xlabel(of_what, **small)
    bar.tick_params(labelsize=7, colors=INK)
    save_figure(figure, path)


def map_grid(maps: np.ndarray, columns: int) -> np.ndarray:
    """Maps `(height, width, maps)` in rows as one array, small ones enlarged, with a line of NaN between them."""
    times = max(1, SHARPNESS // max(maps.shape[:2]))
    maps = maps.repeat(times, axis=0).repeat(times, axis=1)
    height, width, count = maps.shape
    rows = ceil(count / columns)
    grid = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), np.nan, np.float32)
    for index in range(count):
        top, left = index // columns * (height + 1), index % columns * (width + 1)
        grid[top : top + height, left : left + width] = maps[..., index]
    return grid


def _ceilings(values: np.ndarray) -> np.ndarray:
    """The size of activity with the strongest colour for each column; 1 where there is no activity at all."""
    sizes = np.abs(values)
    high, largest = np.percentile(sizes, CEILING, axis=0), sizes.max(axis=0)
    return np.where(high > 0, high, np.where(largest > 0, largest, 1.0))


def _columns(count: int) -> int:
    """Columns of about as many rows, all of them full if that can be."""
    least = ceil(sqrt(count))
    return next((number for number in range(least, 3 * least // 2 + 1) if count % number == 0), least)
