"""A run that was stopped, killed or damaged ends as if nothing had happened."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from functools import partial

import numpy as np
import pytest
from recorded import Recorded
from toy_runs import ONE, TOWERS, crash, last_weights, new_run, step_losses, trainer

from alexnet_keras.data.image_cache import cached
from alexnet_keras.errors import AlexNetError, DataError
from alexnet_keras.recipes.toml import to_toml, with_overrides
from alexnet_keras.reporter import Reporter
from alexnet_keras.runs import Run
from alexnet_keras.storage import files
from alexnet_keras.storage.files import sha256_of
from alexnet_keras.training import keeper
from alexnet_keras.training import trainer as trainer_module
from alexnet_keras.training.checkpoint import KEEP, newest_state, saved_states
from alexnet_keras.training.devices import Placement

MIRRORED = Placement("mirrored", ("/CPU:0", "/CPU:1"))


def same_weights(run, other, **tolerance):
    for ours, theirs in zip(last_weights(run), last_weights(other), strict=True):
        np.testing.assert_allclose(ours, theirs, **(tolerance or {"rtol": 0}))


@pytest.mark.parametrize(
    ("sent", "when"),
    [
        (signal.SIGINT, (0, 0)),
        pytest.param(signal.SIGTERM, (1, 2), marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, (1, 4), marks=pytest.mark.slow),
    ],
)
def test_asked_to_stop_it_saves_and_goes_on_in_the_middle_of_an_epoch(
    one_device, prepared, tiny, tmp_path, request, sent, when
):
    request.addfinalizer(partial(signal.signal, sent, signal.signal(sent, signal.SIG_DFL)))  # nohup ignores SIGHUP
    run = new_run(tmp_path / "run", tiny)
    stopping = Recorded(when, lambda: signal.raise_signal(sent))
    with pytest.raises(KeyboardInterrupt, match=f"alexnet train --resume {run.called}"):
        trainer(run, prepared, reporter=stopping).fit()
    assert stopping.steps[-1] == when
    assert run.status == "interrupted"
    resumed = Recorded()
    trainer(run, prepared, reporter=resumed).fit(resume=True)
    assert len(stopping.steps) + len(resumed.steps) == 10, "a step was made twice or left out"
    np.testing.assert_array_equal(step_losses(run), step_losses(one_device[0]))
    same_weights(run, one_device[0])
    assert run.status == "finished"
    timeless = [{k: v for k, v in row.items() if "second" not in k} for row in run.history]
    assert timeless == [{k: v for k, v in row.items() if "second" not in k} for row in one_device[0].history]


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_with_decoded_images_it_goes_on_to_the_same_weights(one_device, prepared, tiny, tmp_path, cache):
    run, data = new_run(tmp_path / "run", tiny), cached(prepared, cache, tmp_path if cache == "disk" else None)
    with pytest.raises(MemoryError):
        trainer(run, data, save_every=3, reporter=Recorded((1, 1), crash)).fit()
    trainer(run, data, reporter=Recorded()).fit(resume=True)
    np.testing.assert_array_equal(step_losses(run), step_losses(one_device[0]))
    same_weights(run, one_device[0])


@pytest.mark.slow
def test_a_crash_costs_the_steps_since_the_last_state(one_device, prepared, tiny, tmp_path):
    run = new_run(tmp_path / "run", tiny)
    with pytest.raises(MemoryError):
        trainer(run, prepared, save_every=3, reporter=Recorded((1, 3), crash)).fit()
    assert run.status == "failed"
    assert len(step_losses(run)) >= 6
    resumed = Recorded()
    trainer(run, prepared, reporter=resumed).fit(resume=True)
    assert resumed.steps[0] == (1, 1), "step 6 was saved: epoch 1 goes on after its first step"
    np.testing.assert_array_equal(step_losses(run), step_losses(one_device[0]))
    same_weights(run, one_device[0])


@pytest.mark.slow
def test_a_run_without_a_state_starts_over(one_device, prepared, tiny, tmp_path):
    run = new_run(tmp_path / "run", tiny)
    with pytest.raises(MemoryError):
        trainer(run, prepared, reporter=Recorded((0, 3), crash)).fit()
    trainer(run, prepared).fit(resume=True)
    np.testing.assert_array_equal(step_losses(run), step_losses(one_device[0]))


@pytest.mark.parametrize(
    ("first", "then"),
    [
        pytest.param(TOWERS, ONE, marks=pytest.mark.slow),
        pytest.param(ONE, TOWERS, marks=pytest.mark.slow),
        pytest.param(TOWERS, MIRRORED, marks=pytest.mark.slow),
        pytest.param(MIRRORED, TOWERS, marks=pytest.mark.slow),
    ],
    ids=lambda placement: placement.kind,
)
def test_a_run_goes_on_under_any_placement(one_device, prepared, tiny, tmp_path, first, then):
    run = new_run(tmp_path / "run", tiny)
    with pytest.raises(KeyboardInterrupt):
        stopping = Recorded((1, 2), lambda: signal.raise_signal(signal.SIGINT))
        trainer(run, prepared, first, reporter=stopping).fit()
    trainer(run, prepared, then).fit(resume=True)
    # The halves of a batch are added up in another order under mirrored: rounding, then its growth over the steps.
    np.testing.assert_allclose(step_losses(run), step_losses(one_device[0]), rtol=1e-4)
    same_weights(run, one_device[0], rtol=1e-2, atol=1e-4)


def test_steps_are_taken_while_the_disk_writes_a_state_and_a_run_ends_when_it_has_it(
    prepared, tiny, tmp_path, monkeypatch
):
    """A state takes a slow disk half a minute; only a best model, which replaces another, waits for it."""
    further, flushed, flush = threading.Event(), [], files.flush

    def slow(path):
        if path.name.startswith("step-"):
            assert further.wait(60), "no step was taken meanwhile"
            flushed.append(path.name)
        flush(path)

    monkeypatch.setattr(files, "flush", slow)
    run = new_run(tmp_path / "run", tiny)
    trainer(run, prepared, save_every=1, reporter=Recorded((0, 1), further.set)).fit()
    names = {path.name for path in saved_states(run.states_path)}
    assert len(names) == KEEP and names <= set(flushed)


def test_only_the_last_few_states_are_kept(stopped):
    states = saved_states(stopped.states_path)
    assert len(states) == KEEP < 7
    assert states[0].name.startswith("step-000000007")


@pytest.fixture(scope="module")
def stopped_once(prepared, tiny, tmp_path_factory):
    run = new_run(tmp_path_factory.mktemp("runs") / "stopped", tiny)
    with pytest.raises(MemoryError):
        trainer(run, prepared, save_every=1, reporter=Recorded((1, 2), crash)).fit()
    return run


@pytest.fixture
def stopped(stopped_once, tmp_path):
    """A copy of a run with states of steps 7, 6 and 5, stopped in its second epoch."""
    return Run(shutil.copytree(stopped_once.path, tmp_path / "stopped"))


@pytest.mark.parametrize(
    "damage", ["cut", *(pytest.param(damage, marks=pytest.mark.slow) for damage in ("one byte", "empty"))]
)
def test_a_damaged_state_is_reported_and_the_one_before_is_used(one_device, stopped, prepared, damage):
    newest, before, *_ = saved_states(stopped.states_path)
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 255
    newest.write_bytes({"cut": bytes(content[: len(content) // 2]), "one byte": bytes(content), "empty": b""}[damage])
    reporter = Recorded()
    trainer(stopped, prepared, reporter=reporter).fit(resume=True)
    (warning,) = reporter.warnings
    assert newest.name in warning and "damaged" in warning and before.name in warning
    np.testing.assert_array_equal(step_losses(stopped), step_losses(one_device[0]))


def test_the_last_model_is_that_of_an_epoch_that_was_trained_again(one_device, prepared, tmp_path):
    run = Run(shutil.copytree(one_device[0].path, tmp_path / "run"))
    saved_states(run.states_path)[0].write_bytes(b"PK")
    run.last_model_path.write_bytes(b"what was kept before")
    trainer(run, prepared).fit(resume=True)
    same_weights(run, one_device[0])


def test_when_every_state_is_damaged_it_says_so(stopped, prepared):
    for path in saved_states(stopped.states_path):
        path.write_bytes(b"PK")
    with pytest.raises(DataError, match="damaged"):
        trainer(stopped, prepared).fit(resume=True)


@pytest.mark.slow
def test_a_state_that_claims_a_huge_array_takes_no_memory(stopped, prepared):
    newest = saved_states(stopped.states_path)[0]
    with zipfile.ZipFile(newest) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in members if "kernel" in name)
    start = members[name].index(b"(")
    header = members[name].replace(members[name][start : members[name].index(b")")], b"(9999999999999,")
    with zipfile.ZipFile(newest, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, header if member == name else content)
    reporter = Recorded()
    trainer(stopped, prepared, reporter=reporter).fit(resume=True)
    assert "9999999999999" in reporter.warnings[0] or "damaged" in reporter.warnings[0]


def test_a_state_of_another_recipe_is_refused_with_what_differs(stopped, prepared, tiny):
    other = with_overrides(tiny, ["training.momentum=0.5", "augmentation.flip=false"])
    (stopped.path / "recipe.toml").write_text(to_toml(other))
    before = stopped.facts
    with pytest.raises(DataError, match=r"augmentation.flip is True there and False here; training.momentum is 0.9"):
        trainer(Run(stopped.path), prepared).fit(resume=True)
    assert stopped.facts == before, "a run that is refused stays as it was"


def test_a_run_whose_directory_is_moved_meanwhile_ends_and_goes_on_where_it_is(one_device, prepared, tiny, tmp_path):
    run = new_run(tmp_path / "run", tiny)
    moving = Recorded((0, 3), lambda: run.path.rename(tmp_path / "moved"))
    with pytest.raises(AlexNetError, match="was moved or removed while the run was trained"):
        trainer(run, prepared, reporter=moving, save_every=2).fit()
    assert not run.path.exists()
    trainer(Run(tmp_path / "moved"), prepared).fit(resume=True)
    np.testing.assert_array_equal(step_losses(Run(tmp_path / "moved")), step_losses(one_device[0]))


def test_a_run_is_trained_by_one_process_at_a_time(stopped, prepared):
    with stopped.training_lock():
        assert stopped.status == "running" or stopped.status == "failed"
        with pytest.raises(AlexNetError, match=f"another process .*-{os.getpid()}"):
            trainer(stopped, prepared).fit(resume=True)
    trainer(stopped, prepared).fit(resume=True)


@pytest.mark.slow
def test_no_space_left_while_saving_leaves_a_run_that_goes_on(one_device, prepared, tiny, tmp_path, monkeypatch):
    run = new_run(tmp_path / "run", tiny)
    save, room = np.savez, [6]

    def full(path, **arrays):
        room[0] -= 1
        if room[0] < 0:
            path.write_bytes(b"half a state")
            raise OSError(28, "No space left on device", str(path))
        save(path, **arrays)

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        trainer(run, prepared, save_every=1).fit()
    assert run.status == "failed"
    assert not list(run.states_path.glob(".partial*"))
    monkeypatch.undo()
    trainer(run, prepared).fit(resume=True)
    np.testing.assert_array_equal(step_losses(run), step_losses(one_device[0]))


@pytest.mark.parametrize("where", ["validation", pytest.param("step", marks=pytest.mark.slow)])
def test_damage_that_an_epoch_meets_costs_none_of_its_steps(one_device, prepared, tiny, tmp_path, monkeypatch, where):
    run = new_run(tmp_path / "run", tiny)
    module, name = {"validation": (trainer_module.Predictor, "evaluate"), "step": (trainer_module, "iterate")}[where]
    whole = getattr(module, name)

    def damaged(*arguments, **options):
        if where == "step":
            yield from itertools.islice(whole(*arguments), 3)
        raise DataError("A record is damaged.")

    def fails(*arguments, **options):
        raise DataError("A record is damaged.")

    monkeypatch.setattr(module, name, damaged if where == "step" else fails)
    with pytest.raises(DataError, match="A record is damaged"):
        trainer(run, prepared).fit()
    monkeypatch.undo()
    resumed = Recorded()
    trainer(run, prepared, reporter=resumed).fit(resume=True)
    assert resumed.steps[0] == {"validation": (1, 0), "step": (0, 3)}[where]
    np.testing.assert_array_equal(step_losses(run), step_losses(one_device[0]))


def test_an_epoch_whose_state_was_never_saved_is_in_no_history(stopped, prepared):
    """Killed after its records were written, before its first state was."""
    assert len(stopped.history) == 1
    shutil.rmtree(stopped.states_path)
    stopped.model_path.unlink()
    with pytest.raises(MemoryError):
        trainer(stopped, prepared, reporter=Recorded((0, 0), crash)).fit(resume=True)
    assert stopped.history == []


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_weights_of_the_uninterrupted_run(prepared, tiny, tmp_path):
    """ALEXNET_KILLS=20 for more of them: every one in the middle of an epoch, or of a save."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(to_toml(with_overrides(tiny, ["training.epochs=16"])))  # 80 steps
    command = [sys.executable, "-m", "alexnet_keras.cli.main", "train", "--json", "--save-every", "1"]
    start = ["--data", str(prepared.path), "--recipe", str(recipe), "--deterministic"]
    subprocess.run([*command, *start, "--run", "whole"], cwd=tmp_path, check=True, capture_output=True)
    whole, killed = (Run(tmp_path / "saved_models" / name) for name in ("whole", "killed"))
    random = np.random.default_rng()
    kills, moments, arguments = int(os.environ.get("ALEXNET_KILLS", 2)), [0], [*start, "--run", "killed"]
    for kill in range(kills):
        process = subprocess.Popen([*command, *arguments], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        # each process gets to the middle of its share of the 80 steps, or a little further
        while process.poll() is None and steps_done(killed) < max(moments[-1] + 1, (kill + 0.5) * 70 / kills):
            time.sleep(0.002)
        time.sleep(random.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        _, stderr = process.communicate()
        assert process.returncode == -signal.SIGKILL, f"ended before kill {kill}: {stderr.decode()}"
        if newest := saved_states(killed.states_path):
            state = newest_state(killed.states_path, npz_shapes(newest[0]), DamageFails())
            moments.append(state.position.total_steps)
            arguments = ["--resume", "killed"]
        assert killed.status == "killed"
    assert all(before < after for before, after in itertools.pairwise(moments)), moments
    result = subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["epochs"] == 16
    same_weights(killed, whole)
    np.testing.assert_array_equal(step_losses(killed), step_losses(whole))


class DamageFails(Reporter):
    """Fails a test that warns of a damaged state."""

    def warn(self, text):
        pytest.fail(text)


def steps_done(run):
    """Steps of the newest saved state."""
    states = saved_states(run.states_path) if run.states_path.exists() else []
    return int(states[0].name[5:14]) if states else 0


def npz_shapes(path):
    """The shapes of the arrays in a state file, read by NumPy itself."""
    with np.load(path) as arrays:
        return {name: arrays[name].shape for name in arrays.files if name not in ("position", "about")}


@pytest.mark.slow
def test_a_resumed_run_goes_on_with_its_running_average(prepared, tiny, tmp_path):
    recipe = with_overrides(tiny, ["training.averaging_epochs=0.4"])
    whole, run = new_run(tmp_path / "whole", recipe), new_run(tmp_path / "run", recipe)
    trainer(whole, prepared).fit()
    with pytest.raises(KeyboardInterrupt):
        trainer(run, prepared, reporter=Recorded((1, 1), lambda: signal.raise_signal(signal.SIGINT))).fit()
    trainer(run, prepared).fit(resume=True)
    same_weights(run, whole)


@pytest.mark.slow
@pytest.mark.parametrize(  # what of a new best model is written when the process is killed
    "killed_after",
    ["waiting", "state", "in place"],
)
def test_model_and_record_are_of_one_epoch_whenever_it_is_killed(prepared, tiny, tmp_path, monkeypatch, killed_after):
    recipe = with_overrides(tiny, ["training.weight_rate=0.0005", "training.bias_rate=0.001"])  # each epoch is better
    whole, run = new_run(tmp_path / "whole", recipe), new_run(tmp_path / "run", recipe)
    trainer(whole, prepared).fit()
    assert whole.facts["best"]["epoch"] == 1, "both epochs were the best"

    def interrupt(owner, name, calls):
        real, seen = getattr(owner, name), []

        def called(*values, **named):
            found = real(*values, **named)
            seen.append(True)
            if len(seen) == calls:
                crash()
            return found

        monkeypatch.setattr(owner, name, called)

    match killed_after:
        case "waiting":
            interrupt(keeper, "sha256_of", 4)  # of the first best model three times, then of the second
        case "state":
            interrupt(keeper, "save_state", 2)
        case "in place":
            interrupt(keeper, "replace", 2)
    with pytest.raises(MemoryError):
        trainer(run, prepared).fit()
    monkeypatch.undo()
    kept, best = sha256_of(run.model_path), run.facts["best"]["epoch"]
    assert best == 0 and (kept == run.facts["best_sha256"]) == (killed_after != "in place")
    reporter = Recorded()
    trainer(run, prepared, reporter=reporter).fit(resume=True)
    assert run.facts["best"] == whole.facts["best"] and run.facts["best_sha256"] == sha256_of(run.model_path)
    assert not run.waiting_model_path.exists() and not reporter.warnings
    for ours, theirs in zip(run.load_model().get_weights(), whole.load_model().get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_best_model_that_is_another_is_reported_when_the_run_goes_on(one_device, prepared, tiny, tmp_path):
    run = Run(shutil.copytree(one_device[0].path, tmp_path / "run"))
    shutil.copyfile(run.last_model_path, run.model_path)
    run.model_path.write_bytes(run.model_path.read_bytes() + b"another")
    reporter = Recorded()
    trainer(run, prepared, reporter=reporter).fit(resume=True)
    (warning,) = reporter.warnings
    assert "model.keras is not the model of the epoch" in warning
