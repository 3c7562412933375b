"""The figures of experiments show all that was measured."""

import pytest

from alexnet_keras.experiments import ablations, cifar_lrn, fall_2009, figure_1, figures, modern, table_1, table_2
from alexnet_keras.experiments.outcome import Comparison, Outcome, OverSeeds

ROWS = [{"epoch": (index + 1) / 4, "error": 0.75 - 0.01 * index} for index in range(40)]


@pytest.fixture
def axes_of(monkeypatch, tmp_path):
    """Draws an outcome and returns the axes, as they are written."""

    def draw(module, *comparisons, **facts):
        written = []
        monkeypatch.setattr(figures, "save_figure", lambda figure, path: written.append(figure))
        module.draw(Outcome("", comparisons, facts=facts), tmp_path / "figure.png")
        ((axes,),) = (figure.axes for figure in written)
        return axes

    return draw


def lines_over_epochs(axes):
    """The lines, without those that the figure draws across."""
    return [line for line in axes.lines if line.get_transform() == axes.transData and len(line.get_xdata()) > 1]


OVER_EPOCHS = {
    figure_1: {
        "races": {
            1: {kind: {"winner": {"rate": 0.1, "rows": ROWS}, "entrants": {"0.1": ROWS}} for kind in ("relu", "tanh")}
        }
    },
    cifar_lrn: {"runs": {1: {name: {"rows": ROWS, "error": 0.4} for name in ("with", "without")}}},
    modern: {"runs": {name: {1: {"validation_top1": [row["error"] for row in ROWS]}} for name in ("source", "modern")}},
}


@pytest.mark.parametrize("module", OVER_EPOCHS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_lines_over_epochs_are_inside_the_axes(axes_of, module):
    axes = axes_of(module, **OVER_EPOCHS[module])
    lines = lines_over_epochs(axes)
    assert len(lines) >= 2 and len(axes.get_legend().get_texts()) == 2
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    for line in lines:
        assert left == 0 < max(line.get_xdata()) <= right
        assert low <= min(line.get_ydata()) <= max(line.get_ydata()) <= high


@pytest.mark.parametrize(("module", "unit"), [(ablations, "points"), (table_2, "percent")])
def test_every_quantity_has_its_row_from_the_top_down(axes_of, module, unit):
    measured = OverSeeds((0.01, 0.03))
    rows = [Comparison("top-1 error, a", measured, unit), Comparison("top-1 error, b", None, unit, note="diverged")]
    axes = axes_of(module, *rows, Comparison("top-5 error, a", measured, unit))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert axes.get_ylim()[0] > 1 > 0 > axes.get_ylim()[1]
    assert [text.get_text() for text in axes.texts] == ["diverged"]
    assert axes.get_window_extent().contains(*axes.texts[0].get_window_extent().min), "whatever the errors are"
    dots, mean, interval = lines_over_epochs(axes)[0], axes.lines[-2], axes.lines[-1]
    assert list(dots.get_xdata()) == pytest.approx([1, 3]) and list(mean.get_xdata()) == pytest.approx([2])
    assert list(interval.get_xdata()) == pytest.approx([100 * end for end in measured.interval])


def test_table_1_has_a_bar_for_each_error(axes_of):
    measured = {1: {"top1": 0.3, "top5": 0.1, "images": 100}, 2: {"top1": 0.4, "top5": 0.1, "images": 100}}
    diverged = {"diverged": "It did."}
    systems = {"sparse-coding": measured, "cnn": {1: measured[1], 2: diverged}, "cnn-centre": {1: diverged}}
    rows = [Comparison(f"top-{k} error, sparse coding", OverSeeds((0.1,))) for k in (1, 5)]
    axes = axes_of(table_1, *rows, systems=systems)
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([35, 30, 0, 10, 10, 0])
    assert [text.get_text() for text in axes.texts] == ["35.0", "30.0", "diverged", "10.0", "10.0", "diverged"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["top-1", "top-5"]
    assert len(axes_of(table_1, rows[0], systems=systems).patches) == 3, "of few classes there is no top-5 error"


def test_more_networks_than_a_figure_can_show_end_no_experiment(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(fall_2009, "draw_curves", lambda runs, path: drawn.extend(run.name for run in runs))
    monkeypatch.setattr(fall_2009.Run, "load", lambda path: path)
    names = [f"net-{seed}" for seed in range(9)]
    fall_2009.draw(Outcome("", (), facts={"nets": names}), tmp_path / "fall-2009-mini" / "figure.png")
    assert drawn == names[:7]
