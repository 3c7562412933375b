"""Makes a generation of golden files, tests/golden/NAME/, with the package as it stands.

    python tests/golden/make.py NAME

A generation is what one version of the package wrote: images, the dataset prepared of them, a run that was stopped in
the middle of an epoch, the run's exports, and the numbers that all of these gave. `test_golden_files.py` opens every
generation with the package of today. So this program is run to ADD a generation, when a version is about to change what
it writes, and never to replace one: it refuses a NAME that is there. Files that no longer open are a fault of the
package, not of the files.

0.1 was made with version 0.1.0 at commit b71019d (the last to change the package itself was 5761c28), Keras 3.15.1,
TensorFlow 2.21.0, NumPy 2.4.6 on Python 3.11.7; expected.json of each generation says the same of itself.

Everything happens in an empty directory with relative paths, by the commands that a user would type. Left out of what
they write are `events/` and `lock`, which carry the name of the machine, and `.prepare/`; run.json gets a plain name of
the platform.
"""

import csv
import io
import json
import lzma
import os
import platform
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # the file that is no image is no news

import keras
import numpy as np
from click.testing import CliRunner
from PIL import Image

from alexnet_keras import Classifier
from alexnet_keras.cli.console import ConsoleReporter
from alexnet_keras.cli.main import cli
from alexnet_keras.data.dataset import open_prepared
from alexnet_keras.data.pipeline import evaluation_batches
from alexnet_keras.evaluation.predictor import Predictor
from alexnet_keras.machine import environment
from alexnet_keras.network.model import features_of, logits_of
from alexnet_keras.runs import Run

HERE = Path(__file__).resolve().parent
ARCHIVES = ("pictures", "data", "saved_models")  # directories, each packed into NAME.tar.xz
LEFT_OUT = ("events", "lock", ".prepare")
COLORS = {"amber": (210, 150, 40), "green": (60, 180, 80), "violet": (120, 70, 200)}
TRAIN, VAL = 8, 2  # images of each class
WIDE = 3  # every so many images has to be resized, the others only cropped
PHOTO = "pictures/val/violet/1.png"  # to classify: a wide one
STOP = (1, 0)  # epoch and step after which the run is stopped: a third of the second of four epochs
CHANGES = [  # `source`, a few kernels wide
    *(f"network.{name}.filters={width}" for name, width in zip(("conv1", "conv2", "conv3"), (6, 8, 8), strict=True)),
    *(f"network.{name}.filters={width}" for name, width in zip(("conv4", "conv5"), (8, 4), strict=True)),
    *(f"network.{name}.units={width}" for name, width in zip(("fc6", "fc7"), (10, 8), strict=True)),
    # standard deviations for so few inputs, and rates at which rounding does not grow
    *("network.conv2.initial_std=0.05", "network.conv3.initial_std=0.15", "network.conv4.initial_std=0.2"),
    *("network.conv5.initial_std=0.2", "network.fc6.initial_std=0.08", "network.fc7.initial_std=0.2"),
    *("network.fc8.initial_std=0.2", "training.weight_rate=0.002", "training.bias_rate=0.004"),
    *("augmentation.crop_group=2", "training.batch_size=8", "training.epochs=4"),
]


def main(name: str) -> None:
    """Makes the generation `name`."""
    out = HERE / name
    if not re.fullmatch(r"[0-9][0-9.]*", name):
        sys.exit(f"{name!r} is no name of a generation, such as 0.1.")
    if out.exists():
        sys.exit(f"{out} is there, and golden files are never made again: add a generation under another name.")
    made_with = {**environment(), "commit": _commit()}
    del made_with["platform"], made_with["cpus"]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with mock.patch.object(platform, "platform", lambda: f"{platform.system()}-{platform.machine()}"):
            expected, arrays = _make(Path())
        _check_neutral(Path())
        out.mkdir()
        for part in ARCHIVES:
            _pack(Path(part), out / f"{part}.tar.xz")
        os.chdir(HERE)
    (out / "expected.json").write_text(json.dumps({"made_with": made_with, **expected}, indent=1) + "\n")
    np.savez_compressed(out / "expected.npz", **arrays)
    for file in sorted(out.iterdir()):
        print(f"{file.stat().st_size:>9,} {file.relative_to(HERE)}")  # noqa: T201


def _commit() -> str:
    """The commit that last changed the package."""
    code = ("--", "alexnet_keras", "cli")

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=HERE.parents[1], check=True, capture_output=True, text=True
        ).stdout

    if git("status", "--porcelain", *code):
        sys.exit("The package has changes that are not committed: golden files are made with a commit.")
    return git("log", "-1", "--format=%h", *code).strip()


def _alexnet(*arguments: str, code: int = 0) -> str:
    """What a command prints on stdout."""
    result = CliRunner().invoke(cli, list(arguments))
    if result.exit_code != code:
        raise RuntimeError(f"alexnet {' '.join(arguments)} ended with {result.exit_code}: {result.output}")
    return result.stdout


def _make(root: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """Makes all files under the current directory; returns the numbers they gave, small ones and arrays."""
    _draw(root / "pictures")
    _alexnet("prepare", "pictures", "--out", "data/cells", "--seed", "5", "--shard-examples", "16")
    train = ["train", "--data", "data/cells", "--recipe", "source", "--seed", "5", "--deterministic"]
    for change in CHANGES:
        train += ["--set", change]
    _alexnet(*train, "--run", "whole")
    whole = Run.load("whole")
    trained = whole.load_model("last").trainable_variables
    weights = {f"last/{variable.path}": np.asarray(variable) for variable in trained}
    history, losses = whole.history, [float(row["loss"]) for row in _rows(whole.steps_path)]
    _remove(whole.path)
    _stop_in_mid_epoch([*train, "--run", "stopped"])
    for kind in ("saved-model", "onnx", "safetensors"):
        _alexnet("export", "stopped", "--to", kind)
    evaluations = json.loads(_alexnet("eval", "stopped", "--ten-crop", "--json"))
    data, run = open_prepared("data/cells"), Run.load("stopped")
    for path in (data.path, run.path):
        for name in LEFT_OUT:
            _remove(path / name)
    squares = _squares()
    model = run.load_model()
    views = {views: Predictor(model, views)(squares) for views in ("centre", "ten-crop")}
    crops = squares[:, 16:240, 16:240]
    classifier, photo = Classifier(run), Path(PHOTO)
    statistics = data.statistics
    expected = {
        "dataset": {
            "name": data.name,
            "source": data.source,
            "classes": list(data.classes),
            "fingerprint": data.fingerprint,
            "encoding": data.manifest["options"]["encoding"],
            "class_counts": {split: data.class_counts(split) for split in data.splits},
            "rejected": [{"split": each["split"], "filename": each["filename"]} for each in data.rejected],
            "records": {split: _records(data, split) for split in data.splits},
            "rgb_mean": statistics.rgb_mean.tolist(),
            "covariance": statistics.covariance.tolist(),
            "standard_deviations": statistics.standard_deviations.tolist(),
        },
        "run": {
            "name": run.name,
            "parameters": model.count_params(),
            "stopped_at": {"epoch": STOP[0], "step": STOP[1] + 1},
            "best": run.facts["best"],
            "ended": {"step_losses": losses, "history": history},
            "photo": PHOTO,
            "guess": classifier(photo)[0].name,
        },
        "evaluations": {each["views"]: {key: each[key] for key in ("images", "loss", "top1")} for each in evaluations},
    }
    arrays = {
        "squares": squares,
        "probabilities/centre": views["centre"],
        "probabilities/ten-crop": views["ten-crop"],
        "probabilities/photo": classifier.predictor(classifier.square(photo)[None])[0],
        "logits": logits_of(model).predict(crops, verbose=0),
        "features": features_of(model).predict(crops, verbose=0),
        "mean_image": statistics.mean_image,
        **weights,
    }
    keras.backend.clear_session()
    return expected, arrays


def _draw(folder: Path) -> None:
    """Class folders of images made of coloured cells, which compress well, and one file that is no image."""
    random = np.random.default_rng(11)
    for split, count in (("train", TRAIN), ("val", VAL)):
        for name, color in COLORS.items():
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                _cells(random, color, wide=index % WIDE == 1).save(folder / split / name / f"{index}.png")
    (folder / "train" / "amber" / "broken.jpg").write_bytes(b"\xff\xd8 no image")


def _cells(random: np.random.Generator, color: tuple[int, int, int], wide: bool) -> Image.Image:
    """An image of 8 by 8 cells of 32 pixels around a colour; a wide one has 12 by 10 cells of 40."""
    rows, columns, side = (10, 12, 40) if wide else (8, 8, 32)
    cells = np.asarray(color) * random.uniform(0.3, 1.2, (rows, columns, 1)) + random.normal(0, 20, (rows, columns, 3))
    pixels = np.clip(cells, 0, 255).astype(np.uint8).repeat(side, axis=0).repeat(side, axis=1)
    return Image.fromarray(pixels)


def _squares() -> np.ndarray:
    """Images to ask the network about, (4, 256, 256, 3) uint8: a grey one, and cells of each colour."""
    random = np.random.default_rng(13)
    cells = [np.asarray(_cells(random, color, wide=False)) for color in COLORS.values()]
    return np.stack([np.full_like(cells[0], 128), *cells])


def _stop_in_mid_epoch(arguments: list[str]) -> None:
    """Trains until a step is done, then is asked to stop, as Ctrl-C does."""
    shown = ConsoleReporter.on_step

    def on_step(self, epoch, step, result):
        shown(self, epoch, step, result)
        if (epoch, step) == STOP:
            signal.raise_signal(signal.SIGINT)

    with mock.patch.object(ConsoleReporter, "on_step", on_step):
        result = CliRunner().invoke(cli, arguments)
    if Run.load("stopped").status != "interrupted":
        raise RuntimeError(f"The run was not interrupted: {result.output}")


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _records(data, split: str) -> list[list]:
    """File name and label of each record, in stored order."""
    return [
        [name.decode(), int(label)]
        for _, labels, names in evaluation_batches(data, split, 8)
        for name, label in zip(names.numpy(), labels.numpy(), strict=True)
    ]


def _remove(path: Path) -> None:
    """A file or a directory, if it is there."""
    if path.is_dir():
        for inside in path.iterdir():
            _remove(inside)
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def _check_neutral(root: Path) -> None:
    """Refuses files that carry a path or the name of the machine or of the user."""
    secrets = {platform.node(), str(Path.home()), str(root.resolve()), str(HERE.parents[1]), sys.prefix}
    for file in root.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            if found := [secret for secret in secrets if len(secret) > 3 and secret.encode() in content]:
                raise RuntimeError(f"{file} contains {', '.join(found)}.")


def _pack(folder: Path, path: Path) -> None:
    """A directory as .tar.xz, the same bytes from the same files: without times and owners."""

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.mtime = info.uid = info.gid = 0
        info.uname = info.gname = ""
        return info

    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.add(file, filter=plain)
    path.write_bytes(lzma.compress(content.getvalue(), preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
