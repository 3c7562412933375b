"""`alexnet train`."""

import os
from typing import TYPE_CHECKING, Any

import click
import cloup

from alexnet_keras.cli import console
from alexnet_keras.cli.options import (
    FiniteRange,
    OutPath,
    data_option,
    given_options,
    json_option,
    layer_names,
    recipe_names,
    refuse_given,
    run_names,
    section,
)
from alexnet_keras.data import CACHES
from alexnet_keras.errors import UsageError
from alexnet_keras.storage.places import check_name, command
from alexnet_keras.training import PRECISIONS, STRATEGIES

if TYPE_CHECKING:
    from alexnet_keras.runs import Run

ALSO_RESUMING = {  # the options that --resume takes; the others are fixed when a run begins
    *("data", "epochs", "gpus", "strategy", "strict_devices", "worker_timeout", "save_every", "cache", "cache_dir"),
    *("resume", "accept_new_data", "as_json", "verbose"),
}
RESOLVED = {"data", "recipe", "name", "init_from"}  # options that the library records with what they stood for
LATEST = "/"  # what --resume stands for without a value, and the name of no run
UNRECORDED = {"worker_timeout", "cache", "cache_dir", "as_json", "verbose"}

what = section("What to train")
tuning = section("Fine-tuning")
where = section("Where it runs")
exact = section("Stopping, resuming, repeating")
output = section("Output")


@click.command(cls=cloup.Command)
@data_option
@what("--run", "name", metavar="NAME", help="Name of the new run. [default: RECIPE-DATASET]")
@what(
    "--recipe",
    metavar="NAME|FILE",
    shell_complete=recipe_names,
    help="One of `alexnet recipes`, or a TOML file. [default: source; quickstart on the demo data]",
)
@what("--set", "overrides", multiple=True, metavar="FIELD=VALUE", help="Change a field of the recipe; repeatable.")
@what(
    "--epochs",
    type=click.IntRange(min=1),
    help="Epochs, to which the schedule is scaled; with --resume, of the whole run. [default: the recipe's]",
)
@what(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Images per step, over all devices and machines. [default: the recipe's]",
)
@what(
    "--lr",
    "learning_rate",
    type=FiniteRange(min=0, min_open=True),
    metavar="RATE",
    help="Learning rate of the weights at the start; the other rates change in proportion, but for those that --set "
    "gives. [default: the recipe's]",
)
@what("--scale-lr", is_flag=True, help="Scale the learning rates in proportion to --batch-size.")
@what(
    "--patience",
    type=click.IntRange(min=1),
    metavar="EPOCHS",
    help="End after this many epochs without a new lowest validation error. [default: the recipe's: never]",
)
@what(
    "--class-weights",
    type=click.Choice(["none", "balanced"]),
    help="balanced: every class counts alike in the loss, however many images it has. [default: the recipe's: none]",
)
@tuning(
    "--init-from",
    metavar="RUN",
    shell_complete=run_names,
    help="Start from the best weights of another run: layers whose name and shape agree, and the classifier if the "
    "classes do, too.",
)
@tuning(
    "--freeze",
    metavar="LAYERS",
    shell_complete=layer_names,
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
    type=click.Choice(STRATEGIES),
    help="How devices share the work. [default: one; for 2 GPUs towers if the recipe has two, else mirrored; mirrored "
    "for more; multi-worker where TF_CONFIG names a cluster; under SLURM only if given]",
)
@where("--strict-devices", is_flag=True, help="Fail where GPUs are missing instead of using the processor.")
@where(
    "--worker-timeout",
    type=FiniteRange(min=0, min_open=True),
    default=600,
    metavar="SECONDS",
    help="How long multi-worker waits for missing workers.",
)
@where(
    "--cache",
    type=click.Choice(CACHES),
    help="Keep the decoded training images, 197 kB each, in memory, or on disk for later runs, too. [default: nowhere]",
)
@where("--cache-dir", type=OutPath(), help="Where --cache disk keeps them. [default: in the dataset]")
@where("--precision", type=click.Choice(PRECISIONS), default="float32", help="Precision of the arithmetic.")
@where(
    "--tf32/--no-tf32",
    default=True,
    help="Let NVIDIA's GPUs round the inputs of float32 products to TF32, as TensorFlow does.",
)
@exact("--seed", type=click.IntRange(min=0), default=0, help="Seed of weights, order, crops, noise and dropout.")
@exact("--deterministic", is_flag=True, help="Same machine and devices, same bits, also after --resume; may be slower.")
@exact(
    "--save-every",
    type=click.IntRange(min=1),
    metavar="STEPS",
    help="Also save the state every STEPS steps, not only after every epoch. [default with --resume: the run's]",
)
@exact(
    "--resume",
    is_flag=False,
    flag_value=LATEST,
    default=None,
    metavar="[RUN]",
    shell_complete=run_names,
    help="Resume a run after its last saved step. [default RUN: the latest]",
)
@output("--verbose", is_flag=True, help="After each epoch also every learning rate, and each layer's updates.")
@exact("--accept-new-data", is_flag=True, help="Resume although the dataset has changed since the run began.")
@json_option
@click.pass_context
def train(
    ctx: click.Context,
    name: str | None,
    overrides: tuple[str, ...],
    rate_factors: tuple[str, ...],
    resume: str | None,
    accept_new_data: bool,
    worker_timeout: float,
    as_json: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Train AlexNet on a prepared dataset.

    Every epoch ends with the validation error; the best and the last model are kept in saved_models/RUN. Ctrl-C and
    SIGTERM save the state first, and a run that was stopped or killed continues with --resume, on the same devices or
    on others; with --epochs a finished run is extended. For several machines run the same command on each, with
    TF_CONFIG set, or by SLURM's srun with --strategy multi-worker.

    Examples:

    \b
        alexnet train
        alexnet train --data flowers --recipe source --epochs 40 --gpus 2
        alexnet train --set training.weight_rate=0.005
        alexnet train --data flowers --init-from my-run --freeze conv1..conv5
        alexnet train --init-from my-run --rate-factor conv1..conv5=0.1
        alexnet train --batch-size 512 --scale-lr --gpus 4
        alexnet train --resume
        alexnet train --resume my-run --epochs 120
    """
    console.REPORTER.verbose = verbose
    if name is not None:
        check_name(name, "--run")
    if resume is None and accept_new_data:
        raise UsageError("--accept-new-data goes with --resume.")
    if resume is not None and (fixed := given_options(without=ALSO_RESUMING)):
        flags = ", ".join(option.opts[-1] for option in fixed)
        raise UsageError(f"--resume continues a run as it was started; leave {flags} out.")
    from alexnet_keras.recipes.toml import parse_overrides

    changes, factors = parse_overrides(overrides), _by_layers(rate_factors)
    console.start_tensorflow(gpus=None)
    from alexnet_keras import api
    from alexnet_keras.training.cluster import join_cluster

    cluster = join_cluster(options["strategy"], worker_timeout, console.REPORTER)
    joins = options["strategy"] == "multi-worker" or (not options["strategy"] and os.environ.get("TF_CONFIG"))
    if not joins:
        refuse_given(("worker_timeout",), "is for several machines: set TF_CONFIG, or take --strategy multi-worker")
    if resume is not None:
        options = {option: value for option, value in options.items() if option in ALSO_RESUMING}
        run = api.resume(
            None if resume == LATEST else resume,
            accept_new_data=accept_new_data,
            cluster=cluster,
            reporter=console.REPORTER,
            **options,
        )
    else:
        run = api.train(
            run=name,
            changes=changes,
            rate_factors=factors,
            cluster=cluster,
            command=_words(given_options(without=RESOLVED | UNRECORDED), ctx.params),
            reporter=console.REPORTER,
            **options,
        )
    if cluster.is_chief:
        _report(run, as_json, trained=console.REPORTER.epochs)


def _words(options: list[click.Parameter], values: dict[str, Any]) -> list[str]:
    """The words of the command line that give options these values."""
    words = []
    for option in options:
        value = values[str(option.name)]
        for each in value if option.multiple else [value]:
            if isinstance(each, bool):
                words += [(option.opts if each else option.secondary_opts)[-1]]
            else:
                words += [option.opts[-1], str(each)]
    return words


def _by_layers(rate_factors: tuple[str, ...]) -> dict[str, float]:
    """The factor of each LAYERS=FACTOR, of which later ones count where layers have several."""
    factors: dict[str, float] = {}
    for text in rate_factors:
        layers, _, factor = text.rpartition("=")
        if layers in factors:
            raise UsageError(f"--rate-factor has two factors for {layers}: leave one out.")
        try:
            factors[layers] = float(factor)
        except ValueError as error:
            raise UsageError(f"--rate-factor {text}: write it as LAYERS=FACTOR, such as conv1..conv5=0.1.") from error
    return factors


def _report(run: "Run", as_json: bool, trained: int) -> None:
    """Print the result of a run, of whose epochs so many were trained now."""
    from alexnet_keras.training.resume import begin_from
    from alexnet_keras.training.schedule import would_end

    history = run.history
    last, best = history[-1], run.best_row or history[-1]
    if as_json:
        console.emit_json({"run": str(run.path), "epochs": len(history), "best": best, "last": last})
        return
    if not trained and run.status == "finished":
        console.result(
            f"Already finished: {run.path} has trained its {len(history)} epochs, best validation top-1 error "
            f"{best['val_top1_error']:.2%} after epoch {int(best['epoch']) + 1}."
        )
        if would_end(run.recipe.training, run.validation_errors):
            console.result("Its validation error has stalled: more epochs would train nothing.")
            more = f"To train on from its weights: {begin_from(run)}"
        else:
            epochs = str(max(2 * len(history), run.recipe.training.epochs))
            more = f"To train it longer: {command('train', '--resume', run.called, '--epochs', epochs)}"
        console.result(more, fit=False)
    else:
        console.result(
            f"Trained {run.path}: {len(history)} epochs, validation top-1 error {last['val_top1_error']:.2%} "
            f"(best {best['val_top1_error']:.2%} after epoch {int(best['epoch']) + 1})."
        )
    console.result(f"Next: {command('eval', run.called, '--ten-crop')}", fit=False)
