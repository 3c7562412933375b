"""Feature maps: a layer's activations for one image."""

from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path
from typing import Any, Literal, get_args

import keras
import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from alexnet_keras.data.images import SHAPE
from alexnet_keras.errors import UsageError, check_choice
from alexnet_keras.evaluation.crops import centre
from alexnet_keras.evaluation.errors import check_finite
from alexnet_keras.evaluation.features import outputs_of
from alexnet_keras.layers import EachTower, TowerConv2D
from alexnet_keras.layers.towers import tower_letter
from alexnet_keras.visualization.style import (
    INK,
    heading,
    new_figure,
    own_style,
    save_figure,
    shorten,
    show_image,
)

MOST_MAPS = 64  # of a tower
CEILING = 99.9  # percentile of absolute activations that gets the strongest colour
SHARPNESS = 56  # least width of a map in pixels, so that the lines between small maps stay thin
SIDES, ACROSS = (1.3, 2.3), 3.7  # inches: of the crop, at least and at most, and of a tower
BAR_ROOM = 0.85  # inches below the crop for the scale of colours
LETTERS = 16  # that an inch has room for
LINES = "#c4c4c4"  # around the maps, and between them, where the grid is NaN

MapScaling = Literal["map", "global"]


@dataclass(frozen=True)
class FeatureMaps:
    """A layer's maps for one image.

    Attributes:
        layer: Name of the layer.
        crop: The network's input, uint8 `(side, side, 3)`.
        towers: Float32 `(height, width, maps)` of each tower.
    """

    layer: str
    crop: np.ndarray
    towers: list[np.ndarray]


def layers_with_maps(model: keras.Model) -> list[str]:
    """List the layers whose output has a height and a width in every tower, from the first convolution on."""
    return [
        layer.name
        for layer in model.layers
        if isinstance(layer, TowerConv2D | EachTower)
        and all(len(output.shape) == 4 for output in outputs_of(model, layer.name))
    ]


def check_has_maps(model: keras.Model, layer: str) -> None:
    """Refuse a layer without feature maps.

    Raises:
        UsageError: There is no such layer, or it has no maps; the sentence names those that have some.
    """
    known = layers_with_maps(model)
    if layer not in known:
        exists = any(found.name == layer for found in model.layers)
        problem = f"The layer {layer!r} has no feature maps" if exists else f"There is no layer {layer!r}"
        raise UsageError(f"{problem}; those with maps are {', '.join(known)}.")


def feature_maps(model: keras.Model, layer: str, image: np.ndarray) -> FeatureMaps:
    """Compute the maps of a layer for the centre crop of one image.

    Args:
        model: The network.
        layer: Name of the layer.
        image: uint8 `(256, 256, 3)`.

    Raises:
        UsageError: There is no such layer, or it has no maps; the sentence names those that have some. Or the image is
            of another size or type, such as 0..1.
        NotFiniteError: The maps are not finite.
    """
    check_has_maps(model, layer)
    if image.shape != SHAPE or image.dtype != np.uint8:
        raise UsageError(f"image must be uint8 {SHAPE}. Received: {image.dtype} {image.shape}")
    (crop,) = centre(image[None], model.input_shape[1])
    outputs = keras.tree.flatten(keras.Model(model.input, outputs_of(model, layer))(crop, training=False))
    towers = [keras.ops.convert_to_numpy(keras.ops.cast(own, "float32"))[0] for own in outputs]
    for own in towers:
        check_finite(own.reshape(1, -1), f"The feature maps of the layer {layer}")
    return FeatureMaps(layer, crop[0], towers)


@own_style()
def draw_activations(found: FeatureMaps, path: str | Path, title: str = "", scaling: MapScaling = "map") -> None:
    """Draw the crop and right of it the maps, towers apart; white is zero.

    Of a tower with more than 64 maps the first 64 are shown, as its title says.

    Args:
        found: The maps.
        path: .png, .svg or .pdf.
        title: The text under the crop.
        scaling: `"map"` scales each map by its own largest activation, `"global"` all maps by that of the layer.

    Raises:
        UsageError: There is no such scaling, or the file has another suffix.
    """
    check_choice("scaling", scaling, get_args(MapScaling))
    shown = [maps[..., :MOST_MAPS] for maps in found.towers]
    signed = min(float(maps.min()) for maps in shown) < 0
    colors: dict[str, Any] = {"cmap": "RdBu_r" if signed else "Greys", "norm": Normalize(-1.0 if signed else 0.0, 1.0)}
    ceiling = _ceilings(np.concatenate([maps.reshape(-1) for maps in found.towers])[:, None])[0]
    most = max(maps.shape[-1] for maps in shown)
    columns = _columns(most)
    height = ACROSS * ceil(most / columns) / columns
    side = float(np.clip(height - BAR_ROOM, *SIDES))  # crop and scale are together as high as the maps
    figure, ((axis, *panels),) = new_figure(
        side + (ACROSS + 0.2) * len(shown),
        max(height, side + BAR_ROOM) + 0.4,
        columns=len(shown) + 1,
        width_ratios=[side] + [ACROSS] * len(shown),
    )
    show_image(axis, found.crop, shorten(title, int(LETTERS * side)))
    heading(axis, "Input")
    for tower, (panel, maps) in enumerate(zip(panels, shown, strict=True)):
        silent, count = int((maps == 0).all(axis=(0, 1)).sum()), maps.shape[-1]
        label = f"{silent} of the {count} maps {'is' if silent == 1 else 'are'} all zero" if silent else ""
        scaled = maps / (_ceilings(maps.reshape(-1, count)) if scaling == "map" else ceiling)
        show_image(panel, map_grid(scaled, columns), label, interpolation="nearest", **colors)
        heading(panel, _title(found, tower), color=INK)
        panel.set_facecolor(LINES)
    for any_axis in (axis, *panels):
        any_axis.set_anchor("N")
        any_axis.spines[:].set(visible=True, color=LINES)
    bar = axis.inset_axes((0.0, -0.5 / side, 1.0, 0.1 / side))
    figure.colorbar(ScalarMappable(**colors), cax=bar, orientation="horizontal")
    ends = (-1, 0, 1) if signed else (0, 1)
    bar.set_xticks(ends, [f"{end * (ceiling if scaling == 'global' else 1):.3g}".replace("-", "−") for end in ends])
    unit = "activity, one scale" if scaling == "global" else "activity / map's largest"
    bar.set_xlabel(unit, fontsize=7, color=INK)
    bar.tick_params(labelsize=7, colors=INK)
    save_figure(figure, path)


def map_image(maps: np.ndarray) -> np.ndarray:
    """Show a tower's maps `(height, width, maps)` side by side as one image, uint8 `(height, width, 3)`.

    Each map is scaled by its own largest activation: white is zero, red positive and blue negative; where no map has
    negative activations, black is the largest.
    """
    count = maps.shape[-1]
    signed = bool(maps.min() < 0)
    grid = map_grid(maps / _ceilings(maps.reshape(-1, count)), _columns(count))
    colors = colormaps["RdBu_r" if signed else "Greys"].with_extremes(bad=LINES)
    values = np.ma.masked_invalid(grid / 2 + 0.5 if signed else grid)
    return colors(values, bytes=True)[..., :3]


def _title(found: FeatureMaps, tower: int) -> str:
    height, width, count = found.towers[tower].shape
    number = f"the first {MOST_MAPS} of {count}" if count > MOST_MAPS else count
    return f"{found.layer}, tower {tower_letter(tower)}: {number} maps of {height}×{width}"


def map_grid(maps: np.ndarray, columns: int) -> np.ndarray:
    """Lay out maps `(height, width, maps)` in rows of one array, small ones enlarged, with lines of NaN in between."""
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
    """The absolute value with the strongest colour, for each column; 1 where all values are zero."""
    sizes = np.abs(values)
    high, largest = np.percentile(sizes, CEILING, axis=0), sizes.max(axis=0)
    return np.where(high > 0, high, np.where(largest > 0, largest, 1.0))


def _columns(count: int) -> int:
    """The number of columns for about as many rows, all of them full if possible."""
    least = ceil(sqrt(count))
    return next((number for number in range(least, 3 * least // 2 + 1) if count % number == 0), least)
