"""Class names in figures: every script, and no two shown alike."""

import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

from alexnet_keras.visualization import style
from alexnet_keras.visualization.confusion import draw_confusion
from alexnet_keras.visualization.style import save_figure, shorten, shorten_all

SHIPPED = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


@pytest.fixture
def installed(monkeypatch):
    """Only fonts that come with matplotlib, and a stand-in for one with Chinese characters where asked for."""

    def install(chinese):
        for name in ("_families", "_known", "_recommended"):
            monkeypatch.setattr(style, name, type(getattr(style, name))())
        files = {str(SHIPPED / "DejaVuSerif.ttf"): "DejaVu Serif", str(SHIPPED / "STIXGeneral.ttf"): "STIXGeneral"}
        monkeypatch.setattr(style, "installed_fonts", lambda: files)
        real = style.covered

        def covered(paths, signs):
            paths = list(paths)
            extra = {sign for sign in signs if sign in "猫犬"} if chinese and paths == [next(iter(files))] else set()
            return real(paths, signs) | extra

        monkeypatch.setattr(style, "covered", covered)

    return install


def test_a_font_that_has_the_characters_is_used(installed, tmp_path, caplog):
    installed(chinese=True)
    figure = Figure()
    figure.suptitle("猫: cat")
    save_figure(figure, tmp_path / "figure.png")
    assert figure.get_suptitle() == "猫: cat" and not caplog.records
    assert style._families == ["DejaVu Serif"]
    assert figure._suptitle.get_fontfamily() == [*matplotlib.rcParams["font.family"], "DejaVu Serif"]


def test_without_one_names_are_escaped_and_one_note_says_what_to_install(installed, tmp_path, caplog):
    installed(chinese=False)
    titles = ["猫", "犬", "हिन्दी", "plain", "🐟\U000e0067"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_confusion(np.eye(5), titles, tmp_path / "first.png")
        draw_confusion(np.eye(5), titles, tmp_path / "second.svg")
    assert shorten("猫 1", 20) == "\\u732b 1" and shorten("🐟\U000e0067", 20) == "\\U0001f41f"
    (note,) = caplog.records
    assert "Install Noto Emoji and Noto Sans CJK and Noto Sans Devanagari." in note.getMessage()
    assert len(note.getMessage()) < 170


def test_names_are_no_formulas_and_what_no_font_has_is_escaped(tmp_path):
    plain = ["$x_1$", "50 %", r"a\b", "a_b^c", r"\alpha", "$", "{}", "a & b #1 ~"]
    strange = ["a\x1b[31mb", "caf\udce9", "a\x00b", "\ue000"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_confusion(np.eye(12), [*plain, *strange], tmp_path / "confusion.png")
    assert list(shorten_all(plain, 20).values()) == plain
    assert [shorten(name, 20) for name in strange] == ["a\\x1b[31mb", "caf\\udce9", "a\\x00b", "\\ue000"]


def test_in_figures_of_others_dollars_begin_a_formula_as_before(tmp_path):
    with matplotlib.rc_context({"text.usetex": True}):  # as a matplotlibrc may say
        figure, ((axis,),) = style.new_figure(4, 3)
    axis.set_title("$x_1$")
    assert axis.title.get_parse_math() and axis.title.get_usetex()
    save_figure(figure, tmp_path / "figure.png")
    assert not any(text.get_parse_math() or text.get_usetex() for text in figure.findobj(Text))
    assert matplotlib.rcParams["text.parse_math"]


def test_what_is_cut_stays_apart(installed):
    installed(chinese=True)
    start = "Tomato___Tomato_Yellow_Leaf_Curl_"
    names = [f"{start}Virus", f"{start}Worm", "x" * 40, "x" * 30 + "y" + "x" * 40, "x" * 41, "short", "a  b", "a b"]
    short = shorten_all(names, 24)
    assert len(set(short.values())) == len(names) and max(map(len, short.values())) <= 24
    assert short["short"] == "short" and short[f"{start}Worm"].endswith("Worm")
    assert shorten("猫" * 12, 24) == "猫" * 12 and len(shorten("猫" * 30, 24)) <= 12  # they are twice as wide


def test_classes_whose_names_begin_alike_are_told_apart_in_a_confusion_matrix(tmp_path, figures):
    titles = [f"a class with a very long name, {part}" for part in ("north", "south", "west")]
    draw_confusion(np.eye(3), titles, tmp_path / "confusion.png")
    for axis in (figures[0].axes[0].xaxis, figures[0].axes[0].yaxis):
        assert len({text.get_text() for text in axis.get_ticklabels()}) == 3


def test_installed_fonts_are_whole_and_shown():
    found = style.installed_fonts()
    assert str(SHIPPED / "DejaVuSans.ttf") in found and "Last Resort" not in " ".join(found.values())
    assert set(found) <= {font.fname for font in font_manager.fontManager.ttflist}
