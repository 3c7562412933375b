"""What experiments share: parts that are computed once, and networks whose training resumes."""

import json
import threading
from contextlib import ExitStack

import keras
import numpy as np
import pytest
from recorded import Recorded

from alexnet_keras.errors import DataError, DivergedError, UsageError
from alexnet_keras.experiments.catalog import EXPERIMENTS, Experiment
from alexnet_keras.experiments.lab import Lab, Options
from alexnet_keras.experiments.outcome import Comparison, Outcome, OverSeeds
from alexnet_keras.experiments.results import reproduce
from alexnet_keras.experiments.variants import LAST_COPIED, LAST_HIDDEN, six_convolutions
from alexnet_keras.recipes import toml
from alexnet_keras.recipes.edits import edit
from alexnet_keras.recipes.toml import load_recipe
from alexnet_keras.reporter import Reporter
from alexnet_keras.runs import Run
from alexnet_keras.storage.kept import kept_arrays
from alexnet_keras.storage.locks import locked
from alexnet_keras.training.start import InitialWeights


@pytest.fixture
def lab(tmp_path):
    return Lab(Options(seeds=1), tmp_path / "experiment", Recorded(), tmp_path / "nets")


def test_a_part_is_computed_once(lab):
    calls = []

    def compute():
        calls.append(1)
        return {"error": 0.25}

    assert lab.kept("a", {"seed": 1}, compute) == lab.kept("a", {"seed": 1}, compute) == {"error": 0.25}
    assert len(calls) == 1
    lab.kept("a", {"seed": 2}, compute)  # from other inputs
    assert len(calls) == 2


def test_a_part_of_other_options_stays(lab):
    bf16, float32 = {"net": "source-b"}, {"net": "source-f", "split": ("val",)}  # JSON has lists for tuples
    assert lab.kept("source", bf16, lambda: {"error": 0.2}) == {"error": 0.2}
    for _ in range(2):
        assert lab.kept("source", float32, lambda: {"error": 0.3}) == {"error": 0.3}
        assert lab.kept("source", bf16, lambda: None) == {"error": 0.2}
    usual, other = sorted((lab.folder / "parts").iterdir(), key=lambda file: len(file.name))
    assert usual.name == "source.json"
    assert lab.reporter.notes == [f"{usual} was made with other options or data, and stays: {other.name} is beside it."]
    for inputs in (bf16, float32):
        path = lab.part("kernels.npz", inputs)
        np.testing.assert_array_equal(kept_arrays(path, inputs, lambda: {"a": np.eye(2)})["a"], np.eye(2))
    assert lab.part("kernels.npz", bf16).name == "kernels.npz" != lab.part("kernels.npz", float32).name


def test_a_network_that_was_changed_or_has_diverged_is_not_taken_for_another(lab, tiny, prepared):
    run = lab.network("tiny", tiny, prepared, seed=1)
    Run.create(run.path, edit(tiny, {"training.epochs": 60}), {"status": "finished"})  # extended by hand
    with pytest.raises(UsageError, match="no longer has the recipe"):
        lab.trained("tiny", tiny, prepared, seed=1)
    run = lab.network("tiny", tiny, prepared, seed=3)
    Run.create(run.path, edit(tiny, {"training.batch_size": 5}), {"status": "finished"})  # of few images
    assert lab.trained("tiny", tiny, prepared, seed=3).path == run.path
    run = lab.network("tiny", tiny, prepared, seed=2)
    Run.create(run.path, tiny, {"status": "diverged"})
    with pytest.raises(DivergedError, match="has diverged: to train it anew"):
        lab.trained("tiny", tiny, prepared, seed=2)


def test_a_damaged_part_is_computed_again(lab):
    lab.kept("a", {}, lambda: {"error": 0.25})
    (lab.folder / "parts" / "a.json").write_text('{"about": {}, "fou')
    assert lab.kept("a", {}, lambda: {"error": 0.5}) == {"error": 0.5}


def test_only_names_parts_that_there_are():
    assert Options(only=("c", "a")).chosen(["a", "b", "c"]) == ["a", "c"]
    assert Options().chosen(["a", "b"]) == ["a", "b"]
    with pytest.raises(UsageError, match="'d' in this experiment: choose a, b"):
        Options(only=("d",)).chosen(["a", "b"])


class StopsAfterTheFirstEpoch(Reporter):
    """A user who presses Ctrl-C."""

    def on_epoch_end(self, row, layers):
        raise KeyboardInterrupt


@pytest.mark.slow
def test_an_interrupted_network_resumes_and_a_finished_one_is_taken(lab, tiny, prepared):
    stopping = Lab(lab.options, lab.folder, StopsAfterTheFirstEpoch(), lab.nets)
    with pytest.raises(KeyboardInterrupt):
        stopping.trained("tiny", tiny, prepared, seed=1)
    (net,) = (each for each in lab.nets.iterdir() if each.is_dir())
    run = lab.trained("tiny", tiny, prepared, seed=1)
    assert run.path == net and run.status == "finished" and [row["epoch"] for row in run.history] == [0, 1]
    written = run.last_model_path.stat().st_mtime_ns
    assert lab.trained("tiny", tiny, prepared, seed=1).last_model_path.stat().st_mtime_ns == written
    assert lab.trained("tiny", tiny, prepared, seed=2).path != net


def test_of_two_processes_that_need_a_network_the_second_waits(lab, tiny, prepared):
    run = lab.network("tiny", tiny, prepared, seed=1)
    Run.create(run.path, tiny, {"status": "finished"})
    other = ExitStack()
    other.enter_context(locked(lab.nets / f".{run.path.name}.lock", None))
    threading.Timer(0.5, other.close).start()
    assert lab.trained("tiny", tiny, prepared, seed=1).path == run.path
    assert lab.reporter.notes == [
        f"Waiting for another process that trains {run.path}.",
        f"{run.path} is already trained.",
    ]


def test_an_empty_name_is_not_taken_for_no_name(lab, prepared):
    lab = Lab(Options(data=str(prepared.path)), lab.folder)
    with lab.holding, pytest.raises(DataError, match="is not a prepared dataset"):
        lab.open("")
    with lab.holding:
        assert lab.open().path == prepared.path and lab.settings["fingerprints"] == [prepared.fingerprint]


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({}, False),
        ({"seeds": 2}, False),
        ({"only": ["a"]}, False),
        ({"seeds": 4}, True),
        ({"only": []}, True),
        ({"only": ["a", "c"]}, True),
        ({"epochs": 1}, True),
        ({"precision": "mixed_bfloat16"}, True),
        ({"fingerprints": ["other"]}, True),
        ({"pretrain": ["b"]}, True),
        (None, True),
    ],
)
def test_a_result_that_another_does_not_include_is_kept_beside_it(lab, monkeypatch, change, kept):
    class Module:
        run = staticmethod(lambda lab: Outcome("Done.", (Comparison("error", OverSeeds((0.1,))),)))
        draw = staticmethod(lambda outcome, path: path.write_bytes(b"drawn"))

    monkeypatch.setattr(Experiment, "module", Module)
    experiment = EXPERIMENTS["ablations"]
    lab = Lab(Options(seeds=3, only=("a", "b")), lab.folder, lab.reporter, lab.nets)
    file = reproduce(experiment, lab, "alexnet reproduce").path / "result.json"
    older = json.loads(file.read_text())
    older["settings"] |= change or {}
    if change is None:
        del older["settings"]
    file.write_text(json.dumps(older))
    for _ in range(2):
        reproduce(experiment, lab, "alexnet reproduce")
    others = list(lab.folder.parent.glob("experiment-*"))
    assert len(others) == kept
    if kept:
        assert json.loads((others[0] / "result.json").read_text()) == older
        assert {each.name for each in others[0].iterdir()} == {"result.json", "page.md", "picture.png"}
        assert lab.reporter.notes == [f"The older result, of other data or options, is kept in {others[0]}."]


def weights_of(model):
    return {variable.path: keras.ops.convert_to_numpy(variable) for variable in model.weights}


@pytest.mark.slow
def test_a_network_is_initialised_with_the_chosen_layers_of_another(lab, tiny, prepared, monkeypatch):
    first = lab.trained("tiny", tiny, prepared, seed=1)
    copied = []
    monkeypatch.setattr(
        "alexnet_keras.training.trainer.Trainer._epochs",
        lambda trainer: copied.append(weights_of(trainer.model)),
    )
    six = six_convolutions(tiny)
    lab.trained("six", six, prepared, seed=2, initial=InitialWeights(first, "last", LAST_COPIED))
    lab.trained("whole", tiny, prepared, seed=3, initial=InitialWeights(first, "last", LAST_HIDDEN))
    origin = weights_of(first.load_model("last"))

    def taken(weights):
        return {
            path.split("/")[0] for path in weights if path in origin and np.array_equal(weights[path], origin[path])
        }

    convolutions = {f"conv{number}" for number in range(1, 6)}
    assert {name for name in taken(copied[0]) if name.startswith("conv")} == convolutions
    assert not np.array_equal(copied[0]["fc6/kernel_a"], origin["fc6/kernel_a"])
    assert {"fc6", "fc7"} | convolutions <= taken(copied[1])
    assert not np.array_equal(copied[1]["fc8/kernel_a"], origin["fc8/kernel_a"])


@pytest.mark.parametrize(
    ("scale", "epochs", "recipe", "expected"),
    [
        ("full", None, "source", 91),
        ("photos", None, "source", 30),
        ("mini", None, "quickstart", 20),
        ("photos", 91, "source", 91),
    ],
)
def test_each_scale_has_its_network_and_its_epochs(tmp_path, scale, epochs, recipe, expected):
    base = Lab(Options(scale, epochs=epochs), tmp_path).base_recipe
    assert (base.name, base.training.epochs) == (recipe, expected)
    assert base.network == load_recipe(recipe).network


def test_scales_of_as_many_epochs_share_their_networks(tmp_path):
    full, photos = (Lab(Options(scale, epochs=91), tmp_path).base_recipe for scale in ("full", "photos"))
    assert toml.digest_values(full) == toml.digest_values(photos)
