"""Figure 2 of the paper, drawn from a model: the layers of each tower, their inputs, and values between towers.

Kernel maps and vectors are drawn as solid blocks, as in the paper.
"""

from __future__ import annotations  # so that help() shows them as they are written

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import keras
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Polygon
from matplotlib.text import Text

from alexnet_keras.errors import UsageError
from alexnet_keras.layers.towers import tower_letter
from alexnet_keras.network.summary import LayerSummary, Transfer, summarize
from alexnet_keras.visualization.style import INK, PALE, QUIET, SERIES, own_style, save_figure

SLANT = (0.26, 0.18)  # how far a block of height 1 reaches back: right and up
EDGE, SMALL = 0.6, 8.5  # points: small text can be read where the figure is 800 pixels wide


# Inches; a unit of the axes is one inch.
LEFT = 1.1  # for the image, and for the heads of the table
POOLED, PLAIN, DENSE = 1.62, 0.84, 0.8  # columns: a convolution with pooling, one without, a fully-connected layer
MEETING = 0.24  # further width where towers meet
TALLEST, WIDEST, BAR = 0.86, 0.34, 0.1  # blocks
ROW, BETWEEN, LINE = 1.56, 0.62, 0.175  # a tower, the space between two, a line of the table
FOOT = 0.46  # the two lines of the legend
WEAK = 0.4  # strength of the colour of a pooled block
APART = 0.86  # of a block and the pooled one
MARKS = {"LRN": "N", "spatial norm": "S"}
NORMAL, LARGE = 10.0, 13.0  # points


@dataclass(frozen=True)
class Slab:
    """A block: its width stands for the number of maps, its height and depth for the two sides of a map.

    Attributes:
        x: Its left edge.
        middle: The middle of its silhouette, from bottom to top.
        width, height: Its front.
        depth: Its depth, as a share of a cube's.
    """

    x: float
    middle: float
    width: float
    height: float
    depth: float = 1.0

    @property
    def back(self) -> tuple[float, float]:
        """From the front to the back: right and up."""
        return SLANT[0] * self.height * self.depth, SLANT[1] * self.height * self.depth

    @property
    def bottom(self) -> float:
        return self.middle - (self.height + self.back[1]) / 2

    @property
    def end(self) -> float:
        """Its rightmost point."""
        return self.x + self.width + self.back[0]

    def on_side(self, across: float, up: float) -> tuple[float, float]:
        """A point of the right side, which is one map: 0 to 1 from the front to the back, and from bottom to top."""
        return self.x + self.width + across * self.back[0], self.bottom + up * self.height + across * self.back[1]

    @property
    def entry(self) -> tuple[float, float]:
        """The point where its inputs arrive: on the left edge, as high as the middle of its right side."""
        return self.x, self.middle


def _draw_slab(axis: Axes, slab: Slab, color: str, strength: float = 1.0) -> None:
    """Draw a block in a colour, weaker where `strength` is below 1."""
    (x, y), (right, up) = (slab.x, slab.bottom), slab.back
    wide, high = slab.width, slab.height
    front = [(x, y), (x + wide, y), (x + wide, y + high), (x, y + high)]
    top = [(x, y + high), (x + wide, y + high), (x + wide + right, y + high + up), (x + right, y + high + up)]
    side = [slab.on_side(*corner) for corner in ((0, 0), (1, 0), (1, 1), (0, 1))]
    edge = _lighter(color, 1 - strength)
    for face, light in ((front, 0.55), (top, 0.72), (side, 0.38)):
        fill = _lighter(color, 1 - (1 - light) * strength)
        axis.add_patch(Polygon(face, facecolor=fill, edgecolor=edge, linewidth=EDGE, joinstyle="round", zorder=3))


def _draw_kernel(axis: Axes, slab: Slab, share: float, target: tuple[float, float], color: str) -> None:
    """Draw a kernel on the right side of a block, and lines from it that meet in a point of the block it makes.

    Its side is a share of the map's, 0..1.
    """
    low, high = 0.5 - min(share, 1.0) / 2, 0.5 + min(share, 1.0) / 2
    corners = [slab.on_side(*corner) for corner in ((low, low), (high, low), (high, high), (low, high))]
    axis.add_patch(Polygon(corners, facecolor="white", edgecolor=color, linewidth=EDGE, joinstyle="round", zorder=4))
    for corner in (corners[1], corners[2]):
        axis.plot(*zip(corner, target, strict=True), color=color, linewidth=EDGE, zorder=4)


def _draw_line(
    axis: Axes, start: tuple[float, float], end: tuple[float, float], color: str = QUIET, arrowstyle: str = "-"
) -> None:
    """Draw a line below the blocks; with `arrowstyle="-|>"` an arrow."""
    style: dict[str, Any] = {"arrowstyle": arrowstyle, "mutation_scale": 6, "shrinkA": 0, "shrinkB": 0}
    axis.add_patch(FancyArrowPatch(start, end, color=color, linewidth=0.8, **style))


def _write(axis: Axes, x: float, y: float, text: str, color: str = INK, size: float = SMALL, **options: Any) -> Text:
    """Write at a point of the axes, centred on it unless `options` say otherwise."""
    return axis.text(x, y, text, **{"color": color, "fontsize": size, "ha": "center", "va": "center", **options})


def _lighter(color: str, share: float) -> tuple[float, ...]:
    """Mix a colour with white: a share of 0 leaves it as it is, 1 makes it white."""
    return tuple(1 - (1 - channel) * (1 - share) for channel in to_rgb(color))


@own_style()
def draw_architecture(model: keras.Model, path: str | Path, title: str = "", devices: Sequence[str] = ()) -> None:
    """Draw the towers as rows of blocks, and below them a table of the layers (paper, figure 2).

    A block's height and depth stand for the sides of its maps and its width for their number; the height of a
    fully-connected layer stands for its neurons. Pale blocks are pooled. A square on a block is a kernel of the next
    layer.

    Args:
        model: The network.
        path: .png, .svg or .pdf.
        title: The title; default: the model's name.
        devices: A name of each tower's device, from tower a on; default: device 1, device 2, ...

    Raises:
        UsageError: There are not as many devices as towers, or the file has another suffix.
    """
    layers = summarize(model)
    towers = max(layer.towers for layer in layers)
    devices = devices or [f"device {number}" for number in range(1, towers + 1)]
    if len(devices) != towers:
        raise UsageError(f"devices must name {towers}, one for each tower. Received: devices={devices!r}")
    lefts = list(accumulate(map(_width, layers), initial=LEFT))
    table = _table(layers)
    heights = [LINE * max(text.count("\n") + 1 for text in row) + 0.06 for row in table]
    width, height = lefts[-1], sum(heights) + towers * (ROW + BETWEEN) - BETWEEN + 0.75 + FOOT
    figure = Figure(figsize=(width, height))
    axis = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axis.set_axis_off()
    _write(axis, 0.0, height - 0.12, title or model.name, size=LARGE, weight="bold", ha="left")
    parameters, neurons = sum(layer.parameters for layer in layers), sum(layer.neurons for layer in layers)
    sums = f"{parameters:,} parameters, {neurons:,} neurons"
    _write(axis, width, height - 0.12, sums, QUIET, NORMAL, ha="right")
    middles = [height - 0.6 - ROW / 2 - tower * (ROW + BETWEEN) for tower in range(towers)]
    for tower, (middle, device) in enumerate(zip(middles, devices, strict=True)):
        _draw_tower(axis, tower, f"Tower {tower_letter(tower)}" if towers > 1 else "One tower", device, width, middle)
    for layer, left in zip(layers, lefts, strict=False):
        _write(axis, left + _width(layer) / 2, height - 0.46, layer.name, size=NORMAL, weight="bold")
    _draw_layers(axis, layers, model.input_shape[1:], lefts, middles)
    _draw_table(axis, layers, table, heights, lefts)
    _write(axis, 0.0, 0.02, _legend(layers), QUIET, ha="left", va="bottom", linespacing=1.3)
    save_figure(figure, path)


def _legend(layers: Sequence[LayerSummary]) -> str:
    """The lines below the table that explain the blocks and the marks of this figure."""
    steps = {step.text for layer in layers for step in layer.followed_by}
    blocks = ["Height and depth of a block: sides of the maps of one tower", "width: their number"]
    if any(layer.passed_on != layer.output for layer in layers):
        blocks.append("pale: pooled")
    marks = [f"{mark}: {text}" for text, mark in MARKS.items() if text in steps]
    if any(layer.transfers for layer in layers):
        marks.append("coloured arrows: values that pass between the towers, an image, forward")
    return "\n".join("; ".join(line) + "." for line in (blocks, marks) if line)


def _width(layer: LayerSummary) -> float:
    kind = DENSE if layer.kind == "dense" else PLAIN if layer.passed_on == layer.output else POOLED
    return kind + MEETING * bool(layer.transfers)


def _color(tower: int) -> str:
    return SERIES[tower % len(SERIES)]


def _draw_tower(axis: Axes, tower: int, name: str, device: str, width: float, middle: float) -> None:
    """Draw the background of a tower, with its name and that of its device."""
    left, top = LEFT - 0.08, middle + ROW / 2
    shape = "round,pad=0,rounding_size=0.08"
    band = FancyBboxPatch((left, top - ROW), width - left, ROW, boxstyle=shape, color=_color(tower), alpha=0.08, lw=0)
    axis.add_patch(band)
    _write(axis, left + 0.09, top - 0.13, name, _color(tower), weight="bold", ha="left")
    _write(axis, left + 0.84, top - 0.13, device, QUIET, ha="left")


def _draw_layers(
    axis: Axes, layers: Sequence[LayerSummary], image: tuple[int, ...], lefts: list[float], middles: list[float]
) -> None:
    """Draw the image, each layer's blocks in every tower, and the lines from one layer to the next."""
    slab = Slab(0.15, sum(middles) / len(middles) + 0.15, 0.03, 1.1 * TALLEST)
    _draw_slab(axis, slab, QUIET)
    _write(axis, 0.4, slab.bottom - 0.14, "image", weight="bold")
    _write(axis, 0.4, slab.bottom - 0.14 - LINE, _by(image))
    before, shape = [slab] * len(middles), image
    for layer, left in zip(layers, lefts, strict=False):
        made = [_slab(layers, layer.output, left + 0.14 + MEETING * bool(layer.transfers), y) for y in middles]
        passed = made
        if layer.passed_on != layer.output:
            passed = [_slab(layers, layer.passed_on, slab.x + APART, slab.middle) for slab in made]
        marks = [MARKS[step.text] for step in layer.followed_by if step.text in MARKS]
        for tower in range(layer.towers):
            slab = made[tower]
            _draw_slab(axis, slab, _color(tower))
            _write_shape(axis, slab, layer.output, INK)
            if passed is not made:
                _draw_slab(axis, passed[tower], _color(tower), WEAK)
                _write_shape(axis, passed[tower], layer.passed_on, QUIET)
                _draw_line(axis, slab.on_side(0.5, 0.5), passed[tower].entry)
            for place, mark in enumerate(marks):  # a letter in a small circle
                x, y = slab.end + 0.13, slab.middle + 0.2 * ((len(marks) - 1) / 2 - place)
                axis.add_patch(Circle((x, y), 0.085, facecolor="white", edgecolor=QUIET, linewidth=EDGE, zorder=5))
                _write(axis, x, y - 0.003, mark, size=6.5, zorder=6, va="center_baseline")
        _draw_inputs(axis, layer, before, made, shape)
        before, shape = passed, layer.passed_on


def _draw_inputs(axis: Axes, layer: LayerSummary, before: list[Slab], made: list[Slab], shape: tuple[int, ...]) -> None:
    """Draw lines to a layer's blocks from those before it: kernels within a tower, arrows between towers."""
    for tower in range(layer.towers):
        if layer.kind == "convolution":
            _draw_kernel(axis, before[tower], layer.kernel[0] / shape[0], made[tower].entry, INK)
        else:
            _draw_line(axis, before[tower].on_side(0.5, 0.5), made[tower].entry, arrowstyle="-|>")
    for transfer in layer.transfers:
        source, target = (ord(letter) - ord("a") for letter in (transfer.source, transfer.target))
        x, y = made[target].entry
        aside = 0.07 if target > source else -0.07
        _draw_line(axis, before[source].on_side(1.0, 0.5), (x, y + aside), _color(source), arrowstyle="-|>")
    if layer.transfers:
        x, y = (before[0].end + made[0].x) / 2, (made[0].middle + made[1].middle) / 2
        label = _write(axis, x, y, _passage_text(layer.transfers), linespacing=1.25)
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.0})


def _passage_text(transfers: Sequence[Transfer]) -> str:
    """The number of values that pass, in two short lines."""
    number = f"{transfers[0].values:,}"
    if len({transfer.target for transfer in transfers}) > 1:
        return f"{number}\neach way"
    return f"{number}\n{transfers[0].source if len(transfers) == 1 else 'each'} to {transfers[0].target}"


def _table(layers: Sequence[LayerSummary]) -> list[list[str]]:
    """Rows of texts: a head, then one text per layer."""
    towers = max(layer.towers for layer in layers)
    reads = {"image": "image", "own": "own tower", "all": "both towers" if towers == 2 else "all towers"}
    rows = {
        "kernels or units": [
            f"{layer.towers} × {layer.output[-1]:,}" if towers > 1 else f"{layer.output[-1]:,}" for layer in layers
        ],
        "each reads": [_by(layer.kernel) for layer in layers],
        "of": [reads[layer.reads] for layer in layers] if towers > 1 else [],
        "stride": [f"{layer.stride}" if layer.stride else "–" for layer in layers],
        "followed by": ["\n".join(step.text for step in layer.followed_by) or "–" for layer in layers],
        "neurons": [f"{layer.neurons:,}" for layer in layers],
        "parameters": [f"{layer.parameters:,}" for layer in layers],
    }
    return [[head, *texts] for head, texts in rows.items() if texts]


def _draw_table(
    axis: Axes, layers: Sequence[LayerSummary], table: list[list[str]], heights: list[float], lefts: list[float]
) -> None:
    top = sum(heights) + FOOT
    centres = [left + _width(layer) / 2 for layer, left in zip(layers, lefts, strict=False)]
    for row, height in zip(table, heights, strict=True):
        axis.plot((0, lefts[-1]), (top, top), color=PALE, linewidth=0.6)
        baseline = top - 0.9 * LINE - 0.02
        _write(axis, 0.0, baseline, row[0], QUIET, ha="left", va="baseline")
        for x, text in zip(centres, row[1:], strict=True):
            for number, line in enumerate(text.split("\n")):
                _write(axis, x, baseline - number * LINE, line, va="baseline")
        top -= height


def _slab(layers: Sequence[LayerSummary], shape: tuple[int, ...], x: float, middle: float) -> Slab:
    """The block of one tower's output, in proportion (by square roots) to the largest of the network."""
    if len(shape) == 1:
        most = max(layer.output[0] for layer in layers if layer.kind == "dense")
        return Slab(x, middle, BAR, 1.15 * TALLEST * (shape[0] / most) ** 0.5, depth=0.3)
    side = max(layer.output[0] for layer in layers if layer.kind == "convolution")
    maps = max(layer.output[-1] for layer in layers if layer.kind == "convolution")
    return Slab(x, middle, WIDEST * (shape[-1] / maps) ** 0.5, TALLEST * (shape[0] / side) ** 0.5)


def _write_shape(axis: Axes, slab: Slab, shape: tuple[int, ...], color: str) -> None:
    _write(axis, (slab.x + slab.end) / 2, slab.middle - ROW / 2 + 0.12, _by(shape), color)


def _by(shape: Sequence[int]) -> str:
    return "×".join(f"{side:,}" for side in shape)
