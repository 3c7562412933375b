"""`alexnet train`."""

import os
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from click.core import ParameterSource

from alexnet_keras.cli import console
from alexnet_keras.cli.options import SectionedCommand, SectionOption, chosen_data, data_option, json_option, run_names
from alexnet_keras.cli.training_progress import ProgressLines
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.storage.places import check_name, command, runs_root

if TYPE_CHECKING:
    from alexnet_keras.data.dataset import PreparedDataset
    from alexnet_keras.recipes.schema import Network, Recipe
    from alexnet_keras.runs import Run
    from alexnet_keras.training.cluster import Cluster
    from alexnet_keras.training.devices import Placement
    from alexnet_keras.training.trainer import Trainer

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
# What a run keeps from its start: --resume takes none of these.
FIXED_FLAGS = {
    "recipe": "--recipe",
    "overrides": "--set",
    "epochs": "--epochs",
    "batch_size": "--batch-size",
    "scale_lr": "--scale-lr",
    "name": "--run",
    "precision": "--precision",
    "seed": "--seed",
    "deterministic": "--deterministic",
    "init_from": "--init-from",
    "freeze": "--freeze",
    "rate_factors": "--rate-factor",
}
SMALL_DATASET = 100_000  # images; below it the paper's initial weights may not get going

what = partial(click.option, cls=SectionOption, section="What to train")
tuning = partial(click.option, cls=SectionOption, section="Fine-tuning")
where = partial(click.option, cls=SectionOption, section="Where it runs")
exact = partial(click.option, cls=SectionOption, section="Stopping, going on, repeating")


@click.command(cls=SectionedCommand)
@data_option
@what("--run", "name", metavar="NAME", help="Name of the new run. [default: RECIPE-DATASET]")
@what(
    "--recipe",
    metavar="NAME|FILE",
    help="One of `alexnet recipes`, or a TOML file. [default: source; quickstart on the demo data]",
)
@what("--set", "overrides", multiple=True, metavar="FIELD=VALUE", help="Change a field of the recipe; repeatable.")
@what(
    "--epochs",
    type=click.IntRange(min=1),
    help="Epochs, to which the schedule is scaled. [default: the recipe's]",
)
@what(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Images a step, over all devices and machines. [default: the recipe's]",
)
@what("--scale-lr", is_flag=True, help="Scale the learning rates in proportion to --batch-size.")
@tuning(
    "--init-from",
    metavar="RUN",
    shell_complete=run_names,
    help="Start from the best weights of another run, layer by layer where name and shape agree.",
)
@tuning(
    "--freeze",
    metavar="LAYERS",
    help="Leave these layers as they are: names and ranges, such as conv1..conv5,fc7.",
)
@tuning(
    "--rate-factor",
    "rate_factors",
    multiple=True,
    metavar="LAYERS=FACTOR",
    help="Multiply the learning rates of these layers; repeatable.",
)
@where("--gpus", type=click.IntRange(min=0), help="GPUs to use. [default: 1 if there is one]")
@where(
    "--strategy",
    type=click.Choice(["one", "towers", "mirrored", "multi-worker"]),
    help="How devices share the work. [default: one; towers for 2 GPUs; mirrored for more; multi-worker where "
    "TF_CONFIG names a cluster]",
)
@where("--strict-devices", is_flag=True, help="Fail where GPUs are missing instead of using the processor.")
@where(
    "--worker-timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=600,
    metavar="SECONDS",
    help="How long multi-worker waits for workers that are not there yet.",
)
@where("--precision", type=click.Choice(PRECISIONS), default="float32", help="Precision of the arithmetic.")
@exact("--seed", type=click.IntRange(min=0), default=0, help="Seed of weights, order, crops, noise and dropout.")
@exact("--deterministic", is_flag=True, help="Same machine and devices, same bits, also after --resume; may be slower.")
@exact(
    "--save-every",
    type=click.IntRange(min=1),
    metavar="STEPS",
    help="Save the state so often, too, not only after every epoch.",
)
@exact(
    "--resume",
    is_flag=False,
    flag_value="",
    default=None,
    metavar="[RUN]",
    shell_complete=run_names,
    help="Go on with a run after its last saved step. [default RUN: the latest]",
)
@exact("--accept-new-data", is_flag=True, help="Resume although the dataset has changed since the run began.")
@json_option
def train(**options: Any) -> None:
    """Train AlexNet on a prepared dataset.

    Every epoch ends with the validation error; the best and the last model are kept in saved_models/RUN. Ctrl-C and
    SIGTERM save the state first, and a run that was stopped or killed goes on with --resume, on the same devices or
    on others. For several machines run the same command on each, with TF_CONFIG set.

    \b
    Examples:
      alexnet train
      alexnet train --data data/flowers --recipe source --epochs 40 --gpus 2
      alexnet train --set training.weight_rate=0.005 --set network.conv3.initial_std=0.02
      alexnet train --data data/flowers --init-from imagenet --freeze conv1..conv5
      alexnet train --data data/flowers --init-from imagenet --rate-factor conv1..conv5=0.1
      alexnet train --batch-size 512 --scale-lr --gpus 4
      alexnet train --resume
    """
    if options["name"] is not None:
        check_name(options["name"], "--run")
    console.start_tensorflow()
    cluster = _cluster(options)
    if options["accept_new_data"] and options["resume"] is None:
        raise UsageError("--accept-new-data goes with --resume.")
    prepare = _resumed if options["resume"] is not None else _started
    trainer, resume = prepare(options, cluster)
    with closing(cast(ProgressLines, trainer.observer)):  # as _trainer made it
        trainer.fit(resume=resume)
    if trainer.run:
        _report(trainer.run, options["as_json"])


def _cluster(options: dict[str, Any]) -> "Cluster | None":
    """The other workers, all of them there; None where this process trains alone. Before TensorFlow does anything."""
    from alexnet_keras.training.cluster import read_cluster

    if options["strategy"] != "multi-worker" and (options["strategy"] or not os.environ.get("TF_CONFIG", "").strip()):
        return None
    cluster = read_cluster(os.environ)
    if cluster.is_alone:
        console.note("TF_CONFIG names no other worker: this process trains alone.")
        options["strategy"] = None
        return None
    if options["strategy"] is None:
        options["strategy"] = "multi-worker"
        console.note("TF_CONFIG names a cluster: --strategy multi-worker.")
    console.note(
        f"Worker {cluster.index + 1} of {len(cluster.workers)}" + (", the chief." if cluster.is_chief else ".")
    )
    cluster.wait_for_all(options["worker_timeout"], lambda names: console.note(f"Waiting for {names}."))
    cluster.connect()
    return cluster


def _started(options: dict[str, Any], cluster: "Cluster | None") -> "tuple[Trainer, bool]":
    """The trainer of a new run."""
    from alexnet_keras import runs
    from alexnet_keras.recipes import toml
    from alexnet_keras.training.cluster import ALONE

    data = chosen_data(options["data"])

    def start() -> dict:
        recipe, overrides = _recipe(options, data)
        name = options["name"]
        path = runs.new_run_path(recipe.name, data.path.name) if name is None else runs_root() / name
        runs.check_new(path)
        click.get_current_context().call_on_close(lambda: _remove_empty(path))
        facts = {
            "recipe": recipe.name,
            "overrides": overrides,
            "data": data.facts,
            "classes": list(data.classes),
            "seed": options["seed"],
            "precision": options["precision"],
            "deterministic": options["deterministic"],
            "init_from": options["init_from"] and str(_run_to_start_from(options["init_from"]).path.resolve()),
            "gpus": options["gpus"],
            "strategy": options["strategy"],
            "status": "running",
        }
        return {"recipe": toml.to_dict(recipe), "path": str(path), "facts": facts}

    told = (cluster or ALONE).from_chief(start)
    recipe, facts = toml.from_dict(told["recipe"]), told["facts"]
    if data.fingerprint != facts["data"]["fingerprint"]:
        raise DataError(f"The dataset {data.path} of this worker is not the one that the chief has.")
    placement = _placement(recipe, options, cluster)
    facts |= {"strategy": placement.kind, "devices": list(placement.devices)}
    run = runs.Run(Path(told["path"]))
    trainer = _trainer(run, recipe, data, placement, facts, options)
    if trainer.run:
        runs.Run.create(run.path, recipe, facts)
    return trainer, False


def _remove_empty(path: Path) -> None:
    """Gives the name of a run that did not begin back to others."""
    with suppress(OSError):
        path.rmdir()


def _recipe(options: dict[str, Any], data: "PreparedDataset") -> "tuple[Recipe, list[str]]":
    """The recipe with every change that the options ask for, and those changes."""
    from alexnet_keras.recipes import toml

    recipe_name = options["recipe"] or ("quickstart" if data.source == "demo" else "source")
    overrides = list(options["overrides"])
    recipe = toml.with_overrides(toml.load_recipe(recipe_name), overrides)
    changes: dict[str, Any] = {"training.epochs": options["epochs"]} if options["epochs"] else {}
    if batch_size := options["batch_size"]:
        changes["training.batch_size"] = batch_size
        if options["scale_lr"]:
            training, factor = recipe.training, batch_size / recipe.training.batch_size
            changes["training.weight_rate"] = training.weight_rate * factor
            changes["training.bias_rate"] = training.bias_rate * factor
            changes["training.schedule.conv1_lowered_rate"] = training.schedule.conv1_lowered_rate * factor
    elif options["scale_lr"]:
        raise UsageError("--scale-lr scales the learning rates in proportion to --batch-size, which was not given.")
    changes |= _layer_rates(recipe.network, options)
    recipe = toml.edit(recipe, changes, where="--set")
    images = data.examples("train")
    if images < recipe.training.batch_size:
        console.warn(f"the dataset has {images} training images, fewer than a batch: the batch is {images}.")
        recipe = toml.edit(recipe, {"training.batch_size": images})
    if recipe.name == "paper" and images < SMALL_DATASET:
        console.warn(
            "the initial weights of the paper's prose can leave the loss at ln(classes) for hundreds of steps on a "
            f"dataset this small ({images} images); the recipe `source` starts sooner."
        )
    return recipe, overrides + toml.format_overrides(changes)


def _layer_rates(network: "Network", options: dict[str, Any]) -> dict[str, float]:
    """The changes that --rate-factor and --freeze ask for; a layer that both name is frozen."""
    from alexnet_keras.recipes.edits import rate_factors

    changes: dict[str, float] = {}
    for given in options["rate_factors"]:
        layers, _, factor = given.rpartition("=")
        try:
            changes |= rate_factors(network, layers, float(factor))
        except ValueError as error:
            raise UsageError(f"--rate-factor {given}: write it as LAYERS=FACTOR, such as conv1..conv5=0.1.") from error
    return changes | (rate_factors(network, options["freeze"], 0.0) if options["freeze"] else {})


def _resumed(options: dict[str, Any], cluster: "Cluster | None") -> "tuple[Trainer, bool]":
    """The trainer of the run named by --resume, or of the latest; devices may be chosen anew."""
    from alexnet_keras import runs
    from alexnet_keras.cli.options import chosen_run, reading
    from alexnet_keras.data.dataset import open_prepared
    from alexnet_keras.recipes import toml
    from alexnet_keras.runs import IMPORTED
    from alexnet_keras.training.cluster import ALONE

    given = [
        flag
        for name, flag in FIXED_FLAGS.items()
        if click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise UsageError(f"--resume goes on with a run as it was started; leave {', '.join(given)} out.")

    def find() -> dict:
        run = chosen_run(options["resume"] or None)
        if run.status == IMPORTED:
            raise UsageError(
                f"The run {run.path} was imported and has no training to resume: start a new run from its weights "
                f"with `{command('train', '--init-from', run.called)}`."
            )
        return {"path": str(run.path), "facts": run.facts, "recipe": toml.to_dict(run.recipe)}

    told = (cluster or ALONE).from_chief(find)
    run, facts, recipe = runs.Run(Path(told["path"])), told["facts"], toml.from_dict(told["recipe"])
    data = reading(open_prepared(options["data"] or run.data_path))
    _check_data(run, facts, data, options["accept_new_data"], moved=options["data"] is not None)
    if options["strategy"] is None and options["gpus"] is None:
        kept = facts["strategy"] if facts["strategy"] != "multi-worker" else None  # its cluster is not here
        options = {**options, "strategy": kept, "gpus": facts["gpus"]}
    placement = _placement(recipe, options, cluster)
    trainer = _trainer(run, recipe, data, placement, facts, options)
    if trainer.run and run.facts["data"] != facts["data"]:
        run.update({"data": facts["data"]})
    return trainer, True


def _check_data(run: "Run", facts: dict[str, Any], data: "PreparedDataset", accept_new: bool, moved: bool) -> None:
    from alexnet_keras.runs import check_classes

    check_classes(run, facts["classes"], data.classes, data.path)
    if data.fingerprint == facts["data"]["fingerprint"]:
        if moved:
            facts["data"] = {**facts["data"], "path": str(data.path)}
        return
    if not accept_new:
        raise DataError(
            f"The dataset {data.path} has changed since the run {run.path} began (its fingerprint was "
            f"{facts['data']['fingerprint'][:12]} and is {data.fingerprint[:12]}): bring the old one back, or go on "
            "with --accept-new-data."
        )
    console.warn(f"the dataset {data.path} is not the one that the run began with; going on with it.")
    facts["data"] = data.facts


def _placement(recipe: "Recipe", options: dict[str, Any], cluster: "Cluster | None") -> "Placement":
    from alexnet_keras.training.devices import choose_placement

    placement = choose_placement(
        options["strategy"],
        options["gpus"],
        towers=recipe.network.towers,
        strict=options["strict_devices"],
        cluster=cluster,
    )
    if placement.warning:
        console.warn(placement.warning)
    return placement


def _run_to_start_from(name: str) -> "Run":
    from alexnet_keras.runs import open_run

    run = open_run(name)
    if not run.model_path.exists():
        raise UsageError(f"The run {run.path} has no {run.model_path.name} to start from yet.")
    return run


def _trainer(
    run: "Run",
    recipe: "Recipe",
    data: "PreparedDataset",
    placement: "Placement",
    facts: dict[str, Any],
    options: dict[str, Any],
) -> "Trainer":
    import tensorflow as tf

    from alexnet_keras.recipes.edits import frozen_layers
    from alexnet_keras.runs import Run
    from alexnet_keras.training.trainer import Trainer, TrainingOptions

    if facts["deterministic"]:
        tf.config.experimental.enable_op_determinism()
    if facts["precision"] == "mixed_float16" and not tf.config.list_physical_devices("GPU"):
        console.warn("a processor computes float16 dozens of times slower than float32; mixed_bfloat16 is fast there.")
    initial = Run(Path(facts["init_from"])).load_model if facts["init_from"] else None
    training = recipe.training
    console.note(
        f"Training {run.path}: recipe {recipe.name}, {data.examples('train')} images of {len(data.classes)} "
        f"classes from {data.path}, {training.epochs} epochs of batches of {training.batch_size}, "
        f"{facts['precision']}, {placement.kind} on {', '.join(placement.devices)}"
        + (f" of each of {len(placement.cluster.workers)} workers" if placement.kind == "multi-worker" else "")
        + f", seed {facts['seed']}"
        + (f"; frozen: {', '.join(frozen)}." if (frozen := frozen_layers(recipe.network)) else ".")
    )
    return Trainer(
        run if placement.cluster.is_chief else None,
        recipe,
        data,
        placement,
        TrainingOptions(facts["seed"], facts["precision"], options["save_every"], initial),
        ProgressLines(training, data.examples("val"), quiet=not placement.cluster.is_chief),
    )


def _report(run: "Run", as_json: bool) -> None:
    history = run.history
    last, best = history[-1], run.best_row or history[-1]
    if as_json:
        console.emit_json({"run": str(run.path), "epochs": len(history), "best": best, "last": last})
        return
    console.result(
        f"Trained {run.path}: {len(history)} epochs, validation top-1 error {last['val_top1_error']:.2%} "
        f"(best {best['val_top1_error']:.2%} after epoch {int(best['epoch']) + 1})."
    )
    console.result(f"Next: {command('eval', run.called, '--ten-crop')}")
