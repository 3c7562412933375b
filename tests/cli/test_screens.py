"""What a terminal shows: at 80 and 120 columns no line is longer, and no word or number is broken."""

import re
import time

import click
import pytest
from click import testing
from click.testing import CliRunner
from invoking import invoke
from PIL import Image

from alexnet_keras.cli import console, terminal
from alexnet_keras.cli.main import cli
from alexnet_keras.cli.progress import clock
from alexnet_keras.cli.tables import table

WIDE = 1000
STYLES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
SCREENS = [
    ["eval", "tiny", "--ten-crop"], ["runs"], ["info", "model"], ["info", "devices"], ["info", "data", "DATA"],
    ["recipes"], ["recipes", "source", "paper"], ["recipes", "modern"], ["reproduce", "list"],
    ["reproduce", "list", "table-1"], ["predict", "--run", "tiny", "IMAGE"], ["train", "--resume", "missing"],
]  # fmt: skip


def commands(command, words=()):
    yield [*words, "--help"]
    for name, inner in command.commands.items() if isinstance(command, click.Group) else ():
        yield from commands(inner, [*words, name])


@pytest.fixture
def screen(monkeypatch):
    """Returns what a terminal of a width shows of a command or a function."""
    monkeypatch.setattr(testing._NamedTextIOWrapper, "isatty", lambda stream: True, raising=False)

    def show(what, width):
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("TERM", "xterm-256color")
        command = what if isinstance(what, list) else []
        group = cli if command else click.Command("shown", callback=what)
        return STYLES.sub("", CliRunner().invoke(group, command).output).replace("\r", "\n")

    return show


def words_of(text):
    return set(re.findall(r"[^\s─━╸╺]+", re.sub(r"Not shown at this width.*?for\s+more\.", "", text, flags=re.DOTALL)))


@pytest.mark.parametrize("command", SCREENS, ids=" ".join)
def test_nothing_is_broken_inside_a_word_or_a_number(command, screen, trained, prepared, monkeypatch):
    monkeypatch.chdir(trained[0])
    Image.effect_noise((64, 64), 50).convert("RGB").save("photo.jpg")
    places = {"DATA": str(prepared.path), "IMAGE": "photo.jpg"}
    command = [places.get(word, word) for word in command]
    whole = screen(command, WIDE)
    for width in (80, 120):
        shown = screen(command, width)
        unbroken = {line for line in shown.splitlines() if " " not in line.strip() or "Next: " in line}
        assert [line for line in shown.splitlines() if len(line) > width and line not in unbroken] == []
        strange = {word for word in words_of(shown) - words_of(whole) if not word.endswith("…")}
        assert strange == set(), shown
        numbers = [word for word in words_of(shown) if word.endswith("…") and re.match(r"[\d.,%]+…$", word)]
        assert numbers == []


@pytest.mark.parametrize("words", list(commands(cli)), ids=" ".join)
def test_help_has_an_example_and_fits_80_columns(words):
    result = invoke(*words, terminal_width=80)
    shown = result.output
    assert result.exit_code == 0 and "alexnet " in shown.partition("\n")[2], "what can be run"
    assert [line for line in shown.splitlines() if len(line) > 80] == []
    assert "..." not in shown.partition("Commands:")[2], "summaries are whole"


def test_the_help_of_an_experiment_says_what_it_does_and_costs(screen):
    shown = " ".join(screen(["reproduce", "figure-1", "--help"], 80).split())
    assert "ReLU against tanh on CIFAR-10" in shown and "about an hour" in shown and "--seeds" in shown


ROWS = [["a-run-with-a-long-name", 26_353_800, "words that can go on in the next line"]]


@pytest.mark.parametrize(
    ("width", "shown", "hidden"),
    [(120, "words that can go on in the next line", ""), (40, "a-run-with-a-long-name", "why"), (32, "a-run-w", "why")],
)
def test_a_table_leaves_out_columns_then_shortens_names_but_no_number(width, shown, hidden, screen):
    def show():
        rows = [[name, why, f"{number:,}"] for name, number, why in ROWS]
        table("", ["run", "why", "parameters"], rows, left=2, optional=["why"])

    printed = screen(show, width)
    assert "26,353,800" in printed and shown in printed
    assert (f"Not shown at this width: {hidden}." in printed) == bool(hidden)
    assert all(len(line) <= width for line in printed.splitlines() if "Not shown" not in line)


@pytest.mark.parametrize(("width", "texts"), [(120, 5), (80, 3), (30, 0)])
def test_a_bar_keeps_the_count_and_the_time_left(width, texts, screen):
    words = ["images/s", "run 0:10:00", "loss 2.3", "error 90.0%", "rates 0.01, 0.02"]

    def show():
        with console.progress("epoch 1/90", 1216) as advance:
            for _ in range(3):
                time.sleep(0.02)
                advance(32, text="  ".join(words[1:]))

    last = [line for line in screen(show, width).splitlines() if "96/1216" in line][-1]
    assert re.search(r"96/1216 \d:\d\d:\d\d", last)
    assert sum(word in last for word in words) >= texts
    assert len(last) <= width


def test_sentences_break_between_words_and_what_is_to_be_copied_does_not(screen):
    def show():
        console.result("  a sentence of several words, which is longer than the terminal is wide " * 2)
        console.result("alexnet eval a-run --data somewhere/else/with/a/long/name --ten-crop --json", fit=False)

    lines = screen(show, 60).splitlines()
    assert all(len(line) <= 60 and line.startswith("  ") for line in lines[:-1])
    assert lines[-1].endswith("--json")


def test_a_command_to_copy_is_whole_at_any_width(screen, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = screen(["recipes", "source", "--write", "a-recipe-with-a-long-name.toml"], 40)
    assert "Next: alexnet train --recipe a-recipe-with-a-long-name.toml" in shown.splitlines()


def test_quiet_leaves_results_warnings_and_errors(trained, monkeypatch):
    monkeypatch.chdir(trained[0])
    loud, quiet = (invoke("eval", "tiny", *more) for more in ([], ["--quiet"]))
    assert quiet.stdout == loud.stdout and loud.stderr and not quiet.stderr
    assert not terminal.is_quiet(), "only for this command"
    failed = invoke("eval", "missing", "--quiet")
    assert failed.exit_code == 2 and failed.stderr.startswith("Error: ")


def test_no_color_is_honoured(screen, monkeypatch):
    monkeypatch.setattr(testing._NamedTextIOWrapper, "isatty", lambda stream: True, raising=False)
    warned = click.Command("warned", callback=lambda: console.warn("mind"))
    assert "\x1b[" in CliRunner().invoke(warned, [], color=True).stderr
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in CliRunner().invoke(warned, [], color=True).stderr


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, "-:--:--"), (59.6, "0:01:00"), (3723, "1:02:03"), (360000, "100:00:00")]
)
def test_times_are_hours_minutes_and_seconds(seconds, shown):
    assert clock(seconds) == shown
