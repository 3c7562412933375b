"""`alexnet export`."""

from pathlib import Path

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.options import (
    OutPath,
    chosen_run,
    data_if_there,
    data_of_run,
    json_option,
    run_argument,
    run_data_option,
    which_option,
)

KINDS = ("saved-model", "onnx", "tflite", "safetensors")
IMAGES, IMAGES_QUANTIZED, GENERATED = 64, 500, 16
FEWEST_THE_SAME = 0.9  # share of images whose likeliest class is that of the run, below which quantisation is warned of
CALIBRATION = 128  # training images


@click.command()
@run_argument
@click.option("--to", type=click.Choice(KINDS), required=True, help="The format to write.")
@click.option(
    "--out",
    type=OutPath(),
    metavar="PATH",
    help="File, or directory of a SavedModel.  [default: in the run's exports/]",
)
@run_data_option
@click.option(
    "--quantize",
    type=click.Choice(["float16", "int8"]),
    help="For TFLite: weights in float16, or convolutions and dense layers in int8.  [default: float32]",
)
@click.option(
    "--images",
    "--pictures",
    "images",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Validation images to compare on.  [default: {IMAGES}; with --quantize {IMAGES_QUANTIZED}]",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    help="Seed of the choice of images, for comparison and for int8's calibration.",
)
@which_option
@json_option
def export(
    run: str | None,
    to: str,
    out: Path | None,
    data: str | None,
    quantize: str | None,
    images: int | None,
    seed: int,
    which: str,
    as_json: bool,
) -> None:
    """Write a run for TensorFlow, ONNX, TFLite, or as plain weights.

    The input of all but safetensors, which has the weights alone, is uint8 RGB, (batch, 256, 256, 3): images brought to
    256x256 as `alexnet prepare` does, the shorter side to 256 pixels, then the central square. The centre crop and the
    mean's subtraction are inside; the output is probabilities. A SavedModel also has a signature that takes the bytes
    of a JPEG or PNG and does all of it. The classes are in the file.

    The export is run on validation images and compared with the run in float32; if it differs by more than rounding
    does, it is not kept. int8 takes its ranges from training images. Generated images take the place of a run's data
    that is missing, except for int8 and where --data names others.

    Examples:

    \b
        alexnet export --to saved-model
        alexnet export my-run --to onnx --out my-run.onnx
        alexnet export --to tflite --quantize int8
    """
    run = chosen_run(run)
    run.path_of_model(which)
    console.start_tensorflow()
    from alexnet_keras.interop.export_run import check_can_export, comparison_path, default_path, export_run
    from alexnet_keras.interop.exported import generated_samples, samples_of

    path = run.place(out, default_path(run, to, quantize, which))
    check_can_export(to, quantize, path)
    calibrated = quantize == "int8"  # on images of the run's data
    others = "The export is compared on generated images."
    dataset = data_of_run(run, data) if calibrated else data_if_there(run, data, others)[0]
    if dataset:
        samples = samples_of(dataset, "val", images or (IMAGES_QUANTIZED if quantize else IMAGES), seed)
    else:
        samples = generated_samples(images or GENERATED)
    calibration = samples_of(dataset, "train", CALIBRATION, seed).images if dataset and calibrated else None
    with console.libraries_silenced():
        agreement = export_run(run, to, path, samples, which=which, quantize=quantize, calibration=calibration)
    size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
    if quantize and agreement.same_top1 < FEWEST_THE_SAME:
        console.warn(
            f"Of the {agreement.images:,} images {1 - agreement.same_top1:.1%} have another likeliest class now."
        )
    if as_json:
        written = {"run": str(run.path), "export": to, "quantize": quantize, "path": str(path), "bytes": size}
        console.emit_json({**written, "agreement": agreement.to_dict()})
        return
    console.result(f"Compared with the run on {agreement.origin}:")
    rows = [
        ("largest difference of a probability", f"{agreement.difference:.2g} (in float32)"),
        ("the same likeliest class", f"{agreement.same_top1:.1%}"),
        ("the same five, in the same order", f"{agreement.same_top5:.1%}"),
    ]
    if (precision := run.facts.get("precision", "float32")) != "float32":
        rows.append((f"largest difference to {precision}", f"{agreement.as_trained:.2g} (as it was trained)"))
    if agreement.error is not None and quantize:
        rows.append(("top-1 error", f"{agreement.error:.2%} (the run: {agreement.own_error:.2%})"))
    for name, value in rows:
        console.result(f"  {name:<40} {value}")
    if to == "saved-model" and "[" in str(path.absolute()):
        console.warn(f"TensorFlow takes {path} for a pattern and loads nothing from it: move it to a path without [.")
    console.result(f"Wrote {path} ({size / 1e6:.1f} MB), and the comparison to {comparison_path(path)}")
