"""`alexnet import`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.options import data_names, json_option, published_names
from alexnet_keras.errors import UsageError
from alexnet_keras.storage.hub import is_address, parts_of, written
from alexnet_keras.storage.places import check_name, command, exists, good_name, runs_root
from alexnet_keras.weights.published import PUBLISHED, published_path, refuse_missing

if TYPE_CHECKING:
    from alexnet_keras.runs import Run


@click.command("import")
@click.argument("weights", metavar="NAME|FILE", shell_complete=published_names)
@click.option(
    "--from",
    "kind",
    type=click.Choice(["caffe", "toronto", "torchvision", "safetensors"]),
    help="What wrote the file. [default: what its first bytes or its suffix say]",
)
@click.option(
    "--from-cache",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Directory that has the published file NAME; nothing is downloaded. [default: caches, then a download]",
)
@click.option("--run", metavar="RUN", help="Name of the new run. [default: NAME, or the file's name]")
@click.option(
    "--recipe",
    metavar="NAME|FILE",
    help="The network in the file. [default: caffe, caffenet or torchvision, as the file has it]",
)
@click.option(
    "--mean",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Caffe's mean image, imagenet_mean.binaryproto or ilsvrc_2012_mean.npy. [default: its mean colour]",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The classes in the network's order: names, or WordNet ids and words, one on each line, or as JSON or a "
    "Python dictionary. [default: ImageNet's of published weights, else 0000, 0001, ...]",
)
@click.option(
    "--data",
    metavar="DIR",
    shell_complete=data_names,
    help="Prepared dataset with the network's classes: gives their names, and is what the run is evaluated on.",
)
@json_option
def import_weights(
    weights: str,
    kind: str | None,
    from_cache: Path | None,
    run: str | None,
    recipe: str | None,
    mean: Path | None,
    labels: Path | None,
    data: str | None,
    as_json: bool,
) -> None:
    """Make a run from weights that Caffe or PyTorch trained.

    Or from a run that `alexnet publish` put on Hugging Face's hub, hf://USER/NAME, or into a directory.

    NAME is torchvision, caffe, caffenet or toronto, ImageNet's weights as they were published. The file is taken from
    the caches of PyTorch and Keras, or downloaded into Keras's once (240 MB), and its checksum is compared.

    FILE is one of these, or a network fine-tuned from them, as .caffemodel, .caffemodel.h5, .npy, .pth or .safetensors,
    or inside a checkpoint (.pth.tar, .ckpt); or a network of another size, with a --recipe. ./caffe is a file of that
    name. Nothing in a file is run, and neither Caffe nor PyTorch is needed. Classes of published weights are in the
    order of their WordNet ids.

    Examples:

    \b
        alexnet import torchvision
        alexnet import hf://USER/my-run
        alexnet import bvlc_alexnet.caffemodel --mean imagenet_mean.binaryproto
        alexnet import checkpoint.pth.tar --run trained --data data/imagenet
        alexnet import flowers.pth --recipe my-recipe.toml --labels flowers.txt
    """
    published = PUBLISHED.get(weights)
    is_run = is_address(weights) or (not published and exists(Path(weights) / "run.json"))
    if not (published or is_run or (exists(Path(weights)) and Path(weights).is_file())):
        refuse_missing(weights)
    if from_cache and not published:
        raise UsageError(f"--from-cache has published weights, and {weights} is none of them: leave it out.")
    if is_run and any(given is not None for given in (kind, recipe, mean, labels)):
        raise UsageError("A published run brings its recipe, mean and classes with it: leave the options out.")
    for path in (mean, labels):
        if path and not (exists(path) and path.is_file()):
            raise UsageError(f"There is no file {path}.")
    if published and kind not in (None, published.kind):
        raise UsageError(f"The published {weights} is a file of {published.kind}; ./{weights} names a file here.")
    from alexnet_keras.data.dataset import open_prepared
    from alexnet_keras.recipes.toml import load_recipe
    from alexnet_keras.runs import check_new
    from alexnet_keras.weights.formats import kind_of

    if not is_run:
        kind = published.kind if published else kind or kind_of(Path(weights))
        if mean and kind not in ("caffe", "toronto"):
            raise UsageError(f"--mean is Caffe's mean image; weights from {kind} bring their mean colour with them.")
    default = weights if published else good_name(_stem(weights, is_run))
    folder = runs_root() / (default if run is None else check_name(run, "--run"))
    check_new(folder)
    network = None if recipe is None else load_recipe(recipe)
    dataset = None if data is None else open_prepared(data)
    words: list[str | Path] = [written(weights), *(["--from", kind] if kind else []), "--run", folder.name]
    if is_run:
        console.start_tensorflow()
        from alexnet_keras.interop.sharing import import_published

        made = import_published(folder, weights, data=dataset)
    else:
        assert kind, "of a file"
        file = published_path(weights, from_cache, console.REPORTER) if published else Path(weights)
        console.start_tensorflow()
        from alexnet_keras.interop.import_run import import_run

        made = import_run(
            folder,
            file,
            kind,
            recipe=network,
            mean=mean,
            labels=labels,
            data=dataset,
            imagenet=published is not None,
            reporter=console.REPORTER,
        )
        words += ["--recipe", recipe or made.facts["recipe"]]
    for option, path in (("--mean", mean), ("--labels", labels), ("--data", dataset and dataset.path)):
        words += [option, path] if path else []
    made.update({"command": ["alexnet", "import", *map(str, words)]})
    _report(made, as_json)


def _stem(given: str, is_run: bool) -> str:
    """What names a run: the repository's or directory's name, or a file's without suffixes: net of net.pth.tar."""
    from alexnet_keras.weights.formats import SUFFIXES

    if is_run:
        return parts_of(given)[0].partition("/")[2] if is_address(given) else Path(given).resolve().name
    name = Path(given).name
    stem = Path(name)
    while stem.suffix.lower() in SUFFIXES:
        stem = Path(stem.stem)
    return stem.name if stem.name != name else stem.stem


def _report(made: "Run", as_json: bool) -> None:
    """Write the model card of a run that was made, and print what it is."""
    from alexnet_keras.reports.model_card import write_model_card

    write_model_card(made, console.REPORTER)
    facts = made.facts
    if as_json:
        console.emit_json({"run": str(made.path), "recipe": facts["recipe"], **facts["imported"]})
        return
    console.result(f"Imported {made.path}: recipe {facts['recipe']}, {len(facts['classes'])} classes.")
    if known := facts["imported"]["published"]:
        console.result(
            f"This is {known['name']}, published with {known['top1']:.1%} top-1 and {known['top5']:.1%} top-5 accuracy "
            f"(ImageNet 2012 validation, centre crop; {known['source']})."
        )
    console.result(f"Next: {command('predict', 'IMAGE', '--run', made.called)}", fit=False)
