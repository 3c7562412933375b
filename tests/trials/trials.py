"""What goes wrong in the world, many times over: two commands at once, killed processes, damaged files.

    python tests/trials/trials.py pairs              100 random pairs of commands started together
    python tests/trials/trials.py kills              100 SIGKILLs of a training and 100 of a preparation
    python tests/trials/trials.py damage             5,000 damaged files of every kind that is read

Every command runs in a process forked from this one, which has imported the libraries and started none of them. No
trial may end in a traceback, in a wrong figure, or in something that is lost. Exit status 1 if one does.
"""

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

ALLOWED = (0, 1, 2, 3)  # of a command that another gets in the way of
SMALL = [
    *(f"network.{name}.filters={maps}" for name, maps in zip(("conv1", "conv2", "conv3"), (4, 6, 6), strict=True)),
    *(f"network.{name}.filters=4" for name in ("conv4", "conv5")),
    *("network.fc6.units=12", "network.fc7.units=8", "training.batch_size=8", "training.epochs=4"),
]
DATA, RUN = "data/set", "one"
PREPARE = ["prepare", "pictures", "--out", DATA, "--shard-examples", "16"]
TRAIN = ["train", "--data", DATA, "--recipe", "small.toml", "--seed", "3", "--deterministic", "--save-every", "1"]
COMMANDS = {
    "eval": ["eval", RUN, "--json"],
    "ten crops": ["eval", RUN, "--ten-crop", "--json"],
    "ensemble": ["eval", RUN, "two", "--ensemble", "mean", "--json"],
    "report": ["report", RUN],
    "predictions": ["visualize", "predictions", RUN, "--count", "4"],
    "confusion": ["visualize", "confusion", RUN],
    "kernels": ["visualize", "kernels", RUN],
    "neighbors": ["visualize", "neighbors", RUN, "--queries", "2"],
    "predict": ["predict", "photo.jpg", "--run", RUN, "--json"],
    "features": ["features", RUN, "--split", "val"],
    "export": ["export", RUN, "--to", "safetensors"],
    "info": ["info", "data", DATA],
    "runs": ["runs", "--json"],
    "verify": ["prepare", "--verify", DATA],
    "prepare the same": PREPARE,
    "prepare otherwise": [*PREPARE, "--seed", "1", "--overwrite"],
    "prepare another": ["prepare", "pictures", "--out", "data/new"],
    "train": [*TRAIN, "--epochs", "1"],
    "train by name": [*TRAIN, "--epochs", "1", "--run", "named"],
    "resume": ["train", "--resume", "stopped"],
}


@dataclass
class Started:
    """A command under way, in a process of its own."""

    pid: int
    arguments: Sequence[str]
    out: Path
    code: int | None = None

    def wait(self) -> "Started":
        """Waits for its end."""
        if self.code is None:
            _, status = os.waitpid(self.pid, 0)
            self.code = os.waitstatus_to_exitcode(status)
        return self

    def ended(self) -> bool:
        """Whether it has ended."""
        pid, status = (self.pid, 0) if self.code is not None else os.waitpid(self.pid, os.WNOHANG)
        if pid and self.code is None:
            self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    @property
    def stdout(self) -> str:
        return self.out.with_suffix(".out").read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return self.out.with_suffix(".err").read_text(errors="replace")


def start(project: Path, arguments: Sequence[str]) -> Started:
    """Starts a command in a folder."""
    handle, name = tempfile.mkstemp(dir=project.parent)
    os.close(handle)
    out = Path(name)
    pid = os.fork()
    if pid:
        return Started(pid, arguments, out)
    code = 99
    try:
        for number, suffix in ((1, ".out"), (2, ".err")):
            os.dup2(os.open(out.with_suffix(suffix), os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        os.chdir(project)
        from alexnet_keras.cli.main import cli

        cli.main(list(arguments), prog_name="alexnet")
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run(project: Path, arguments: Sequence[str]) -> Started:
    """Runs a command in a folder to its end."""
    return start(project, arguments).wait()


def preload() -> None:
    """Imports what every command needs; nothing here may start TensorFlow, whose threads do not survive a fork."""
    import keras
    import matplotlib.figure
    import scipy.sparse
    import tensorflow
    import tensorflow_datasets
    import tomlkit

    import alexnet_keras.cli.main

    assert keras and matplotlib.figure and scipy.sparse and tensorflow and tensorflow_datasets and tomlkit
    assert alexnet_keras.cli.main


def project_in(folder: Path) -> Path:
    """A project with images, a prepared dataset, two finished runs and one that was stopped."""
    from alexnet_keras.data.generated_images import write_images
    from alexnet_keras.recipes.toml import load_recipe, to_toml, with_overrides

    project = folder / "project"
    project.mkdir(parents=True)
    write_images(project / "pictures", 48)
    shutil.copyfile(next((project / "pictures/val").rglob("*.jpg")), project / "photo.jpg")
    (project / "small.toml").write_text(to_toml(with_overrides(load_recipe("source"), SMALL)))
    for arguments in (
        PREPARE,
        [*TRAIN, "--epochs", "1", "--run", RUN],
        [*TRAIN, "--epochs", "1", "--run", "two", "--seed", "4"],
    ):
        done = run(project, arguments)
        assert done.code == 0, done.stderr
    stopped = start(project, [*TRAIN, "--run", "stopped"])
    while not list((project / "saved_models/stopped").glob("state/step-*.npz")) and not stopped.ended():
        time.sleep(0.01)
    os.kill(stopped.pid, signal.SIGTERM)
    assert stopped.wait().code == 130, stopped.stderr
    return project


def answer(done: Started) -> object:
    """The figures that a command printed as JSON; None of one that printed none."""
    if "--json" not in done.arguments or done.arguments[0] == "runs":
        return None
    found = json.loads(done.stdout)
    if done.arguments[0] == "predict":
        return found
    return [{key: row[key] for key in ("images", "loss", "top1", "top5")} for row in found]


def history_of(project: Path, name: str) -> list[dict[str, float]]:
    """What a run's epochs came to, without what a clock told."""
    from alexnet_keras.runs import Run

    rows = Run(project / "saved_models" / name).history
    return [{key: value for key, value in row.items() if "second" not in key} for row in rows]


def weights_of(project: Path, name: str) -> dict[str, bytes]:
    """The bytes of every weight that a run ended with."""
    import zipfile
    from io import BytesIO

    import h5py

    found: dict[str, bytes] = {}
    with zipfile.ZipFile(project / "saved_models" / name / "last.keras") as archive:
        content = BytesIO(archive.read("model.weights.h5"))
    with h5py.File(content) as file:
        file.visititems(lambda name, item: found.update({name: item[()].tobytes()}) if hasattr(item, "shape") else None)
    return found


def close(one: object, other: object) -> bool:
    """Whether two answers are the same but for the rounding of another batch."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(close(*pair) for pair in zip(one, other, strict=True))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= 1e-5 * max(1.0, abs(one))
    return one == other


def check_pair(project: Path, pair: Sequence[Started], alone: dict[str, object]) -> list[str]:
    """What is wrong after two commands were started together."""
    problems = []
    for done in pair:
        called = " ".join(done.arguments)
        if done.code not in ALLOWED or "Traceback" in done.stderr:
            problems.append(f"{called}: exit status {done.code}\n{done.stderr[-2000:]}")
        elif done.code == 0 and not close(answer(done), alone[called]):
            problems.append(f"{called}: {answer(done)} instead of {alone[called]}")
        elif done.code and not done.stderr.strip():
            problems.append(f"{called}: exit status {done.code} and no word")
    if {done.code for done in pair} != {0} and all(done.code for done in pair):
        problems.append(f"neither was done: {[done.stderr[-300:] for done in pair]}")
    for check in (["eval", RUN, "--json"], ["prepare", "--verify", DATA]):
        done = run(project, check)
        if done.code or not close(answer(done), alone.get(" ".join(check))):
            problems.append(f"afterwards {' '.join(check)}: {done.code}, {answer(done)}\n{done.stderr[-1000:]}")
    trained = [
        name
        for name in ("named", "source-set", "source-set-2")
        if (project / "saved_models" / name / "run.json").exists()
    ]
    wanted = sum(done.code == 0 and list(done.arguments[:2]) == TRAIN[:2] for done in pair)
    if len(trained) < wanted:
        problems.append(f"{wanted} runs were trained, and there are {trained}")
    for name in trained:
        if history_of(project, name) != history_of(project, RUN):
            problems.append(f"the run {name} is not what its training alone makes of it")
    if leftovers := [str(path) for path in project.rglob(".partial-*")]:
        problems.append(f"left behind: {leftovers}")
    return problems


def pairs(folder: Path, number: int, seed: int, say: Callable[[str], None] = print) -> list[str]:
    """Starts random pairs of commands together."""
    project, chosen = project_in(folder), random.Random(seed)
    alone: dict[str, object] = {}
    for name, arguments in COMMANDS.items():
        copy = shutil.copytree(project, folder / "alone")
        done = run(copy, arguments)
        assert done.code == 0, f"{name} alone: {done.code} {done.stderr}"
        alone[" ".join(arguments)] = answer(done)
        shutil.rmtree(copy)
    problems = []
    for index in range(number):
        names = chosen.choice(list(COMMANDS)), chosen.choice(list(COMMANDS))
        copy = shutil.copytree(project, folder / f"pair-{index}")
        together = [start(copy, COMMANDS[names[0]])]
        time.sleep(chosen.choice((0, 0, chosen.uniform(0, 2))))
        together.append(start(copy, COMMANDS[names[1]]))
        found = check_pair(copy, [each.wait() for each in together], alone)
        codes = " and ".join(str(each.code) for each in together)
        say(f"{index + 1}/{number} {names[0]} + {names[1]}: {codes}" + "".join(f"\n  WRONG {text}" for text in found))
        problems += found
        shutil.rmtree(copy)
    return problems


def kills(folder: Path, number: int, seed: int, only: str, say: Callable[[str], None] = print) -> list[str]:
    """Kills a training, and a preparation, again and again; what they end with must be what they end with alone."""
    project, chosen, problems = project_in(folder), random.Random(seed), []
    if only in "trainings":
        training = [*TRAIN, "--run", "killed"]
        problems += _killed_trainings(shutil.copytree(project, folder / "training"), training, number, chosen, say)
    if only in "preparations":
        preparing = ["prepare", "pictures", "--out", "data/killed", "--name", "killed", "--shard-examples", "4"]
        problems += _killed_preparations(shutil.copytree(project, folder / "preparing"), preparing, number, chosen, say)
    return problems


def _kill(started: Started, after: float) -> bool:
    """Kills a command after so many seconds; whether it was still there."""
    deadline = time.monotonic() + after
    while time.monotonic() < deadline and not started.ended():
        time.sleep(0.002)
    if started.ended():
        return False
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    return True


def _killed_trainings(
    project: Path, training: list[str], number: int, chosen: random.Random, say: Callable[[str], None]
) -> list[str]:
    began = time.monotonic()
    done = run(project, [*training[:-1], "whole"])
    assert done.code == 0, done.stderr
    lasts, problems, killed, ended = time.monotonic() - began, [], 0, 0
    path = project / "saved_models/killed"
    while killed < number:
        arguments = ["train", "--resume", "killed"] if (path / "run.json").exists() else training
        under_way = start(project, arguments)
        if _kill(under_way, chosen.uniform(0.2, 1.2 * lasts)):
            killed += 1
            if killed % 10 == 0:
                say(f"{killed}/{number} trainings killed, {ended} ended")
            if (path / "model.keras").exists() and chosen.random() < 0.2:
                found = run(project, ["eval", "killed", "--json"])
                if found.code or "Traceback" in found.stderr:
                    problems.append(f"eval of a killed run: {found.code}\n{found.stderr[-1000:]}")
        elif under_way.code:
            problems.append(f"{' '.join(arguments)}: {under_way.code}\n{under_way.stderr[-2000:]}")
            shutil.rmtree(path)
        else:
            ended += 1
            problems += _differences(project)
            shutil.rmtree(path)
    if path.exists():
        arguments = ["train", "--resume", "killed"] if (path / "run.json").exists() else training
        done = run(project, arguments)
        problems += _differences(project) if done.code == 0 else [f"in the end: {done.code}\n{done.stderr[-2000:]}"]
    return problems


def _differences(project: Path) -> list[str]:
    problems = []
    if history_of(project, "killed") != history_of(project, "whole"):
        problems.append("the killed training ended with another history")
    if weights_of(project, "killed") != weights_of(project, "whole"):
        problems.append("the killed training ended with other weights")
    facts = [json.loads((project / f"saved_models/{name}/run.json").read_text()) for name in ("killed", "whole")]
    if facts[0]["best"] != facts[1]["best"]:
        problems.append(f"the best epoch is {facts[0]['best']}, not {facts[1]['best']}")
    if left := [str(path) for path in (project / "saved_models/killed").rglob(".partial-*")]:
        problems.append(f"left behind: {left}")
    return problems


def _killed_preparations(
    project: Path, preparing: list[str], number: int, chosen: random.Random, say: Callable[[str], None]
) -> list[str]:
    began = time.monotonic()
    whole = [each.replace("data/killed", "data/whole") for each in preparing]
    done = run(project, whole)
    assert done.code == 0, done.stderr
    lasts, problems, killed, ended = time.monotonic() - began, [], 0, 0
    path = project / "data/killed"

    def compare() -> list[str]:
        one, other = (
            {each.name: each.read_bytes() for each in (project / "data" / name).iterdir() if each.is_file()}
            for name in ("killed", "whole")
        )
        return [] if one == other else [f"other bytes: {sorted(k for k in one | other if one.get(k) != other.get(k))}"]

    while killed < number:
        under_way = start(project, preparing)
        if _kill(under_way, chosen.uniform(0.05, 1.1 * lasts)):
            killed += 1
            if killed % 10 == 0:
                say(f"{killed}/{number} preparations killed, {ended} ended")
        elif under_way.code:
            problems.append(f"{' '.join(preparing)}: {under_way.code}\n{under_way.stderr[-2000:]}")
            shutil.rmtree(path)
        else:
            ended += 1
            problems += compare()
            shutil.rmtree(path)
    done = run(project, preparing)
    return problems + (compare() if done.code == 0 else [f"in the end: {done.code}\n{done.stderr[-2000:]}"])


def told(problems: Sequence[str]) -> None:
    """Prints what was wrong, and ends the process."""
    for problem in problems:
        click.echo(f"WRONG {problem}")
    click.echo(f"{len(problems)} problems." if problems else "All well.")
    sys.exit(bool(problems))


@click.group()
def main() -> None:
    """Trials that take too long for every change."""


@main.command("pairs")
@click.option("--number", default=100, show_default=True, help="Pairs.")
@click.option("--seed", default=0, show_default=True, help="Chooses them.")
def pairs_command(number: int, seed: int) -> None:
    """Random pairs of commands started together on one run and dataset."""
    preload()
    with tempfile.TemporaryDirectory() as folder:
        told(pairs(Path(folder), number, seed, click.echo))


@main.command("kills")
@click.option("--number", default=100, show_default=True, help="Of each kind.")
@click.option("--seed", default=0, show_default=True, help="Chooses the moments.")
@click.option("--only", default="", help="trainings or preparations; both by default.")
def kills_command(number: int, seed: int, only: str) -> None:
    """SIGKILLs of a deterministic training, and of a preparation, at random moments."""
    preload()
    with tempfile.TemporaryDirectory() as folder:
        told(kills(Path(folder), number, seed, only, click.echo))


@main.command("damage")
@click.option("--number", default=5000, show_default=True, help="Damaged files, over all kinds.")
@click.option("--seed", default=0, show_default=True, help="Chooses the damage.")
@click.option("--only", default="", help="Only kinds whose name contains this.")
def damage_command(number: int, seed: int, only: str) -> None:
    """Damaged files of every kind that is read: no traceback, no hang, no memory."""
    from damage import damaged

    preload()
    with tempfile.TemporaryDirectory() as folder:
        problems, counts = damaged(Path(folder), project_in(Path(folder)), number, seed, only, click.echo)
        for kind, outcomes in counts.items():
            click.echo(f"{kind:<24}" + ", ".join(f"{count} {outcome}" for outcome, count in Counter(outcomes).items()))
        told(problems)


if __name__ == "__main__":
    main()
