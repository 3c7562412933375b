"""Checks against ImageNet's own images and constants, which cannot be given away with the project.

ALEXNET_REAL_DATA names a directory with `imagenet-fullres-dev.tar` (some originals, flat), `imagenette224-dev.tar`
(class folders, files of the validation split under their own names) and `meta/` (the original colour components, the
WordNet id of every class and of every validation image). Skipped where it is not set.
"""

import os
import tarfile
from pathlib import Path

import imagenet
import numpy as np
import pytest

from alexnet_keras.data.images import Encoding, fit_to_square
from alexnet_keras.data.pipeline import evaluation_batches
from alexnet_keras.data.preparation import prepare
from alexnet_keras.data.sources.folder import folder_source
from alexnet_keras.data.sources.ilsvrc import ilsvrc_source

REAL = os.environ.get("ALEXNET_REAL_DATA")
pytestmark = [pytest.mark.skipif(not REAL, reason="ALEXNET_REAL_DATA is not set"), pytest.mark.slow]


def images_of(archive: str) -> dict[str, bytes]:
    """Images of a tar by name, without its top folder."""
    with tarfile.open(Path(REAL) / archive) as opened:
        files = (member for member in opened if member.isfile() and member.name.endswith(".JPEG"))
        return {member.name.partition("/")[2]: opened.extractfile(member).read() for member in files}


def test_the_colour_components_of_originals_are_those_of_the_original(tmp_path):
    for index, (name, contents) in enumerate(images_of("imagenet-fullres-dev.tar").items()):
        for split in ("train", "val") if index < 2 else ("train",):
            imagenet.write_files(tmp_path / "in" / split / f"class{index % 2}", {name: contents})
    found = prepare(folder_source(tmp_path / "in"), tmp_path / "set").statistics
    with np.load(Path(REAL) / "meta/alexk_color_pca_mean.npz") as file:
        vectors = next(file[key] for key in file.files if file[key].shape == (3, 3))
        deviations = next(file[key] for key in file.files if file[key].size == 3).ravel()
    order = np.argsort(deviations)
    cosines = np.abs(np.sum(found.eigenvectors * vectors[:, order], axis=0))
    print("cosines", cosines, "deviations", found.standard_deviations, "original", deviations[order])  # noqa: T201
    assert (cosines > 0.99).all()


def test_labels_of_true_named_validation_images_are_those_of_imagenet(tmp_path):
    """An official-style set: its devkit numbers the 1000 classes in an order of its own."""
    meta = Path(REAL) / "meta"
    wnids = (meta / "imagenet2012_labels.txt").read_text().split()
    truth = (meta / "imagenet2012_validation_labels.txt").read_text().split()
    images = images_of("imagenette224-dev.tar")
    folder_of = {Path(name).name: Path(name).parts[1] for name in images}
    val = {Path(name).name: contents for name, contents in images.items() if "ILSVRC2012_val_" in name}
    train: dict[str, dict[str, bytes]] = {}
    for name, contents in images.items():
        if Path(name).name not in val:
            train.setdefault(folder_of[Path(name).name], {})[Path(name).name] = contents
    assert len(val) == 167 and len(train) == 10
    order = np.random.default_rng(0).permutation(len(wnids))
    ids = {wnid: int(number) + 1 for wnid, number in zip(wnids, order, strict=True)}
    devkit = imagenet.devkit_files(
        {wnid: len(train.get(wnid, ())) for wnid in wnids}, val=truth, ids=ids, words=dict.fromkeys(wnids, "words")
    )
    files = {
        "ILSVRC2012_img_train.tar": imagenet.tar_of(
            {f"{wnid}.tar": imagenet.tar_of(made, top=()) for wnid, made in train.items()}
        ),
        "ILSVRC2012_img_val.tar": imagenet.tar_of(val),
        "ILSVRC2012_devkit_t12.tar.gz": imagenet.gzipped_devkit(devkit, "ILSVRC2012_devkit_t12"),
    }
    imagenet.write_files(tmp_path / "in", files)
    data = prepare(ilsvrc_source(tmp_path / "in", partial=True), tmp_path / "set")
    assert data.classes == tuple(sorted(train))
    found = {}
    for _, labels, filenames in evaluation_batches(data, "val", 64):
        found |= {n.decode(): data.classes[label] for n, label in zip(filenames.numpy(), labels.numpy(), strict=True)}
    assert found == {name: folder_of[name] for name in val}
    assert found == {name: truth[int(name[-13:-5]) - 1] for name in val}


@pytest.mark.parametrize(
    "encoding, change, size",
    [
        (Encoding("jpeg", 90), 2.29, 27.1),
        (Encoding("jpeg"), 1.56, 39.3),
        (Encoding("jpeg", 97), 1.14, 50.8),
        (Encoding("png"), 0, 110.1),
    ],
)
def test_storing_costs_what_the_docs_say(encoding, change, size):
    changes, sizes = [], []
    for contents in images_of("imagenet-fullres-dev.tar").values():
        square = fit_to_square(contents)
        stored = encoding.encode(square).numpy()
        sizes.append(len(stored) / 1000)
        changes.append(np.abs(encoding.decode(stored).numpy().astype(int) - square).mean())
    print(f"{encoding}: {np.mean(changes):.2f} of 255, {np.mean(sizes):.1f} kB")  # noqa: T201
    assert np.mean(changes) == pytest.approx(change, abs=0.05)
    assert np.mean(sizes) == pytest.approx(size, rel=0.02)
