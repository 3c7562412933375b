"""Curves of runs: the legend tells them apart and covers none of them."""

from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from tiers import rest_slow

from alexnet_keras.visualization.curves import draw_curves


def run(name, rates=(0.01,) * 5):
    """A run whose errors hardly fall, with an epoch for each learning rate."""
    same = {"loss": 2.4, "val_loss": 2.3, "top1_error": 0.9}
    rows = [
        {**same, "epoch": epoch, "val_top1_error": 0.9 - 0.01 * epoch, "rate_weights": rate}
        for epoch, rate in enumerate(rates)
    ]
    return SimpleNamespace(name=name, path=Path(name), history=rows)


def test_the_learning_rate_falls_where_the_epoch_begins_that_has_it(figures, tmp_path):
    draw_curves([run("run", rates=(0.01, 0.01, 0.001))], tmp_path / "curves.png")
    (line,) = figures[0].axes[2].lines
    assert line.get_drawstyle() == "steps-pre"  # each rate up to the end of its epoch
    assert list(line.get_xdata()) == [0, 1, 2, 3] and list(line.get_ydata()) == [0.01, 0.01, 0.01, 0.001]


def test_of_one_epoch_both_points_are_seen(figures, tmp_path):
    draw_curves([run("run", rates=(0.01,))], tmp_path / "curves.png")
    for axis in figures[0].axes[:2]:
        training, validation = axis.lines[:2]
        assert training.get_marker() == validation.get_marker() == "o"
        assert training.get_markerfacecolor() == "none" and validation.get_markerfacecolor() != "none"
        assert training.get_markersize() > validation.get_markersize()
    legend = {line.get_markersize() for line in figures[0].axes[0].get_legend().get_lines()}
    assert 6 in legend


def test_no_line_leaves_the_axes(figures, tmp_path):
    rising = run("run")
    for epoch, row in enumerate(rising.history):
        row |= {"loss": 2.4 + epoch, "top1_error": 0.9 + 0.02 * epoch}
    draw_curves([rising, run("other")], tmp_path / "curves.png")
    assert [axis.get_ylim()[1] > top for axis, top in zip(figures[0].axes, (6.4, 0.98), strict=False)] == [True, True]


@pytest.mark.parametrize("count", rest_slow((7, 1, 3)))
@pytest.mark.parametrize("name", ["run", "a-run-with-a-long-name-of-forty-characters-or-more"])
def test_the_legend_is_above_the_lines_and_inside_the_figure(figures, tmp_path, name, count):
    draw_curves([run(f"{name}-{number}") for number in range(count)], tmp_path / "curves.png")
    (figure,) = figures
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    legend = figure.axes[0].get_legend()
    texts = [text.get_window_extent(renderer) for text in legend.get_texts()]
    assert len(texts) == count + 3
    for one, other in combinations(texts, 2):
        assert not one.overlaps(other)
    for box in texts:
        assert box.y0 >= figure.axes[0].bbox.y1 and box.x0 >= 0 and box.x1 <= figure.bbox.x1
