"""`alexnet publish` and `alexnet import` of what it published, without the hub."""

import json

import pytest
from invoking import invoke


@pytest.fixture
def run_in(trained, monkeypatch):
    monkeypatch.chdir(trained[0])
    return invoke


def test_a_published_run_is_imported_and_evaluated_as_it_was(run_in, trained):
    published = run_in("publish", "tiny", "--to", "published/tiny", "--json")
    assert json.loads(published.stdout)["published"] == "published/tiny", published.stderr
    data = json.loads((trained[0] / "saved_models/tiny/run.json").read_text())["data"]["path"]
    imported = run_in("import", "published/tiny", "--run", "back", "--data", data)
    assert "3 classes" in imported.stdout and "alexnet predict IMAGE --run back" in imported.stdout, imported.stderr
    before, after = (json.loads(run_in("eval", name, "--json").stdout)[0] for name in ("tiny", "back"))
    assert after["top1"] == before["top1"] and after["loss"] == before["loss"]
    card = (trained[0] / "saved_models/back/MODEL_CARD.md").read_text()
    assert "alexnet import published/tiny" in card and "--run back-again" in card
    assert run_in("import", "published/tiny", "--run", "back").exit_code == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["publish", "tiny", "--to", "somewhere", "--private"], "--private is for the hub: --to hf://USER/NAME."),
        (["publish", "tiny", "--to", "hf://tiny"], "hf://tiny is no address of a model"),
        (["publish", "tiny", "--to", "hf:me/x"], "hf:me/x is no address of a model: hf://USER/NAME"),
        (["publish", "tiny", "--to", "HF://me/x"], "HF://me/x is no address of a model: hf://USER/NAME"),
        (["publish", "tiny", "--to", "https://huggingface.co/me/x"], "the hub's addresses are hf://USER/NAME."),
        (["publish", "tiny"], "Missing option '--to'"),
        (["publish", "nobody", "--to", "somewhere"], "There is no run 'nobody'"),
        (["import", "hf://someone/net", "--recipe", "source"], "A published run brings its recipe, mean and classes"),
        (["import", "hf://someone"], "hf://someone is no address of a model"),
        (["eval", "hf://someone/net"], "`alexnet import hf://someone/net` makes a run of it"),
    ],
)
def test_what_cannot_be_published_or_imported_is_refused(run_in, trained, words, sentence):
    result = run_in(*words)
    assert result.exit_code == 2 and sentence in result.stderr
    assert {path.name for path in trained[0].iterdir()} <= {"tiny.toml", "saved_models", "published"}
