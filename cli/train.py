"""`alexnet train`."""

from pathlib import Path

import click
from click.core import ParameterSource

from alexnet_keras.cli import console
from alexnet_keras.cli.options import chosen_data, data_option, json_option
from alexnet_keras.errors import UsageError

PRECISIONS = ("float32", "mixed_bfloat16")
# What a run keeps from its start: --resume takes none of these.
FIXED_FLAGS = {
    "recipe": "--recipe",
    "overrides": "--set",
    "epochs": "--epochs",
    "batch_size": "--batch-size",
    "name": "--run",
    "precision": "--precision",
    "seed": "--seed",
}
SMALL_DATASET = 100_000  # images; below it the paper's initial weights may not get going


@click.command()
@data_option
@click.option("--run", "name", metavar="NAME", help="Name of the new run. [default: RECIPE-DATASET]")
@click.option(
    "--recipe",
    metavar="NAME|FILE",
    help="source, paper, quickstart or a TOML file. [default: source; quickstart on the demo data]",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a field of the recipe; repeatable.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    help="Epochs, to which the schedule is scaled. [default: the recipe's]",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Images a step, over all devices. [default: the recipe's]",
)
@click.option("--gpus", type=click.IntRange(min=0), help="GPUs to use. [default: 1 if there is one]")
@click.option(
    "--strategy",
    type=click.Choice(["one", "towers", "mirrored"]),
    help="How devices share the work. [default: one; towers for 2 GPUs; mirrored for more]",
)
@click.option("--strict-devices", is_flag=True, help="Fail where GPUs are missing instead of using the processor.")
@click.option("--precision", type=click.Choice(PRECISIONS), default="float32", help="Precision of the arithmetic.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed of weights, order, crops, noise and dropout.")
@click.option(
    "--resume",
    is_flag=False,
    flag_value="",
    default=None,
    metavar="[RUN]",
    help="Go on with a run after its last finished epoch. [default RUN: the latest]",
)
@json_option
def train(**options) -> None:
    """Train AlexNet on a prepared dataset.

    Every epoch ends with the validation error; the best and the last model are kept in saved_models/RUN. A run
    that was stopped goes on with --resume.

    \b
    Examples:
      alexnet train
      alexnet train --data data/flowers --recipe source --epochs 40 --gpus 2
      alexnet train --set training.weight_rate=0.005 --set network.conv3.initial_std=0.02
      alexnet train --resume
    """
    console.start_tensorflow()
    run, trainer = _resumed(options) if options["resume"] is not None else _started(options)
    trainer.fit(resume=options["resume"] is not None)
    _report(run, options["as_json"])


def _started(options):
    """A new run and its trainer."""
    from alexnet_keras import recipe_files, runs

    data = chosen_data(options["data"])
    recipe_name = options["recipe"] or ("quickstart" if data.source == "demo" else "source")
    overrides = list(options["overrides"])
    overrides += [f"training.epochs={options['epochs']}"] if options["epochs"] else []
    overrides += [f"training.batch_size={options['batch_size']}"] if options["batch_size"] else []
    recipe = recipe_files.with_overrides(recipe_files.load_recipe(recipe_name), overrides)
    batch_size = min(recipe.training.batch_size, data.examples("train"))
    if batch_size < recipe.training.batch_size:
        console.warn(f"the dataset has {batch_size} training images, fewer than a batch: the batch is {batch_size}.")
        recipe = recipe_files.with_overrides(recipe, [f"training.batch_size={batch_size}"])
    if recipe.name == "paper" and data.examples("train") < SMALL_DATASET:
        console.warn(
            "the initial weights of the paper's prose can leave the loss at ln(classes) for hundreds of steps on a "
            f"dataset this small ({data.examples('train')} images); the recipe `source` starts sooner."
        )
    placement = _placement(recipe, options["strategy"], options["gpus"], options["strict_devices"])
    name = options["name"]
    path = runs.RUNS / name if name else runs.new_run_path(recipe.name, data.path.name)
    facts = {
        "recipe": recipe.name,
        "overrides": overrides,
        "data": {"path": str(data.path), "name": data.name, "fingerprint": data.fingerprint},
        "classes": list(data.classes),
        "seed": options["seed"],
        "precision": options["precision"],
        "strategy": placement.kind,
        "gpus": options["gpus"],
        "devices": list(placement.devices),
        "status": "running",
    }
    run = runs.Run.create(path, recipe, facts)
    return run, _trainer(run, data, placement, facts)


def _resumed(options):
    """The run named by --resume, or the latest, and its trainer; placement may be chosen anew."""
    from alexnet_keras import runs
    from alexnet_keras.cli.options import chosen_run
    from alexnet_keras.data.prepared import open_prepared

    given = [
        flag
        for name, flag in FIXED_FLAGS.items()
        if click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise UsageError(f"--resume goes on with a run as it was started; leave {', '.join(given)} out.")
    run = chosen_run(options["resume"] or None)
    facts = run.facts
    data = open_prepared(options["data"] or Path(facts["data"]["path"]))
    if data.fingerprint != facts["data"]["fingerprint"]:
        raise UsageError(f"The dataset {data.path} is not the one the run {run.path} was trained on; it has changed.")
    if not run.state_path.exists():
        raise UsageError(f"The run {run.path} stopped before its first epoch ended: start it again under a new name.")
    strategy = options["strategy"] or (None if options["gpus"] else facts["strategy"])
    gpus = options["gpus"] if options["gpus"] is not None else facts["gpus"]
    placement = _placement(run.recipe, strategy, gpus, options["strict_devices"])
    runs.Run(run.path).update({"status": "running"})
    return run, _trainer(run, data, placement, facts)


def _placement(recipe, strategy, gpus, strict):
    from alexnet_keras.training.devices import choose_placement

    placement = choose_placement(strategy, gpus, towers=recipe.network.towers, strict=strict)
    if placement.warning:
        console.warn(placement.warning)
    return placement


def _trainer(run, data, placement, facts):
    from alexnet_keras.training.trainer import Trainer

    training = run.recipe.training
    console.note(
        f"Training {run.path}: recipe {run.recipe.name}, {data.examples('train')} images of {len(data.classes)} "
        f"classes from {data.path}, {training.epochs} epochs of batches of {training.batch_size}, "
        f"{facts['precision']}, {placement.kind} on {', '.join(placement.devices)}, seed {facts['seed']}."
    )
    return Trainer(run, data, placement, facts["seed"], facts["precision"], ProgressLines(training))


class ProgressLines:
    """The trainer's observer: a bar within an epoch, and a line for every finished one."""

    def __init__(self, training) -> None:
        self.training = training
        self._progress = None

    def on_epoch_begin(self, epoch: int, steps: int) -> None:
        what = f"epoch {epoch + 1}/{self.training.epochs}"
        self._progress = console.progress(what, steps * self.training.batch_size)
        self._advance = self._progress.__enter__()

    def on_step(self, epoch: int, step: int, loss: float, images: int) -> None:
        self._advance(images, text=f"loss {loss:.4f}")

    def on_epoch_end(self, row: dict[str, float]) -> None:
        self._progress.__exit__(None, None, None)
        console.note(
            f"epoch {int(row['epoch']) + 1:>3}/{self.training.epochs}  loss {row['loss']:.4f}  "
            f"val loss {row['val_loss']:.4f}  val top-1 error {row['val_top1_error']:.2%}  "
            f"top-5 {row['val_top5_error']:.2%}  {row['images_per_second']:.0f} images/s  rate {row['rate_weights']:g}"
        )


def _report(run, as_json: bool) -> None:
    history = run.history
    best = min(history, key=lambda row: row["val_top1_error"])
    last = history[-1]
    if as_json:
        console.emit_json({"run": str(run.path), "epochs": len(history), "best": best, "last": last})
        return
    console.result(
        f"Trained {run.path}: {len(history)} epochs, validation top-1 error {last['val_top1_error']:.2%} "
        f"(best {best['val_top1_error']:.2%} after epoch {int(best['epoch']) + 1})."
    )
    console.result(f"Next: alexnet eval {run.name} --ten-crop")
