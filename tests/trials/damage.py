"""Files of every kind that the program reads, damaged, and read again."""

import contextlib
import multiprocessing
import os
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trials import run

for neighbor in ("interop", "data"):  # written_files, plain_networks, small_networks; imagenet
    sys.path.insert(0, str(Path(__file__).parent.parent / neighbor))

SECONDS, MEMORY = 10.0, 2**30  # of this process's processor time, and bytes, that reading one file may take
WAIT_S = 60.0  # for one file, on a machine that has other work
PATIENCE_S = 120.0  # for the first of a kind, which compiles what reads it
LARGE = 2**20  # bytes of a file whose damage is spread over its first and last parts as often as over its middle


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes:
        name: What it is.
        file: An undamaged one.
        read: Reads it as the program does, given the path; raises only what the program tells in a sentence.
        share: How many times as many trials as other kinds it gets.
    """

    name: str
    file: Path
    read: Callable[[Path], Any]
    share: int = 1


def damage(content: bytes, chosen: random.Random) -> bytes:
    """The content with one kind of damage: bytes flipped, cut off, lost, doubled, made zeros or random."""
    size = len(content)
    if not size:
        return b"\0"
    places = (chosen.randrange(size), chosen.randrange(min(size, 64)), chosen.randrange(min(size, 4096)))
    place = chosen.choice(places) if size < LARGE or chosen.random() < 0.7 else size - 1 - places[2]
    length = min(size - place, chosen.choice((1, 1, 2, 4, 16, 512)))
    before, inside, after = content[:place], content[place : place + length], content[place + length :]
    return chosen.choice(
        (
            lambda: before + bytes([inside[0] ^ 1 << chosen.randrange(8)]) + inside[1:] + after,
            lambda: before + bytes([inside[0] ^ 1 << chosen.randrange(8)]) + inside[1:] + after,
            lambda: before + bytes(each ^ 255 for each in inside) + after,
            lambda: before + bytes(length) + after,
            lambda: before + chosen.randbytes(length) + after,
            lambda: before + b"\xff" * length + after,
            lambda: before + after,
            lambda: before + inside + inside + after,
            lambda: before,
            lambda: content + chosen.randbytes(length),
        )
    )()


def kinds(folder: Path, project: Path) -> list[Kind]:
    """Every kind, with an undamaged file of it."""
    return [*_images(folder, project), *_sources(folder), *_datasets(project), *_runs(project), *_weights(folder)]


def _images(folder: Path, project: Path) -> Iterator[Kind]:
    from PIL import Image

    def read(path: Path) -> None:
        from alexnet_keras.data.image_formats import Decoding
        from alexnet_keras.data.images import fit_to_square, read_image_file

        for exif in (False, True):
            fit_to_square(read_image_file(path), Decoding(exif=exif))

    photo = Image.open(project / "photo.jpg").convert("RGB").resize((150, 120))
    exif = Image.Exif()
    exif[0x0112] = 6
    see_through = photo.convert("RGBA")
    see_through.putalpha(120)
    files: dict[str, tuple[Any, str, dict[str, Any]]] = {
        "JPEG": (photo, "JPEG", {"exif": exif}),
        "progressive JPEG": (photo, "JPEG", {"progressive": True}),
        "CMYK JPEG": (photo.convert("CMYK"), "JPEG", {}),
        "PNG": (photo, "PNG", {}),
        "transparent PNG": (see_through, "PNG", {}),
        "palette PNG": (photo.convert("P"), "PNG", {"transparency": 3}),
        "GIF": (photo, "GIF", {}),
        "BMP": (photo, "BMP", {}),
        "WebP": (see_through, "WEBP", {}),
        "lossless WebP": (photo, "WEBP", {"lossless": True}),
        "TIFF": (photo, "TIFF", {"exif": exif}),
        "LZW TIFF": (see_through, "TIFF", {"compression": "tiff_lzw"}),
        "grey TIFF": (Image.fromarray((_numbers((60, 60)) * 60000).astype("uint16")), "TIFF", {}),
        "PPM": (photo, "PPM", {}),
    }
    for name, (image, form, options) in files.items():
        path = folder / f"photo {name}"
        image.save(path, form, **options)
        yield Kind(name, path, read)


def _sources(folder: Path) -> Iterator[Kind]:
    import imagenet

    place, unpacked = imagenet.as_tars(folder / "ilsvrc"), imagenet.as_folders(folder / "unpacked")
    devkit = unpacked / "ILSVRC2012_devkit_t12"

    def read(path: Path) -> None:
        from alexnet_keras.data.sources.ilsvrc import ilsvrc_source

        for images in ilsvrc_source(place).splits.values():
            for index in range(0, len(images), 5):
                with contextlib.suppress(OSError):  # such an image is rejected, and named
                    images.read(index)

    def read_devkit(path: Path) -> None:
        from alexnet_keras.data.sources import devkit as module

        module.read_devkit(devkit)

    for path in sorted(place.glob("*.tar*")):
        yield Kind(path.name, path, read)
    yield from _tables(folder)
    for path in sorted(each for each in devkit.rglob("*") if each.is_file()):
        yield Kind(f"devkit {path.name}", path, read_devkit, 3 if path.suffix == ".mat" else 1)
    listed = folder / "classes.txt"
    listed.write_text("n01440764 tench, Tinca tinca\nn03000684 chain saw\n")

    def read_list(path: Path) -> None:
        from alexnet_keras.data.class_names import read_class_list

        read_class_list(path, frozenset(("n01440764", "n03000684")))

    yield Kind("list of classes", listed, read_list)


def _datasets(project: Path) -> Iterator[Kind]:
    data = project / "data/set"

    def read(path: Path) -> None:
        from alexnet_keras.data.dataset import open_prepared
        from alexnet_keras.data.pipeline import evaluation_batches, iterate, training_batches
        from alexnet_keras.data.verify import verify
        from alexnet_keras.recipes.schema import Augmentation

        found = open_prepared(data)
        assert found.statistics
        for _ in evaluation_batches(found, "train", 16):
            pass
        batches = training_batches(found, Augmentation(), batch_size=16, crop_size=224, seed=0, epoch=0)
        for _ in iterate(found, batches):
            pass
        verify(found)

    yield Kind("manifest.json", data / "manifest.json", read, 2)
    yield Kind("statistics.npz", data / "statistics.npz", read)
    yield Kind("index.npz", data / "index.npz", read, 2)
    yield Kind("records", sorted(data.glob("*.tfrecord*"))[0], read, 2)


def _runs(project: Path) -> Iterator[Kind]:
    one, stopped = project / "saved_models/one", project / "saved_models/stopped"

    def command(*arguments: str) -> Callable[[Path], None]:
        def read(path: Path) -> None:
            from click.testing import CliRunner

            from alexnet_keras.cli.main import cli
            from alexnet_keras.errors import AlexNetError

            here = Path.cwd()
            os.chdir(project)
            try:
                done = CliRunner().invoke(cli, list(arguments))
            finally:
                os.chdir(here)
            if done.exception and not isinstance(done.exception, SystemExit):
                raise done.exception
            if done.exit_code:
                raise AlexNetError(done.stderr.strip().splitlines()[-1])

        return read

    def read_model(path: Path) -> None:
        from alexnet_keras.runs import Run

        found = Run(one).load_model().get_weights()
        weights.extend([] if weights else found)  # the first time it is not damaged
        assert all(np.array_equal(*pair) for pair in zip(found, weights, strict=True)), "other weights"

    def read_state(path: Path) -> None:
        from alexnet_keras.runs import Run
        from alexnet_keras.training.checkpoint import newest_state

        newest_state(Run(stopped).states_path, shapes)

    def read_evaluation(path: Path) -> None:
        from alexnet_keras.evaluation.predictions import kept_predictions
        from alexnet_keras.runs import Run

        found = kept_predictions(Run(one), fingerprint, "val", "centre")
        if found is not None:
            assert found.evaluation().top1.error == error, "a wrong error"
            assert len(found.filenames) == len(found.labels)

    import numpy as np

    from alexnet_keras.data.dataset import open_prepared
    from alexnet_keras.evaluation.predictions import kept_predictions
    from alexnet_keras.runs import Run
    from alexnet_keras.training.checkpoint import saved_states

    state = saved_states(stopped / "state")[0]
    for older in saved_states(stopped / "state")[1:]:
        older.unlink()
    with np.load(state) as arrays:
        shapes = {name: arrays[name].shape for name in arrays.files if name not in ("position", "about")}
    fingerprint = open_prepared(project / "data/set").fingerprint
    found = kept_predictions(Run(one), fingerprint, "val", "centre")
    assert found is not None
    error = found.evaluation().top1.error
    weights: list[Any] = []
    yield Kind("model.keras", one / "model.keras", read_model, 4)
    yield Kind("state", state, read_state, 4)
    for name in ("facts.json", "labels.npy", "probabilities.npy", "filenames.json"):
        yield Kind(f"predictions {name}", found.path / name, read_evaluation, 2)
    for name in ("run.json", "recipe.toml", "history.csv"):
        yield Kind(name, one / name, command("report", "one"), 1)
        yield Kind(f"{name}, listed", one / name, command("runs"), 2)
    yield Kind("steps.csv", one / "steps.csv", command("report", "one"))
    yield Kind("layers.csv", one / "layers.csv", command("report", "one"))
    kernels = sorted((one / "kernels").glob("*.npy"))
    yield Kind("kernels .npy", kernels[-1], command("visualize", "kernels", "one", "--over-time"), 2)

    def read_recipe(path: Path) -> None:
        from alexnet_keras.recipes.toml import load_recipe

        load_recipe(path)

    yield Kind("recipe", project / "small.toml", read_recipe, 3)
    searched = project / "saved_models/one/search"
    for path in sorted(each for each in searched.rglob("*") if each.is_file() and each.name != "lock"):
        query = command("search", "query", "photo.jpg", "--run", "one")
        yield Kind(f"search {path.name}", path, query)
    for path in sorted(each for each in (one / "features").rglob("*") if each.is_file() and each.name != "lock"):
        yield Kind(f"features {path.name}", path, command("features", "one", "--split", "val"))


def _tables(folder: Path) -> Iterator[Kind]:
    """Images with their labels in a table, and in parquet files."""
    import imagenet
    from layouts import write_parquet

    from alexnet_keras.data.sources.folder import folder_source
    from alexnet_keras.data.sources.parquet import parquet_source
    from alexnet_keras.data.sources.source import Source

    def all_of(source: Source) -> None:
        for images in source.splits.values():
            for index in range(len(images)):
                with contextlib.suppress(OSError):  # such an image is rejected, and named
                    images.read(index)

    (folder / "flat").mkdir()
    imagenet.write_files(folder / "flat", imagenet.flat_images("val", 6))
    table = folder / "labels.csv"
    names = sorted(path.name for path in (folder / "flat").iterdir())
    table.write_text("".join(f"{name},{('cat', 'dog')[i % 2]}\n" for i, name in enumerate(names)))
    yield Kind("labels.csv", table, lambda path: all_of(folder_source(folder / "flat", labels=[str(path)])), 2)
    parquet = folder / "train.parquet"
    write_parquet(parquet, ["rust", "healthy"] * 4)
    yield Kind("parquet", parquet, lambda path: all_of(parquet_source(path)), 2)


def _weights(folder: Path) -> Iterator[Kind]:
    import numpy as np
    import written_files as written
    from plain_networks import random_arrays
    from small_networks import DENSE, FILTERS, small

    recipes = {name: small(name) for name in ("caffe", "torchvision")}
    caffes, torchs = random_arrays(FILTERS["caffe"], DENSE), random_arrays(FILTERS["torchvision"], DENSE, groups=1)
    states = written.state_names(torchs)
    mean = np.full((3, 256, 256), 110.0, np.float32)
    files = {name: folder / name for name in ("net.caffemodel", "old.caffemodel", "mean.binaryproto", "alexnet.npy")}
    files |= {name: folder / name for name in ("new.pth", "legacy.pth", "net.safetensors", "caffe.h5")}
    files["net.caffemodel"].write_bytes(written.caffemodel(caffes))
    files["old.caffemodel"].write_bytes(written.caffemodel(caffes, old=True))
    files["mean.binaryproto"].write_bytes(written.binaryproto(mean))
    written.write_toronto(files["alexnet.npy"], caffes)
    written.write_pth(files["new.pth"], states)
    written.write_legacy_pth(files["legacy.pth"], states)
    written.write_safetensors(files["net.safetensors"], states)
    written.write_caffe_hdf5(files["caffe.h5"], caffes)

    def imported(kind: str, recipe: str) -> Callable[[Path], None]:
        def read(path: Path) -> None:
            from alexnet_keras.interop.import_run import import_network

            import_network(path, kind, recipe=recipes[recipe])

        return read

    def with_mean(path: Path) -> None:
        from alexnet_keras.weights.caffe import read_caffe_mean

        read_caffe_mean(path, 227)

    for name, read in (
        ("net.caffemodel", imported("caffe", "caffe")),
        ("old.caffemodel", imported("caffe", "caffe")),
        ("caffe.h5", imported("caffe", "caffe")),
        ("mean.binaryproto", with_mean),
        ("alexnet.npy", imported("toronto", "caffe")),
        ("new.pth", imported("torchvision", "torchvision")),
        ("legacy.pth", imported("torchvision", "torchvision")),
        ("net.safetensors", imported("safetensors", "torchvision")),
    ):
        yield Kind(name, files[name], read, 2)


def _numbers(shape: tuple[int, int]) -> Any:
    import numpy as np

    return np.random.default_rng(0).random(shape)


def damaged(
    folder: Path, project: Path, number: int, seed: int, only: str, say: Callable[[str], None]
) -> tuple[list[str], dict[str, list[str]]]:
    """Damages files of every kind and reads them; what was wrong, and what came of each trial by kind."""
    for arguments in (["features", "one", "--split", "val"], ["search", "build", "one", "--split", "val"]):
        run(project, arguments)
    run(project, ["eval", "one", "--json"])
    every = [kind for kind in kinds(folder, project) if only in kind.name]
    total = sum(kind.share for kind in every)
    trials = [kind for kind in every for _ in range(max(1, round(number * kind.share / total)))]
    problems: list[str] = []
    outcomes: dict[str, list[str]] = {kind.name: [] for kind in every}
    start = 0
    while start < len(trials):
        start = _some(trials, start, seed, problems, outcomes, say)
    return problems, outcomes


def _some(
    trials: list[Kind],
    start: int,
    seed: int,
    problems: list[str],
    outcomes: dict[str, list[str]],
    say: Callable[[str], None],
) -> int:
    """Makes trials in a process of their own until one of them ends it, or all are done; where to go on."""
    ours, theirs = multiprocessing.Pipe()
    pid = os.fork()
    if not pid:
        try:
            _work(trials, start, seed, theirs)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    theirs.close()
    index = start
    whole = {kind.name: kind.file.read_bytes() for kind in trials}
    try:
        while index < len(trials):
            kind, limit = trials[index], WAIT_S if index > start else PATIENCE_S
            try:
                found = ours.recv() if ours.poll(limit + (PATIENCE_S if _is_first(trials, index) else 0)) else None
            except EOFError:
                problems.append(f"{kind.name}, trial {index}: the process ended")
                outcomes[kind.name].append("ended the process")
                return index + 1
            if found is None:
                problems.append(f"{kind.name}, trial {index}: more than {limit:.0f} s")
                outcomes[kind.name].append("hung")
                return index + 1
            outcome, problem = found
            outcomes[kind.name].append(outcome)
            if problem:
                problems.append(f"{kind.name}, trial {index}: {problem}")
                say(f"WRONG {problems[-1]}")
            index += 1
            if index % 250 == 0:
                say(f"{index}/{len(trials)}")
        return index
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for kind in trials:
            kind.file.write_bytes(whole[kind.name])


def _is_first(trials: list[Kind], index: int) -> bool:
    return index == 0 or trials[index - 1] is not trials[index]


def _work(trials: list[Kind], start: int, seed: int, told: Any) -> None:
    from alexnet_keras.data.image_formats import UnreadableImage
    from alexnet_keras.errors import AlexNetError

    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    before: Kind | None = None
    for index in range(start, len(trials)):
        kind = trials[index]
        content = kind.file.read_bytes()
        if kind is not before:  # what reads it is compiled
            try:
                kind.read(kind.file)
            except Exception:
                told.send(("not read undamaged", traceback.format_exc()))
                continue
            before = kind
        held = _memory("VmRSS")
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        kind.file.write_bytes(damage(content, random.Random(f"{seed}/{index}")))
        began, problem = time.process_time(), ""
        try:
            kind.read(kind.file)
            outcome = "read"
        except (AlexNetError, UnreadableImage) as error:
            outcome = "told"
            if not str(error) or "\n" in str(error):
                problem = f"not one sentence: {error!r}"
        except OSError as error:
            outcome = "told by the system"
            if error.errno is None:
                problem = traceback.format_exc()
        except BaseException:
            outcome, problem = "a traceback", traceback.format_exc()[-2500:]
        finally:
            kind.file.write_bytes(content)
        seconds, more = time.process_time() - began, _memory("VmHWM") - held
        if seconds > SECONDS:
            problem += f" {seconds:.1f} s"
        if more > MEMORY:
            problem += f" {more / 2**20:.0f} MiB"
        told.send((outcome, problem))


def _memory(what: str) -> int:
    """Bytes of this process, now or at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
