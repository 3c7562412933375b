"""`alexnet import`."""

from pathlib import Path

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.options import data_names, json_option
from alexnet_keras.cli.publish import import_published_run
from alexnet_keras.errors import UsageError
from alexnet_keras.storage.hub import is_address
from alexnet_keras.storage.places import check_name, command, exists, good_name, refuse_url, runs_root

SUFFIXES = {
    ".caffemodel": "caffe",
    ".h5": "caffe",
    ".hdf5": "caffe",
    ".npy": "toronto",
    ".pth": "torchvision",
    ".pt": "torchvision",
    ".tar": "torchvision",  # PyTorch's ImageNet example writes checkpoint.pth.tar, which is no tar archive
    ".ckpt": "torchvision",
    ".safetensors": "safetensors",
}
KINDS = {"torch": "torchvision", "safetensors": "safetensors"}  # what the first bytes say for certain


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--from",
    "kind",
    type=click.Choice(["caffe", "toronto", "torchvision", "safetensors"]),
    help="What wrote the file. [default: what its first bytes or its suffix say]",
)
@click.option("--run", "name", metavar="NAME", help="Name of the new run. [default: the file's name]")
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
    "Python dictionary. [default: 0000, 0001, ...]",
)
@click.option(
    "--data",
    metavar="DIR",
    shell_complete=data_names,
    help="Prepared dataset with the network's classes: gives their names, and is what the run is evaluated on.",
)
@json_option
def import_weights(
    file: Path,
    kind: str | None,
    name: str | None,
    recipe: str | None,
    mean: Path | None,
    labels: Path | None,
    data: str | None,
    as_json: bool,
) -> None:
    """Make a run from weights that Caffe or PyTorch trained: eval, predict and the others use it like any other.

    Or from a run that `alexnet publish` put on Hugging Face's hub, hf://USER/NAME, or into a directory.

    The file is bvlc_alexnet.caffemodel or bvlc_reference_caffenet.caffemodel, or a network fine-tuned from them, as
    .caffemodel or .caffemodel.h5; bvlc_alexnet.npy of the University of Toronto; torchvision's alexnet as .pth or
    .safetensors, or inside a checkpoint (.pth.tar, .ckpt); or a network of another size, with a --recipe. Nothing in a
    file is run, and neither Caffe nor PyTorch is needed. Classes of published weights are in the order of their
    WordNet ids.

    Examples:

    \b
        alexnet import bvlc_alexnet.caffemodel --mean imagenet_mean.binaryproto --labels synset_words.txt
        alexnet import alexnet-owt-7be5be79.pth --run torchvision --data data/imagenet
        alexnet import hf://USER/my-run
        alexnet import checkpoint.pth.tar --run trained --data data/imagenet
        alexnet import flowers.pth --recipe my-recipe.toml --labels flowers.txt
    """
    if is_address(file) or exists(file / "run.json"):
        if kind or recipe or mean or labels:
            raise UsageError("A published run brings its recipe, mean and classes with it: leave the options out.")
        import_published_run(file, name, data, as_json)
        return
    for path in (file, mean):
        if path and not (exists(path) and path.is_file()):
            refuse_url(path)
            raise UsageError(f"There is no file {path}.")
    kind = kind or _kind_of(file)
    if mean and kind not in ("caffe", "toronto"):
        raise UsageError(f"--mean is Caffe's mean image; weights from {kind} bring their mean colour with them.")
    from alexnet_keras.data.dataset import open_prepared
    from alexnet_keras.recipes.toml import load_recipe
    from alexnet_keras.runs import check_new

    folder = runs_root() / (good_name(_stem(file)) if name is None else check_name(name, "--run"))
    check_new(folder)
    network = load_recipe(recipe) if recipe else None
    dataset = open_prepared(data) if data else None
    console.start_tensorflow()
    from alexnet_keras.interop.import_run import import_run
    from alexnet_keras.reports.model_card import write_model_card

    run = import_run(
        folder, file, kind, recipe=network, mean=mean, labels=labels, data=dataset, reporter=console.REPORTER
    )
    facts = run.facts
    words = ["alexnet", "import", file, "--from", kind, "--run", run.name]
    words += ["--recipe", recipe or facts["recipe"]]
    for option, path in (("--mean", mean), ("--labels", labels), ("--data", dataset and dataset.path)):
        words += [option, path] if path else []
    run.update({"command": [str(word) for word in words]})
    write_model_card(run)
    if as_json:
        console.emit_json({"run": str(run.path), "recipe": facts["recipe"], **facts["imported"]})
        return
    console.result(f"Imported {run.path}: recipe {facts['recipe']}, {len(facts['classes'])} classes.")
    if known := facts["imported"]["published"]:
        console.result(
            f"This is {known['name']}, published with {known['top1']:.1%} top-1 and {known['top5']:.1%} top-5 accuracy "
            f"(ImageNet 2012 validation, centre crop; {known['source']})."
        )
    console.result(f"Next: {command('predict', 'IMAGE', '--run', run.called)}")


def _kind_of(file: Path) -> str:
    """The program that wrote a file, by its first bytes, or by its suffix where they do not say.

    Raises:
        UsageError: Neither says.
        DataError: It is something else than weights.
    """
    from alexnet_keras.storage.file_kinds import file_kind, refuse_other_kinds

    kind = file_kind(file)
    if kind and kind.name in KINDS:
        return KINDS[kind.name]
    if file.suffix.lower() not in SUFFIXES:
        refuse_other_kinds(file, "hdf5", "npy")
        raise UsageError(f"The name of {file} does not say what wrote it: say it with --from.")
    return SUFFIXES[file.suffix.lower()]


def _stem(file: Path) -> str:
    """A file's name without the suffixes of weights: checkpoint of checkpoint.pth.tar."""
    stem = Path(file.name)
    while stem.suffix.lower() in SUFFIXES and stem.stem:
        stem = Path(stem.stem)
    return stem.name if stem.name != file.name else file.stem
