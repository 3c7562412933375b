"""Starting, resuming, listing and drawing runs through the command line."""

import json
import shutil
import socket

import pytest
from invoking import invoke

from alexnet_keras.data import image_cache
from alexnet_keras.recipes.edits import fields_of
from alexnet_keras.recipes.toml import load_recipe
from alexnet_keras.runs import Run


@pytest.fixture
def folder(trained, monkeypatch):
    """The folder of the finished run `tiny`, to work in."""
    monkeypatch.chdir(trained[0])
    return trained[0]


def test_runs_lists_what_there_is_with_its_state(folder):
    listed = {row["run"]: row for row in json.loads(invoke("runs", "--json").stdout)}
    assert listed["tiny"]["state"] == "finished"
    assert listed["tiny"]["epochs"] == listed["tiny"]["of"] == 2
    assert 0 <= listed["tiny"]["best_val_top1_error"] <= 1
    (folder / "saved_models/broken").mkdir()
    (folder / "saved_models/broken/run.json").write_text("{")
    table = invoke("runs")
    assert table.exit_code == 0 and "unreadable" in table.stdout and "tiny" in table.stdout
    shutil.rmtree(folder / "saved_models/broken")


def test_a_run_whose_process_died_is_listed_as_killed(folder):
    dead = folder / "saved_models/dead"
    shutil.copytree(folder / "saved_models/tiny", dead)
    facts = json.loads((dead / "run.json").read_text())
    (dead / "run.json").write_text(json.dumps({**facts, "status": "running"}))
    assert {row["run"]: row["state"] for row in json.loads(invoke("runs", "--json").stdout)}["dead"] == "killed"
    shutil.rmtree(dead)


@pytest.mark.slow
def test_decoded_images_are_kept_for_later_runs_and_are_no_part_of_the_run(folder, prepared, tmp_path):
    options = ["--cache", "disk", "--cache-dir", tmp_path / "local"]
    begin = ["train", "--data", prepared.path, "--recipe", "tiny.toml", "--run", "cached", "--epochs", "1"]
    first = invoke(*begin, *options)
    assert first.exit_code == 0, first.stderr
    assert "36 decoded images take 0.01 GB (196,608 bytes each): keeping them in" in first.stderr
    assert "--cache" not in (folder / "saved_models/cached/run.json").read_text()
    second = invoke("train", "--resume", "cached", "--epochs", "2", *options)
    assert second.exit_code == 0 and "Using the decoded images in" in second.stderr, second.stderr
    shutil.rmtree(folder / "saved_models/cached")


def test_decoded_images_that_have_no_room_are_refused_before_the_run_begins(folder, prepared, monkeypatch):
    monkeypatch.setattr(image_cache, "free_memory", lambda: 1e6)
    begin = ["train", "--data", prepared.path, "--recipe", "tiny.toml", "--run", "large", "--cache", "memory"]
    result = invoke(*begin)
    assert result.exit_code == 2 and "memory has 0.00 GB free: use --cache disk, or none" in result.stderr
    assert not (folder / "saved_models/large").exists()
    assert "--cache-dir goes with --cache disk" in invoke(*begin, "--cache-dir", "x").stderr


def test_no_runs_are_no_error(alexnet):
    assert "no runs" in alexnet("runs").stdout
    assert json.loads(alexnet("runs", "--json").stdout) == []


def test_the_next_command_is_quoted_and_names_the_run_as_it_is_found(folder, tmp_path, monkeypatch):
    odd = shutil.copytree(folder / "saved_models/tiny", folder / "saved_models/a b")
    assert "\nNext: alexnet eval 'a b' --ten-crop\n" in invoke("train", "--resume", "a b").stdout
    monkeypatch.chdir(tmp_path)
    assert f"\nNext: alexnet eval '{odd}' --ten-crop\n" in invoke("train", "--resume", odd).stdout
    shutil.rmtree(odd)


def test_a_finished_run_says_so_and_is_extended_by_more_epochs(folder):
    shutil.copytree(folder / "saved_models/tiny", folder / "saved_models/longer")
    done = invoke("train", "--resume", "longer")
    assert done.exit_code == 0 and "Already finished: saved_models/longer has trained its 2 epochs" in done.stdout
    assert "alexnet train --resume longer --epochs 4" in done.stdout and "Trained" not in done.stdout
    refused = invoke("train", "--resume", "longer", "--epochs", 2)
    assert refused.exit_code == 2 and "has trained 2 epochs: --epochs takes more" in refused.stderr
    assert invoke("train", "--resume", "longer", "--epochs", 5, "--data", "nowhere").exit_code == 2
    assert load_recipe(folder / "saved_models/longer/recipe.toml").training.epochs == 2, "left as it was"
    extended = invoke("train", "--resume", "longer", "--epochs", 3)
    assert extended.exit_code == 0, extended.stderr
    assert "The schedule of 2 epochs is now one of 3." in extended.stderr and "in epochs 3 to 3" in extended.stderr
    assert "Trained saved_models/longer: 3 epochs" in extended.stdout
    facts = json.loads((folder / "saved_models/longer/run.json").read_text())
    assert facts["extended"] == [{"after": 2, "from": 2, "to": 3}] and facts["status"] == "finished"
    assert load_recipe(folder / "saved_models/longer/recipe.toml").training.epochs == 3
    first = (folder / "saved_models/tiny/history.csv").read_text().splitlines()
    assert (folder / "saved_models/longer/history.csv").read_text().splitlines()[:3] == first
    shutil.rmtree(folder / "saved_models/longer")


def test_a_run_that_cannot_resume_is_refused_and_stays_as_it_was(folder):
    """Its states are gone or damaged, it is a published copy, or its run.json lacks what every run writes."""
    whole = {path.name for path in (folder / "saved_models/tiny").iterdir()}
    for change, code, words in (
        ("no states", 3, "has no saved state any more, so it cannot be resumed: start a new run from its weights with"),
        ("damaged states", 3, "is damaged or of another network"),
        ("no seed", 3, "run.json is damaged: it has no entry seed"),
    ):
        run = shutil.copytree(folder / "saved_models/tiny", folder / "saved_models/other")
        if change == "no states":
            shutil.rmtree(run / "state")
        elif change == "no seed":
            facts = json.loads((run / "run.json").read_text())
            (run / "run.json").write_text(json.dumps({key: value for key, value in facts.items() if key != "seed"}))
        else:
            for state in (run / "state").glob("step-*.npz"):
                state.write_bytes(state.read_bytes()[:1000])
        before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
        refused = invoke("train", "--resume", "other", "--epochs", 3)
        assert refused.exit_code == code and words in refused.stderr, (change, refused.stderr)
        assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before, change
        assert {path.name for path in run.iterdir()} == whole - ({"state"} if change == "no states" else set())
        shutil.rmtree(run)
    assert invoke("publish", "tiny", "--to", "published").exit_code == 0
    for command, words in (("train --resume", "was published, without what a training resumes"), ("eval", "--data")):
        refused = invoke(*command.split(), "published")
        assert refused.exit_code == 2 and words in refused.stderr, refused.stderr
    shutil.rmtree(folder / "published")


def test_a_name_that_a_killed_command_left_is_free_and_that_of_a_file_is_refused(folder, prepared):
    begin = ["train", "--data", prepared.path, "--recipe", "tiny.toml", "--epochs", 1, "--run"]
    left, file = folder / "saved_models/left", folder / "saved_models/file"
    left.mkdir()
    (left / ".partial-host-1-run.json").write_text("{")
    assert invoke(*begin, "left").exit_code == 0
    file.write_text("")
    refused = invoke(*begin, "file")
    assert refused.exit_code == 2 and "file is a file: choose another name with --run" in refused.stderr
    file.unlink()
    shutil.rmtree(left)


def test_the_last_model_is_not_that_of_a_run_that_has_gone_on(folder):
    run = shutil.copytree(folder / "saved_models/tiny", folder / "saved_models/longer")
    history = (run / "history.csv").read_text()
    (run / "history.csv").write_text(history + history.splitlines()[-1].replace("1,", "2,", 1) + "\n")
    refused = invoke("eval", "longer", "--model", "last")
    assert refused.exit_code == 2
    assert "is the model after 2 epochs, and the run has gone on to 3: resume it" in refused.stderr
    (run / "history.csv").write_text("\n".join(history.splitlines()[:-1]) + "\n")
    refused = invoke("eval", "longer", "--model", "last")
    assert refused.exit_code == 3
    assert "history.csv is damaged: last.keras is of 2 epochs, and it has 1." in refused.stderr
    (run / "history.csv").write_text("epoch\nnone\n")
    assert invoke("visualize", "kernels", "longer").exit_code == 0, "the best model needs no history"
    (run / "history.csv").write_text(history)
    assert invoke("eval", "longer", "--model", "last").exit_code == 0
    shutil.rmtree(run)


def test_curves_of_a_finished_run_whose_history_lacks_epochs_are_not_drawn(folder):
    run = shutil.copytree(folder / "saved_models/tiny", folder / "saved_models/longer")
    history = (run / "history.csv").read_text().splitlines()
    for lines, said in (
        (None, "last.keras is of 2 epochs, and it has 0."),
        ([], "last.keras is of 2 epochs, and it has 0."),
        (history[:2], "last.keras is of 2 epochs, and it has 1."),
        ([history[0], *history[:0:-1]], "its epochs are not 0, 1, 2 and so on."),
        ([history[0], history[1], *history[1:]], "its epochs are not 0, 1, 2 and so on."),
    ):
        if lines is None:
            (run / "history.csv").unlink()
        else:
            (run / "history.csv").write_text("\n".join(lines))
        for command in (["visualize", "curves"], ["report"]):
            refused = invoke(*command, "longer")
            assert refused.exit_code == 3 and f"history.csv is damaged: {said}" in refused.stderr, (lines, command)
    (run / "history.csv").unlink()
    evaluated = invoke("eval", "longer")  # which has no need of it, and is not lost because of the card
    assert evaluated.exit_code == 0 and "Warning: The model card was not written: " in evaluated.stderr
    assert "`alexnet train --resume longer` writes it again." in evaluated.stderr
    assert invoke("train", "--resume", "longer").exit_code == 0
    assert (run / "history.csv").read_text().splitlines() == history
    assert invoke("visualize", "curves", "longer").exit_code == 0
    shutil.rmtree(run)


def test_damaged_records_do_not_stop_a_run_whose_state_is_whole(folder):
    run = shutil.copytree(folder / "saved_models/tiny", folder / "saved_models/longer")
    history, steps = (run / "history.csv").read_text(), (run / "steps.csv").read_text()
    (run / "history.csv").write_text(history.replace("0.", "x", 1))
    assert "is damaged" in invoke("visualize", "curves", "longer").stderr
    number = history.splitlines()[1].split(",")[4]
    (run / "history.csv").write_text(history.replace(number, "nan", 1))
    damaged = invoke("visualize", "curves", "longer")
    assert damaged.exit_code == 3 and "history.csv is damaged: it has a number that is not finite" in damaged.stderr
    (run / "steps.csv").write_text(f"{steps}junk\n")
    resumed = invoke("train", "--resume", "longer")
    assert resumed.exit_code == 0, resumed.stderr
    assert f"{run.relative_to(folder)}/steps.csv has 1 damaged line, left out from now on." in resumed.stderr
    assert ((run / "history.csv").read_text(), (run / "steps.csv").read_text()) == (history, steps)
    assert "Already finished" in resumed.stdout
    shutil.rmtree(run)


@pytest.mark.slow
def test_a_run_that_stalled_is_not_extended(folder, prepared):
    begin = ["train", "--data", prepared.path, "--recipe", "tiny.toml", "--run", "stalled", "--epochs", "9"]
    assert "2 epochs, validation" in invoke(*begin, "--patience", "1", "--lr", "1e-12").stdout
    recipe = folder / "saved_models/stalled/recipe.toml"
    before = recipe.read_text()
    again = invoke("train", "--resume", "stalled")
    assert again.exit_code == 0 and "Its validation error has stalled: more epochs would train nothing" in again.stdout
    assert "alexnet train --init-from stalled" in again.stdout and "--epochs" not in again.stdout
    refused = invoke("train", "--resume", "stalled", "--epochs", "12")
    assert refused.exit_code == 2 and "had stalled after 2 epochs" in refused.stderr
    assert recipe.read_text() == before and "extended" not in (folder / "saved_models/stalled/run.json").read_text()
    shutil.rmtree(folder / "saved_models/stalled")


def test_a_training_can_be_quiet_and_its_run_does_not_record_it(folder, prepared):
    begin = ["train", "--data", prepared.path, "--recipe", "tiny.toml", "--run", "quiet", "--epochs", "1"]
    for words in (begin, ["train", "--resume", "quiet", "--epochs", "2"]):
        done = invoke(*words, "--quiet")
        assert done.exit_code == 0 and done.stdout and not done.stderr, done.exception or done.stderr
    run = json.loads((folder / "saved_models/quiet/run.json").read_text())
    assert run["status"] == "finished" and "--quiet" not in json.dumps(run)
    shutil.rmtree(folder / "saved_models/quiet")


def test_a_legend_names_every_run(folder, monkeypatch):
    from alexnet_keras.visualization import curves

    shutil.copytree(folder / "saved_models/tiny", folder / "saved_models/_$a$")
    drawn = []
    monkeypatch.setattr(curves, "save_figure", lambda figure, path: drawn.append(figure))
    assert invoke("visualize", "curves", "_$a$", "tiny").exit_code == 0
    assert [text.get_text() for text in drawn[0].axes[0].get_legend().get_texts()][:2] == ["_$a$", "tiny"]
    shutil.rmtree(folder / "saved_models/_$a$")


def test_curves_of_several_runs_are_drawn_together(folder, tmp_path):
    result = invoke("visualize", "curves", "tiny", "tiny", "--out", tmp_path / "two.pdf")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "two.pdf").stat().st_size > 1000
    many = invoke("visualize", "curves", *["tiny"] * 8)
    assert many.exit_code == 2 and "too many" in many.stderr
    begun = Run(shutil.copytree(folder / "saved_models/tiny", folder / "saved_models/begun"))
    begun.history_path.unlink()
    begun.update({"status": "interrupted"})
    result = invoke("visualize", "curves", "begun")
    assert result.exit_code == 2 and "has not finished an epoch" in result.stderr
    shutil.rmtree(begun.path)


@pytest.mark.slow
def test_info_devices_tells_the_placement_and_what_passes_between_towers(folder):
    overview = json.loads(invoke("info", "devices", "--json").stdout)
    assert [plan["strategy"] for plan in overview["placements"].values()] == ["one", "one", "towers", *["mirrored"] * 2]
    arguments = ["info", "devices", "--gpus", 2, "--recipe", "tiny.toml", "--classes", 3, "--batch-size", 4]
    found = json.loads(invoke(*arguments, "--json").stdout)
    assert found["misplaced"] == []
    assert {each["layer"] for each in found["crossings"]} == {"conv1", "conv3", "fc6", "fc7", "fc8", "scalars"}
    shown = invoke(*arguments)
    assert "NOT IN FIGURE 2" not in shown.stdout and "All 60 weights" in shown.stdout
    assert invoke("info", "devices", "--gpus", 3, "--strategy", "towers").exit_code == 2
    uneven = invoke("info", "devices", "--gpus", 3, "--batch-size", 32)
    assert uneven.exit_code == 2 and "32 cannot be shared equally by 3 replicas: take --batch-size 30" in uneven.stderr
    for option, use in (
        ("--batch-size", "what several devices share: --gpus 2"),
        ("--classes", "the step of two towers"),
    ):
        assert f"{option} is for {use}" in invoke("info", "devices", option, 3).stderr
        assert f"{option} is for {use}" in invoke("info", "devices", "--gpus", 0, option, 3).stderr


@pytest.mark.slow
def test_the_batch_size_leaves_the_rates_alone_unless_they_are_to_be_scaled(folder, prepared):
    common = ["train", "--data", prepared.path, "--recipe", "tiny.toml", "--epochs", 1]
    assert invoke(*common, "--scale-lr").exit_code == 2
    assert invoke(*common, "--batch-size", 16, "--run", "plain").exit_code == 0
    assert invoke(*common, "--batch-size", 16, "--scale-lr", "--run", "scaled").exit_code == 0
    plain, scaled = (
        fields_of(load_recipe(folder / f"saved_models/{name}/recipe.toml")) for name in ("plain", "scaled")
    )
    differences = {name for name in plain if plain[name].value != scaled[name].value}
    rates = {"training.weight_rate", "training.bias_rate", "training.schedule.conv1_lowered_rate"}
    assert differences == rates
    assert all(scaled[name].value == pytest.approx(2 * plain[name].value) for name in rates)


@pytest.mark.slow
def test_a_run_starts_from_another_and_says_what_it_took(folder, prepared):
    arguments = ["train", "--data", prepared.path, "--recipe", "tiny.toml", "--epochs", 1, "--init-from", "tiny"]
    result = invoke(*arguments, "--run", "tuned", "--set", "network.conv5.filters=5")
    assert result.exit_code == 0, result.stderr
    lines = [line.split()[:2] for line in result.stderr.splitlines() if line.startswith(("  conv", "  fc"))]
    told = {layer.rstrip(":"): outcome.rstrip(":") for layer, outcome in lines if layer[-1].isdigit()}
    assert told["conv1"] == "copied" and told["conv5"] == "skipped" and told["fc6"] == "skipped"
    assert invoke(*arguments[:-1], "nobody").exit_code == 2


@pytest.mark.slow
def test_layers_are_frozen_and_slowed_by_name_and_the_run_remembers_it(folder, prepared):
    arguments = ["train", "--data", prepared.path, "--recipe", "tiny.toml", "--epochs", 1, "--init-from", "tiny"]
    options = ["--run", "kept", "--rate-factor", "conv3..fc6=0.1", "--freeze", "conv1..conv3", "--no-tf32"]
    result = invoke(*arguments, *options)
    assert result.exit_code == 0, result.stderr
    assert "frozen: conv1, conv2, conv3." in result.stderr and "random initial weights" not in result.stderr
    recipe = load_recipe(folder / "saved_models/kept/recipe.toml")
    factors = [layer.rate_factor for layer in recipe.network.layers]
    assert factors == [0, 0, 0, 0.1, 0.1, 0.1, 1, 1]
    facts = json.loads((folder / "saved_models/kept/run.json").read_text())
    assert "network.conv1.rate_factor=0.0" in facts["overrides"]
    resolved = ["--data", prepared.path, "--run", "kept", "--recipe", "tiny.toml", "--init-from", "tiny"]
    given = ["--epochs", 1, "--freeze", "conv1..conv3", "--rate-factor", "conv3..fc6=0.1", "--no-tf32"]
    assert facts["tf32"] is False
    assert facts["command"] == ["alexnet", "train", *map(str, resolved + given)]
    resumed = invoke("train", "--resume", "kept", "--freeze", "conv5")
    assert resumed.exit_code == 2 and "leave --freeze out" in resumed.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--freeze conv1..conv9", "no layer 'conv9' in this network; it has conv1, conv2"),
        ("--freeze conv1..fc8", "Every layer is frozen"),
        ("--rate-factor conv1", "LAYERS=FACTOR"),
        ("--rate-factor conv1=much", "LAYERS=FACTOR"),
        ("--rate-factor conv1=-1", "greater than or equal to 0"),
        ("--rate-factor conv1=2 --rate-factor conv1..fc6=1 --rate-factor conv1=3", "has two factors for conv1: leave"),
    ],
)
def test_layers_and_factors_that_cannot_be_are_refused_and_leave_no_run(folder, prepared, options, message):
    begin = ["train", "--data", prepared.path, "--recipe", "tiny.toml", "--run", "refused"]
    result = invoke(*begin, *options.split())
    assert result.exit_code == 2 and message in result.stderr
    assert not (folder / "saved_models/refused").exists()


@pytest.mark.slow
def test_a_changed_dataset_is_refused_unless_accepted_and_other_classes_always(
    folder, prepared, write_images, tmp_path
):
    data = tmp_path / "data"
    shutil.copytree(prepared.path, data)
    arguments = ["train", "--data", data, "--recipe", "tiny.toml", "--run", "changing"]
    assert invoke(*arguments, "--epochs", 1).exit_code == 0
    write_images(tmp_path / "more/train", dict.fromkeys(("blue", "green", "red"), 9), seed=7)
    write_images(tmp_path / "more/val", dict.fromkeys(("blue", "green", "red"), 3), seed=8)
    shutil.rmtree(data)
    assert invoke("prepare", tmp_path / "more", "--out", data).exit_code == 0
    refused = invoke("train", "--resume", "changing")
    assert refused.exit_code == 3 and "has changed since the run" in refused.stderr
    accepted = invoke("train", "--resume", "changing", "--accept-new-data")
    assert accepted.exit_code == 0, accepted.stderr
    assert invoke("train", "--resume", "changing").exit_code == 0, "accepted once, it is the run's data"
    assert invoke("train", "--accept-new-data").exit_code == 2
    write_images(tmp_path / "other", {"x": 5, "y": 5, "z": 5})
    assert invoke("prepare", tmp_path / "other", "--out", tmp_path / "xyz").exit_code == 0
    other = invoke("train", "--resume", "changing", "--data", tmp_path / "xyz", "--accept-new-data")
    assert other.exit_code == 3 and "x, y, z only in the data; blue, green, red only in the run" in other.stderr


def test_a_cluster_is_waited_for_no_longer_than_told(folder):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    own, other = (f"127.0.0.1:{each.getsockname()[1]}" for each in sockets)
    for each in sockets:
        each.close()
    task = {"type": "worker", "index": 0}
    tf_config = json.dumps({"cluster": {"worker": [own, other]}, "task": task})
    result = invoke("train", "--worker-timeout", 0.5, env={"TF_CONFIG": tf_config})
    assert result.exit_code == 1
    assert f"Waiting for {other}." in result.stderr and f"did not appear within 0.5 seconds: {other}" in result.stderr
    assert "TF_CONFIG names a cluster" in result.stderr
    for arguments in ([], ["--strategy", "multi-worker"]):
        result = invoke("train", *arguments, env={"TF_CONFIG": "{"})
        assert result.exit_code == 2 and "not JSON" in result.stderr
    for arguments in (["--strategy", "one"], ["--resume", "tiny"]):
        result = invoke("train", "--worker-timeout", 5, *arguments)
        assert result.exit_code == 2 and "--worker-timeout is for several machines" in result.stderr


@pytest.mark.parametrize("strategy", [[], ["--strategy", "multi-worker"]])
def test_the_only_worker_of_a_cluster_trains_alone_and_says_so(folder, strategy):
    tf_config = {"cluster": {"worker": ["job-worker-0.ns.svc:2222"]}, "task": {"type": "worker", "index": 0}}
    result = invoke("train", "--resume", "tiny", *strategy, env={"TF_CONFIG": json.dumps(tf_config)})
    assert result.exit_code == 0, result.stderr
    assert "TF_CONFIG names no other worker: this process trains alone." in result.stderr
