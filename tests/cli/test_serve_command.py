"""`alexnet serve`: what it says, what it refuses at once, and how it ends."""

import json
import signal
import subprocess
import sys
import threading
import urllib.request
from functools import partial
from pathlib import Path

import pytest
from flask import Flask
from invoking import invoke

from alexnet_keras.cli import serve as serve_module
from alexnet_keras.runs import Run
from alexnet_keras.serving.server import Server, listen
from alexnet_keras.storage.locks import locked

ALEXNET = Path(sys.executable).with_name("alexnet")


@pytest.fixture
def serve(alexnet, tiny, prepared, monkeypatch):
    """Runs `alexnet serve` on a run with a damaged index; what a test says takes the place of answering."""
    from alexnet_keras import AlexNet

    run = Run.create(Path("saved_models/tiny"), tiny, {"classes": list(prepared.classes), "data": prepared.facts})
    AlexNet(tiny, classes=3, seed=3).save(run.model_path)
    (run.search_path / "a").mkdir(parents=True)
    (run.search_path / "a/search.json").write_text("{}")
    monkeypatch.setattr("alexnet_keras.serving.viewer.Viewer", lambda classifier, nearest: None)
    monkeypatch.setattr("alexnet_keras.serving.server.application", lambda viewer, *others: Flask("nothing"))

    def run_command(answering, *options):
        monkeypatch.setattr(Server, "run", lambda self: answering())
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            return alexnet("serve", "tiny", "--port", 0, *options)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    return run_command


def test_a_browser_that_waits_for_the_page_is_answered(serve, monkeypatch, capsys):
    answering, left, answered = threading.Event(), threading.Event(), []

    def browse(url):
        answered.append(answering.wait(10))
        left.set()
        return True

    monkeypatch.setattr("webbrowser.open", browse)
    serve(lambda: answering.set() or left.wait(10), "--open")
    assert answered == [True]
    monkeypatch.setattr("webbrowser.open", lambda url: False)
    serve_module._open("http://127.0.0.1:8700/")
    assert "No browser could be opened: open http://127.0.0.1:8700/" in capsys.readouterr().err


def test_data_of_which_nothing_is_shown_may_be_prepared_again(serve, prepared):
    free = []

    def answering():
        with locked(prepared.path / ".lock", "busy"):
            free.append(True)

    assert "search.json" in serve(answering).stderr
    Path("saved_models/tiny/search/a/search.json").unlink()
    assert "has no index" in serve(answering).stderr
    assert free == [True, True]


def test_data_that_cannot_be_read_now_are_done_without(serve, prepared, monkeypatch):
    with locked(prepared.path / ".lock", None):
        result = serve(lambda: None)
    assert result.exit_code == 130 and "Without nearest training images: Another process" in result.stderr

    def denied(*arguments):
        raise PermissionError(13, "Permission denied", "/disk/photos")

    monkeypatch.setattr("alexnet_keras.runs.data_of", denied)
    result = serve(lambda: None)
    assert result.exit_code == 130 and "Permission denied: '/disk/photos'" in result.stderr


def test_without_a_run_or_a_model(alexnet, tiny):
    result = alexnet("serve")
    assert result.exit_code == 2 and "`alexnet train` makes one" in result.stderr
    Run.create(Path("saved_models/new"), tiny, {"status": "running"})
    result = alexnet("serve")
    assert result.exit_code == 2 and "no model.keras yet" in result.stderr


@pytest.mark.parametrize("library", ["flask", "waitress"])
def test_without_the_extra(alexnet, library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    result = alexnet("serve")
    assert result.exit_code == 2 and "pip install 'alexnet-keras[serve]'" in result.stderr


def test_a_port_in_use_and_a_host_that_is_not_here_are_one_sentence(alexnet, tiny):
    run = Run.create(Path("saved_models/new"), tiny, {"status": "finished"})
    run.model_path.touch()
    with listen("127.0.0.1", 0) as taken:
        result = alexnet("serve", "--port", taken.getsockname()[1])
    assert result.exit_code == 2 and "already in use" in result.stderr and "--port 0" in result.stderr
    result = alexnet("serve", "--host", "no host")
    assert result.exit_code == 2 and "There is no host 'no host'" in result.stderr
    assert "Traceback" not in result.stderr and result.stdout == ""


def test_weights_go_without_a_run_and_its_data(alexnet):
    for words in (["my-run"], ["--run", "my-run"], ["--data", "photos"]):
        result = alexnet("serve", "--weights", "torchvision", *words)
        assert result.exit_code == 2 and "--weights has no run" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_answers_as_predict_does_until_it_is_stopped(trained, images, monkeypatch, stop):
    folder, _ = trained
    monkeypatch.chdir(folder)
    image = images / "val/red/001.jpg"
    predicted = invoke("predict", image, "--run", "tiny", "--json", "--ten-crop")
    expected = json.loads(predicted.stdout)
    command = [ALEXNET, "serve", "tiny", "--port", "0", "--ten-crop"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    background = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)  # as a script's shell starts it with &
    with subprocess.Popen(command, **pipes, preexec_fn=background) as process:
        try:
            said = process.stdout.readline()
            assert said.startswith("tiny is at http://127.0.0.1:") and said.endswith("/ until Ctrl-C.\n")
            url = said.split()[3]
            with urllib.request.urlopen(url) as page:
                assert "ten crops" in page.read().decode()
            with urllib.request.urlopen(f"{url}explain", image.read_bytes()) as answer:
                explained = json.load(answer)
        finally:
            process.send_signal(stop)
        try:
            stderr = process.communicate(timeout=60)[1]
        finally:
            process.kill()
    assert process.returncode == 130
    assert stderr.endswith("\nStopped.\n") and "Traceback" not in stderr
    assert explained["nearest"] is None and "Without nearest training images: The run " in stderr
    for found, wanted in zip(explained["predictions"], expected["predictions"], strict=True):
        assert found["class"] == wanted["class"]
        assert found["probability"] == pytest.approx(wanted["probability"], rel=1e-5)
