"""Layouts of images drawn as trees, made on disk, and read as `alexnet prepare` reads them."""

import io
import json
import shlex
from pathlib import Path

import imagenet
from PIL import Image

from alexnet_keras.cli.prepare import PARTS, prepare
from alexnet_keras.data.preparation import Preparation

TWO_LINES = 2 * 80 - len("Error: ")
SYNSETS = {"n01440764": "tench, Tinca tinca", "n01443537": "goldfish, Carassius auratus"}


def image(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (number % 256, 0, 0)).save(file, "JPEG")
    return file.getvalue()


def parsed(tree: str) -> dict[str, bytes | None]:
    """The files of a drawn tree, in order, by path; None for a folder. A tar has its members as files below it."""
    files, above = {}, []
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name, *inside = line.split()
        del above[depth:]
        if name.endswith("/"):
            above.append(name)
            files["".join(above)] = None
            for each in inside:
                files["".join([*above, each])] = None if each.endswith("/") else image(len(files))
        elif name.endswith(":"):
            files["".join([*above, name[:-1]])] = "\n".join(line.partition(": ")[2].split(" | ")).encode()
        else:
            for each in [name, *inside]:
                files["".join([*above, each])] = b"no image" if each.endswith((".txt", ".json")) else image(len(files))
    return files


def build(tree: str, root: Path) -> None:
    """Makes a drawn tree: folders, tars with what stands below them, tables with their lines."""
    files = parsed(tree)
    while archives := [name for name in files if name.endswith(".tar/")]:
        deepest = max(archives, key=lambda name: name.count("/"))
        members = {name.removeprefix(deepest): files.pop(name) for name in list(files) if name.startswith(deepest)}
        members.pop("")
        files[deepest[:-1]] = imagenet.tar_of(members, top=())
    for name, contents in files.items():
        path = root / name
        (path if contents is None else path.parent).mkdir(parents=True, exist_ok=True)
        if name.endswith(".parquet"):
            write_parquet(path, contents.decode().split("\n"))
        elif "devkit" in name:
            counts, ids = {"n01440764": 2, "n01443537": 1}, {"n01440764": 1, "n01443537": 2}
            made = imagenet.devkit_files(counts, val=["n01443537", "n01440764"], ids=ids, words=SYNSETS)
            path.write_bytes(imagenet.gzipped_devkit(made, "ILSVRC2012_devkit_t12"))
        elif contents is not None:
            path.write_bytes(contents)


def write_parquet(path: Path, labels: list[str], names=("healthy", "rust"), rows: int = 2, **columns) -> None:
    """A parquet file as Hugging Face's datasets write them."""
    import pyarrow as pa
    import pyarrow.parquet

    features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    images = pa.array([{"bytes": image(i), "path": f"{i}.jpg"} for i in range(len(labels))])
    numbers = pa.array([names.index(label) if label in names else -1 for label in labels], pa.int64())
    table = pa.table({"image": images, "label": numbers, **columns})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pyarrow.parquet.write_table(table, path, row_group_size=rows)


def opened(command: str):
    """The source that `alexnet prepare` would read."""
    params = prepare.make_context("prepare", shlex.split(command)[2:]).params
    choices = {name: value for name, value in params.items() if name not in (*PARTS, "verify", "as_json", "out")}
    return Preparation(choices.pop("source"), "out/set", **choices).images


def read_as(source) -> str:
    counts = ", ".join(f"{len(images)} {split}" for split, images in source.splits.items())
    return f"{', '.join(source.classes)}: {counts}"
