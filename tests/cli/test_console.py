"""What is printed, whatever the stream can encode and whatever a name holds."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from alexnet_keras.cli import console
from alexnet_keras.cli.main import AlexNetGroup, cli
from alexnet_keras.errors import DataError

NAMES = ["猫 and Übung", "caf\udce9.jpg", "[red]x[/y] :cat:", "a\x1b[2Jb", "3×3 ≈ 9…"]
IN_ASCII = ["\\u732b and \\xdcbung", "caf\\udce9.jpg", "[red]x[/y] :cat:", "a\\x1b[2Jb", "3x3 ~ 9..."]
IN_CP1252 = ["\\u732b and Übung", "caf\\udce9.jpg", "[red]x[/y] :cat:", "a\\x1b[2Jb", "3×3 ~ 9…"]
IN_UTF8 = ["猫 and Übung", *IN_CP1252[1:4], NAMES[4]]


def run(print_names, encoding):
    group = AlexNetGroup()
    group.command("names")(print_names)
    return CliRunner(charset=encoding).invoke(group, ["names"])


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", IN_ASCII), ("cp1252", IN_CP1252), ("utf-8", IN_UTF8)])
def test_every_name_is_printed_in_every_encoding(encoding, shown):
    def names():
        for name in NAMES:
            console.result(name)
            console.note(name)
        console.warn(NAMES[0])
        raise DataError(NAMES[1])

    result = run(names, encoding)
    assert result.exit_code == 3, result.exception
    assert result.stdout_bytes.decode(encoding).splitlines() == shown
    said = result.stderr_bytes.decode(encoding).splitlines()
    assert said == [*shown, f"Warning: {shown[0]}", f"Error: {shown[1]}"]


@pytest.mark.parametrize("form", [None, "csv", "markdown"])
@pytest.mark.parametrize(("encoding", "shown"), [("ascii", IN_ASCII), ("cp1252", IN_CP1252), ("utf-8", IN_UTF8)])
def test_tables_hold_names_as_they_are(encoding, shown, form):
    result = run(lambda: console.table("≈", ["class", "images"], [[name, 7] for name in NAMES], form=form), encoding)
    assert result.exit_code == 0, result.exception
    lines = result.stdout_bytes.decode(encoding).splitlines()
    assert len(lines) >= 6
    if form == "csv":  # data, which stay as they are
        shown = [*shown[:3], "a\x1b[2Jb", shown[4]]
    for name in shown:
        assert any(name in line for line in lines), (name, lines)
    if form is None and encoding != "utf-8":  # columns are as wide as the escapes in them
        assert len({line.rindex("7") for line in lines if " 7 " in line}) == 1


def test_a_path_that_tensorflow_cannot_open_is_said_to_be_one():
    result = run(lambda: NAMES[1].encode(), "utf-8")  # as TensorFlow does it
    assert result.exit_code == 2
    assert result.stderr == "Error: TensorFlow opens only paths in UTF-8: rename caf\\udce9.jpg.\n"


def test_json_is_ascii_and_gives_names_back():
    result = run(lambda: console.emit_json(NAMES), "cp1252")
    assert result.stdout_bytes.isascii() and json.loads(result.stdout_bytes) == NAMES


def test_a_bar_shows_names_as_they_are(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")

    def bar():
        with console.progress("[/x] 猫", 2) as advance:
            advance(1, text=NAMES[2])

    result = run(bar, "cp1252")
    assert result.exit_code == 0, result.exception


def test_the_command_works_where_the_locale_has_ascii_alone(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "PYTHON"))}
    environment |= {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "alexnet_keras.cli.main", "import", "猫.npy"]
    told = subprocess.run(command, capture_output=True, cwd=tmp_path, env=environment, timeout=60)
    assert told.returncode == 2
    escaped = "猫".encode().decode("ascii", "surrogateescape").encode("ascii", "backslashreplace")
    assert told.stderr == b"Error: There is no file " + escaped + b".npy.\n"


def test_classes_of_every_script_are_listed_on_a_windows_console(prepared, tmp_path):
    path = shutil.copytree(prepared.path, tmp_path / "names")
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"classes": ["猫", "[/b]", "caf\udce9"]}))
    for options in ([], ["--json"]):
        result = CliRunner(charset="cp1252").invoke(cli, ["info", "data", str(path), *options])
        assert result.exit_code == 0, result.exception
        shown = json.loads(result.stdout)["classes"] if options else result.stdout
        assert ("猫" if options else "\\u732b") in shown and "[/b]" in shown


@pytest.mark.parametrize(("arguments", "gpus"), [("", "1"), ("gpus=None", "None"), ("keras=False", "0")])
def test_a_command_takes_one_gpu_unless_it_chooses_itself_and_preparing_takes_none(tmp_path, arguments, gpus):
    (tmp_path / "tensorflow.py").write_text("import logging\nget_logger = lambda: logging.getLogger('tensorflow')\n")
    code = f"""
import click
from alexnet_keras.cli import console
console.use_gpus = lambda count: print("GPUs", count)
with click.Context(click.Command("train")):
    console.start_tensorflow({arguments})
    console.start_tensorflow()
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "KERAS_BACKEND": "tensorflow"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout == f"GPUs {gpus}\n"


@pytest.mark.parametrize(
    ("name", "kept"), [("predict", False), ("import", False), ("report", False), ("prepare", True)]
)
@pytest.mark.parametrize(
    ("error", "code", "said"),
    [(KeyboardInterrupt(), 130, "Interrupted."), (OSError(28, "No space left on device"), 1, "No space left")],
)
def test_a_command_that_ends_early_says_that_work_is_kept_only_where_it_is(name, kept, error, code, said):
    group = AlexNetGroup()

    @group.command(name)
    def ended():
        raise error

    result = CliRunner().invoke(group, [name])
    assert result.exit_code == code and ("is kept" in result.stderr) is kept and said in result.stderr


def raising(error):
    """What a command that raises it prints, and its exit code."""
    group = AlexNetGroup()

    @group.command("prepare")
    def ended():
        raise error

    result = CliRunner().invoke(group, ["prepare"])
    return result.exit_code, result.stderr


def test_nothing_is_promised_where_nothing_was_begun(tmp_path, monkeypatch):
    denied = PermissionError(errno.EACCES, "Permission denied", "photos/out")
    assert raising(denied) == (1, "Error: Permission denied (photos/out).\n")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    missing = FileNotFoundError(errno.ENOENT, "No such file or directory")
    assert raising(missing) == (2, "Error: The current directory is no longer there: change to another.\n")


def test_too_little_memory_is_a_sentence():
    code, said = raising(MemoryError())
    assert code == 1 and said.startswith("Error: The memory that this process may take is not enough. What was")
    exhausted = type("ResourceExhaustedError", (Exception,), {})  # TensorFlow's, in name
    assert raising(exhausted("OOM when allocating tensor")) == (code, said)
    assert raising(exhausted("No space left on device")) == (1, ""), "which is no memory's"


@pytest.mark.parametrize("closed", ["1", "2", "0 1 2"])
@pytest.mark.parametrize(("arguments", "code"), [(["recipes"], 0), (["info", "data", "."], 3), (["recipes", "nix"], 2)])
def test_closed_streams_change_no_exit_code(tmp_path, closed, arguments, code):
    def close():
        for number in map(int, closed.split()):
            os.close(number)

    command = [sys.executable, "-m", "alexnet_keras.cli.main", *arguments]
    told = subprocess.run(command, capture_output=True, cwd=tmp_path, preexec_fn=close, timeout=100)
    assert told.returncode == code and b"Traceback" not in told.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["recipes"], ["recipes", "--help"]])
def test_a_full_disk_behind_stdout_is_a_sentence(arguments):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "alexnet_keras.cli.main", *arguments]
        told = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=100)
    assert told.returncode == 1 and told.stderr.startswith("Error: No space left on device")
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize("kind", ["pipe", "terminal", "pipe in colour"])
def test_who_stops_reading_stderr_ends_no_work(kind, monkeypatch):
    if kind == "pipe in colour":  # which Rich takes for a terminal
        monkeypatch.setenv("FORCE_COLOR", "1")
    if kind == "terminal":
        pty = pytest.importorskip("pty")
    read, write = pty.openpty() if kind == "terminal" else os.pipe()
    with os.fdopen(write, "w", buffering=1) as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr("alexnet_keras.cli.progress.PLAIN_INTERVAL", 0.0)
        with console.progress("training", 3) as advance:
            console.note("read")
            os.close(read)
            advance(1)
            console.warn("not read")
            advance(1)
        with console.progress("validation", 3) as advance:
            advance(3)
        console.note("not read either")
        stream.flush()


def test_a_closed_pipe_ends_a_command_without_a_word():
    group = AlexNetGroup()

    @group.command("names")
    def names():
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    result = CliRunner().invoke(group, ["names"])
    assert result.exit_code == 1 and not result.stderr
