"""Kernel maps and vectors as solid blocks, in the manner of figure 2 of the paper, and what joins and names them."""

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Circle, FancyArrowPatch, Polygon
from matplotlib.text import Text

from alexnet_keras.visualization.style import INK, QUIET

SLANT = (0.26, 0.18)  # how far a block of height 1 reaches back: right and up
EDGE, SMALL = 0.6, 6.5  # points


@dataclass(frozen=True)
class Slab:
    """A block: its width stands for the number of maps, its height and its depth for the two sides of a map.

    Attributes:
        x: Of its left edge.
        middle: Of its silhouette, from below to above.
        width, height: Of the front.
        depth: How far it reaches back, as a share of what a cube does.
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
        """A point of the right side, which is one map: 0 to 1 from the front to the back, and from below to above."""
        return self.x + self.width + across * self.back[0], self.bottom + up * self.height + across * self.back[1]

    @property
    def entry(self) -> tuple[float, float]:
        """Where what it reads arrives: on the left edge, as high as the middle of its right side."""
        return self.x, self.middle


def draw_slab(axis: Axes, slab: Slab, color: str, strength: float = 1.0) -> None:
    """Draws a block in a colour, weaker where `strength` is below 1."""
    (x, y), (right, up) = (slab.x, slab.bottom), slab.back
    wide, high = slab.width, slab.height
    front = [(x, y), (x + wide, y), (x + wide, y + high), (x, y + high)]
    top = [(x, y + high), (x + wide, y + high), (x + wide + right, y + high + up), (x + right, y + high + up)]
    side = [slab.on_side(*corner) for corner in ((0, 0), (1, 0), (1, 1), (0, 1))]
    for face, light in ((front, 0.55), (top, 0.72), (side, 0.38)):
        axis.add_patch(
            Polygon(
                face, facecolor=_lighter(color, 1 - (1 - light) * strength), edgecolor=_lighter(color, 1 - strength),
                linewidth=EDGE, joinstyle="round", zorder=3,
            )
        )  # fmt: skip


def draw_kernel(axis: Axes, slab: Slab, share: float, target: tuple[float, float], color: str) -> None:
    """Draws a kernel on the right side of a block, as wide as its share of a map, and what it sees meeting in a point.

    Args:
        share: side of the kernel as a share of the map's, 0..1.
        target: the point, on the block that the kernel makes.
    """
    low, high = 0.5 - min(share, 1.0) / 2, 0.5 + min(share, 1.0) / 2
    corners = [slab.on_side(*corner) for corner in ((low, low), (high, low), (high, high), (low, high))]
    axis.add_patch(Polygon(corners, facecolor="white", edgecolor=color, linewidth=EDGE, joinstyle="round", zorder=4))
    for corner in (corners[1], corners[2]):
        axis.plot(*zip(corner, target, strict=True), color=color, linewidth=EDGE, zorder=4)


def draw_mark(axis: Axes, x: float, y: float, letter: str) -> None:
    """Draws a letter in a small circle: what is done between two blocks."""
    axis.add_patch(Circle((x, y), 0.065, facecolor="white", edgecolor=QUIET, linewidth=EDGE, zorder=5))
    write(axis, x, y - 0.003, letter, size=5, zorder=6, va="center_baseline")


def draw_line(
    axis: Axes, start: tuple[float, float], end: tuple[float, float], color: str = QUIET, arrowstyle: str = "-"
) -> None:
    """Draws a line, below the blocks; with `arrowstyle="-|>"` an arrow."""
    arrow = FancyArrowPatch(
        start, end, arrowstyle=arrowstyle, mutation_scale=6, color=color, linewidth=0.8, shrinkA=0, shrinkB=0
    )
    axis.add_patch(arrow)


def write(axis: Axes, x: float, y: float, text: str, color: str = INK, size: float = SMALL, **options: Any) -> Text:
    """Writes at a point of the axes, centred on it unless `options` say otherwise."""
    return axis.text(x, y, text, **{"color": color, "fontsize": size, "ha": "center", "va": "center", **options})


def _lighter(color: str, share: float) -> tuple[float, ...]:
    """A colour mixed with white: 0 is the colour itself, 1 white."""
    return tuple(1 - (1 - channel) * (1 - share) for channel in to_rgb(color))
