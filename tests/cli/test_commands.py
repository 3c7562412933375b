"""Commands through Click's runner: what they print, where, and how they end."""

import json
import shutil
import signal

import pytest
from invoking import invoke

from alexnet_keras.cli.console import ConsoleReporter


def test_a_demo_whose_images_cannot_be_prepared_takes_no_name_of_a_run(alexnet, tmp_path):
    (tmp_path / "data").touch()
    result = alexnet("demo")
    assert result.exit_code == 1 and "Not a directory" in result.stderr, result.output
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.slow
def test_a_demo_that_is_stopped_says_how_to_do_the_rest(alexnet, monkeypatch):
    monkeypatch.setattr(ConsoleReporter, "on_step", lambda *arguments: signal.raise_signal(signal.SIGINT))
    result = alexnet("demo", "--epochs", "1")
    assert result.exit_code == 130, result.stderr
    said, rest = (
        " ".join(result.stderr.split()),
        "alexnet eval quickstart-demo --ten-crop && alexnet report quickstart-demo",
    )
    assert said.endswith(f"alexnet train --resume quickstart-demo The rest of the demo is then: {rest}")


def test_train_prints_its_result_on_stdout_and_the_rest_on_stderr(trained):
    folder, result = trained
    assert json.loads(result.stdout)["epochs"] == 2
    assert "no GPU, not 2" in result.stderr and "Warning" in result.stderr
    assert result.stderr.count("top-1 error") == 1, "a header"
    rows = [line.split() for line in result.stderr.splitlines() if line.strip().startswith(("1/2 ", "2/2 "))]
    assert len(rows) == 2 and {len(row) for row in rows} == {8}
    assert {"model.keras", "last.keras", "history.csv", "run.json", "recipe.toml"} <= {
        path.name for path in (folder / "saved_models/tiny").iterdir()
    }


def test_eval_takes_the_latest_run_and_writes_what_it_prints(trained, monkeypatch):
    folder, _ = trained
    monkeypatch.chdir(folder)
    result = invoke("eval", "--ten-crop", "--json")
    assert result.exit_code == 0, result.stderr
    assert "saved_models/tiny" in result.stderr
    printed = json.loads(result.stdout)
    assert [entry["views"] for entry in printed] == ["centre", "ten-crop"]
    assert all(entry["top1"]["low"] <= entry["top1"]["error"] <= entry["top1"]["high"] for entry in printed)
    saved = folder / "saved_models/tiny/evaluations/best-colors-val-ten-crop.json"
    assert json.loads(saved.read_text()) == printed[1]


@pytest.mark.parametrize("what", ["kernels", pytest.param("neighbors", marks=pytest.mark.slow), "curves"])
def test_visualize_writes_into_the_run_or_where_it_is_told(trained, monkeypatch, what, tmp_path):
    monkeypatch.chdir(trained[0])
    extra = ["--queries", "2"] if what == "neighbors" else []
    result = invoke("visualize", what, "tiny", *extra)
    assert result.exit_code == 0, result.stderr
    assert (trained[0] / f"saved_models/tiny/figures/{what}.png").is_file()
    result = invoke("visualize", what, "--out", tmp_path / "picture.svg", *extra)
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "picture.svg").is_file()


def test_a_finished_run_resumes_to_nothing_more_and_its_options_are_fixed(trained, monkeypatch):
    monkeypatch.chdir(trained[0])
    result = invoke("train", "--resume", "tiny", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["epochs"] == 2
    result = invoke("train", "--resume", "--batch-size", "9", "--seed", "1")
    assert result.exit_code == 2 and "--batch-size, --seed" in result.stderr


def test_info_model_counts_the_papers_network(alexnet):
    printed = json.loads(alexnet("info", "model", "--json").stdout)
    assert printed["parameters"] == 60_965_224
    assert len(printed["layers"]) == 15  # seven layers in two towers and fc8
    table = alexnet("info", "model").stdout
    for number in ("60,965,224", "253,440", "290,400", "186,624", "64,896", "43,264", "55×55×48"):
        assert number in table


def test_recipes_lists_shows_compares_and_writes(alexnet, tmp_path):
    for name in ("source", "paper", "quickstart"):
        assert name in alexnet("recipes").stdout
    assert "training.momentum" in alexnet("recipes", "source").stdout
    compared = alexnet("recipes", "source", "paper").stdout
    assert "training.bias_rate" in compared and "training.momentum" not in compared
    assert alexnet("recipes", "source", "--write", "mine.toml").exit_code == 0
    assert json.loads(alexnet("recipes", "mine.toml", "--json").stdout)[0]["name"] == "source"
    assert alexnet("recipes", "source", "--write", "mine.toml").exit_code == 2  # nothing is overwritten


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["train"], 2, "alexnet prepare"),
        (["eval"], 2, "alexnet train"),
        (["visualize", "kernels"], 2, "alexnet train"),
        (["train", "--data", "nowhere"], 2, "nowhere"),
        (["eval", "no-such-run"], 2, "no-such-run"),
        (["train", "--resume", "no-such-run"], 2, "no-such-run"),
        (["recipes", "alexnet"], 2, "quickstart"),
        (["recipes", "source", "paper", "source"], 2, "two"),
        (["recipes", "--write", "x.toml"], 2, "one recipe"),
        (["recipes", "source", "--write", "modern"], 2, "the name of a built-in recipe"),
        (["info", "model", "--recipe", "vgg"], 2, "vgg"),
        (["train", "--strategy", "magic"], 2, "magic"),
        (["fly"], 2, "fly"),
    ],
)
def test_what_does_not_exist_is_one_sentence_and_exit_code_2(alexnet, arguments, code, said):
    result = alexnet(*arguments)
    assert result.exit_code == code
    assert said in result.stderr
    assert "Traceback" not in result.stderr and result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--set", "training.epocs=3"], 2, "training.epocs"),
        (["--recipe", "vgg"], 2, "vgg"),
        (["--gpus", "3", "--strategy", "towers"], 2, "towers"),
        (["--gpus", "2", "--strict-devices"], 2, "no GPU"),
        (["--recipe", "tiny.toml", "--run", "tiny"], 2, "--resume tiny"),
        (["--recipe", "tiny.toml", "--run", "diverged", "--set", "training.weight_rate=1e30"], 4, "loss became"),
    ],
)
def test_wrong_training_options(trained, prepared, monkeypatch, arguments, code, said):
    monkeypatch.chdir(trained[0])
    result = invoke("train", "--data", prepared.path, *arguments)
    assert result.exit_code == code, result.stderr
    assert said in result.stderr and "Traceback" not in result.stderr


def test_eval_of_a_damaged_model_and_of_other_data(trained, write_images, monkeypatch, tmp_path):
    monkeypatch.chdir(trained[0])
    write_images(tmp_path / "two", {"x": 5, "y": 5})
    assert invoke("prepare", tmp_path / "two", "--out", tmp_path / "out").exit_code == 0
    result = invoke("eval", "tiny", "--data", tmp_path / "out")
    assert result.exit_code == 3 and "classes" in result.stderr
    result = invoke("eval", "tiny", "--split", "test")
    assert result.exit_code == 2 and "no split" in result.stderr
    model = trained[0] / "saved_models/tiny/model.keras"
    whole = model.read_bytes()
    try:
        model.write_bytes(whole[:5000])
        result = invoke("eval", "tiny")
        assert result.exit_code == 3 and "damaged" in result.stderr
    finally:
        model.write_bytes(whole)


def test_ctrl_c_ends_with_130_and_the_run_resumes(trained, prepared, monkeypatch):
    monkeypatch.chdir(trained[0])

    def interrupt(self, epoch, step, result):
        if (epoch, step) == (1, 1):
            signal.raise_signal(signal.SIGINT)

    arguments = ["train", "--data", str(prepared.path), "--recipe", "tiny.toml", "--run", "stopped"]
    with monkeypatch.context() as patch:
        patch.setattr(ConsoleReporter, "on_step", interrupt)
        result = invoke(*arguments)
    assert result.exit_code == 130
    assert "Traceback" not in result.stderr
    assert "alexnet train --resume stopped" in result.stderr
    result = invoke("train", "--resume", "stopped", "--json")
    assert json.loads(result.stdout)["epochs"] == 2


def test_a_run_whose_cosine_schedule_is_over_is_finished(trained, prepared, monkeypatch):
    monkeypatch.chdir(trained[0])
    options = ["--recipe", "tiny.toml", "--set", "training.schedule.kind=cosine", "--epochs", "1", "--run", "cosine"]
    assert invoke("train", "--data", prepared.path, *options).exit_code == 0
    facts = json.loads((trained[0] / "saved_models/cosine/run.json").read_text())
    again = invoke("train", "--resume", "cosine")
    assert again.exit_code == 0 and "Already finished" in again.stdout, again.exception
    assert "--resume cosine --epochs 2" in again.stdout
    after = json.loads((trained[0] / "saved_models/cosine/run.json").read_text())
    assert "resumed" not in after and after["last_epochs"] == facts["last_epochs"] == 1
    shutil.rmtree(trained[0] / "saved_models/cosine")


def test_every_command_takes_its_run_as_an_argument_or_with_run(trained, monkeypatch):
    monkeypatch.chdir(trained[0])

    def json_of(*words):
        result = invoke(*words, "--json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    assert json_of("eval", "tiny") == json_of("eval", "--run", "tiny")
    commands = (
        *(["eval"], ["visualize", "kernels"], ["visualize", "curves"], ["visualize", "towers"], ["report"]),
        *(["export", "--to", "onnx"], ["features"], ["search", "build"], ["serve"], ["publish", "--to", "x"]),
    )
    for words in commands:
        result = invoke(*words, "tiny", "--run", "tiny")
        assert result.exit_code == 2 and "not both" in result.stderr, words
        result = invoke(*words, "--run", "missing")
        assert result.exit_code == 2 and "There is no run 'missing'" in result.stderr, words
