"""A little ImageNet, made here: four synsets whose ILSVRC ids are not in the order of their WordNet ids, with every
kind of odd JPEG that the real one holds, written in every layout that the real one comes in.
"""

import csv
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

ILSVRC_IDS = {"n01440764": 3, "n01443537": 1, "n02102040": 4, "n03000684": 2}
WORDS = {
    "n01440764": "tench, Tinca tinca",
    "n01443537": "goldfish, Carassius auratus",
    "n02102040": "English springer, English springer spaniel",
    "n03000684": "chain saw, chainsaw",
}
WNIDS = sorted(ILSVRC_IDS)
VAL_TRUTH = ["n03000684", "n01440764", "n01443537", "n03000684", "n02102040", "n01440764"]  # of images 1, 2, ...
TEST_TRUTH = ["n02102040", "n01443537", "n01440764", "n03000684"]
HUGE = "n03000684_99.JPEG"  # claims 60,000 x 60,000 pixels


def pixels(seed: int, height: int = 90, width: int = 120) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encode(image: np.ndarray | Image.Image, form: str = "JPEG", **options) -> bytes:
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, form, **options)
    return file.getvalue()


def as_ycck(rgb: np.ndarray) -> bytes:
    """A YCCK JPEG, which Pillow reads but does not write: a CMYK one whose four planes hold Y, Cb, Cr and K, and
    whose Adobe marker says so.
    """
    # Adobe stores inks inverted, which makes cyan red, and YCCK holds the complement; Pillow inverts as it writes.
    ycc = np.asarray(Image.fromarray(255 - rgb).convert("YCbCr"))
    black = np.full((*rgb.shape[:2], 1), 255, np.uint8)  # as stored; no black ink
    planes = 255 - np.concatenate([ycc, black], axis=2)
    encoded = bytearray(encode(Image.fromarray(planes, "CMYK"), quality=95))
    encoded[encoded.index(b"Adobe") + 11] = 2
    return bytes(encoded)


def claiming_to_be_huge() -> bytes:
    whole = encode(pixels(0))
    size = whole.index(b"\xff\xc0") + 5
    return whole[:size] + struct.pack(">HH", 60_000, 60_000) + whole[size + 4 :]


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(pixels(15), exif=exif)


ODD = {
    "n01440764_11.JPEG": lambda: encode(Image.fromarray(pixels(11)).convert("L")),
    "n01440764_12.JPEG": lambda: encode(Image.fromarray(pixels(12)).convert("CMYK")),
    "n01443537_13.JPEG": lambda: as_ycck(pixels(13)),
    "n01443537_14.JPEG": lambda: encode(pixels(14), "PNG"),
    "n02102040_15.JPEG": turned,
    "n02102040_16.JPEG": lambda: encode(pixels(16), progressive=True),
    "n02102040_17.JPEG": lambda: encode(pixels(17, 1, 40)),
    "n03000684_18.JPEG": lambda: encode(pixels(18, 300, 1)),
    HUGE: claiming_to_be_huge,
}


def train_images() -> dict[str, dict[str, bytes]]:
    """Of each synset, its images by name."""
    made = {wnid: {} for wnid in WNIDS}
    for label, wnid in enumerate(WNIDS):
        for index in range(4 + label):
            height, width = (90, 120) if index else (300, 400)
            made[wnid][f"{wnid}_{index}.JPEG"] = encode(pixels(100 * label + index, height, width))
    for name, make in ODD.items():
        made[name.partition("_")[0]][name] = make()
    return made


def flat_images(split: str, number: int, year: int = 2012) -> dict[str, bytes]:
    """ILSVRC2012_val_00000001.JPEG and so on."""
    return {f"ILSVRC{year}_{split}_{i:08d}.JPEG": encode(pixels(1000 + i)) for i in range(1, number + 1)}


def tar_of(files: dict[str, bytes], *, top: tuple[str, ...] = ("/",)) -> bytes:
    """A tar of files in no particular order, with directory members first, as the real ones may have."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name in top:
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE
            archive.addfile(member)
        for name, contents in sorted(files.items(), key=lambda file: file[0][::-1]):
            member = tarfile.TarInfo(name)
            member.size = len(contents)
            archive.addfile(member, io.BytesIO(contents))
    return made.getvalue()


def meta_mat(counts: dict[str, int], year: int, ids: dict[str, int], words: dict[str, str]) -> bytes:
    """`meta.mat` as the devkit has it: the classes, then a node above two of them."""
    fields = [f"ILSVRC{year}_ID", "WNID", "words", "gloss", "num_children", "children", "wordnet_height"]
    rows = np.zeros((len(ids) + 1, 1), [(field, object) for field in (*fields, "num_train_images")])
    for row, (wnid, number) in enumerate(sorted(ids.items(), key=lambda item: item[1])):
        rows[row, 0] = (number, wnid, words[wnid], "a gloss", 0, np.zeros(0), 0, counts[wnid])
    rows[-1, 0] = (len(ids) + 1, "n00001740", "entity", "all there is", 2, np.array([1, 3]), 1, 0)
    file = io.BytesIO()
    savemat(file, {"synsets": rows})
    return file.getvalue()


def devkit_files(
    counts: dict[str, int], year: int = 2012, val=VAL_TRUTH, test=None, ids=ILSVRC_IDS, words=WORDS
) -> dict[str, bytes]:
    files = {"data/meta.mat": meta_mat(counts, year, ids, words), "readme.txt": b"A devkit."}
    for split, truth in (("validation", val), ("test", test)):
        if truth:
            lines = "".join(f"{ids[wnid]}\n" for wnid in truth)
            files[f"data/ILSVRC{year}_{split}_ground_truth.txt"] = lines.encode()
    return files


def gzipped_devkit(files: dict[str, bytes], top: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, contents in files.items():
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size = len(contents)
            archive.addfile(member, io.BytesIO(contents))
    return file.getvalue()


def counts_of(train: dict[str, dict[str, bytes]]) -> dict[str, int]:
    return {wnid: len(images) for wnid, images in train.items()}


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    for name, contents in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(contents)


def as_tars(folder: Path) -> Path:
    """ILSVRC-2012 as it was downloaded."""
    train = train_images()
    inner = {f"{wnid}.tar": tar_of(images, top=()) for wnid, images in train.items()}
    files = {
        "ILSVRC2012_img_train.tar": tar_of(inner),
        "ILSVRC2012_img_val.tar": tar_of(flat_images("val", len(VAL_TRUTH))),
        "ILSVRC2012_devkit_t12.tar.gz": gzipped_devkit(devkit_files(counts_of(train)), "ILSVRC2012_devkit_t12"),
    }
    write_files(folder, files)
    return folder


def as_tars_of_2010(folder: Path) -> Path:
    """ILSVRC-2010, whose test split has its labels in the devkit."""
    train = train_images()
    inner = {f"{wnid}.tar": tar_of(images, top=()) for wnid, images in train.items()}
    devkit = devkit_files(counts_of(train), 2010, test=TEST_TRUTH)
    flat = {split: flat_images(split, number, 2010) for split, number in (("val", 6), ("test", 4))}
    files = {
        "ILSVRC2010_images_train.tar": tar_of(inner, top=()),
        **{
            f"ILSVRC2010_images_{split}.tar": tar_of({f"{split}/{n}": p for n, p in images.items()}, top=(split,))
            for split, images in flat.items()
        },
        "ILSVRC2010_devkit-1.0.tar.gz": gzipped_devkit(devkit, "devkit-1.0"),
    }
    write_files(folder, files)
    return folder


def as_folders(folder: Path) -> Path:
    """`train/<wnid>/`, flat `val/` and the unpacked devkit."""
    train = train_images()
    for wnid, images in train.items():
        write_files(folder / "train" / wnid, images)
    write_files(folder / "val", flat_images("val", len(VAL_TRUTH)))
    write_files(folder / "ILSVRC2012_devkit_t12", devkit_files(counts_of(train)))
    return folder


def as_class_folders(folder: Path) -> Path:
    """`train/<wnid>/` and `val/<wnid>/`, and no list of anything."""
    for wnid, images in train_images().items():
        write_files(folder / "train" / wnid, images)
    for wnid, (name, contents) in zip(VAL_TRUTH, flat_images("val", len(VAL_TRUTH)).items(), strict=True):
        write_files(folder / "val" / wnid, {name: contents})
    return folder


def as_kaggle(folder: Path) -> Path:
    """Kaggle's layout: boxes and all."""
    for wnid, images in train_images().items():
        write_files(folder / "ILSVRC/Data/CLS-LOC/train" / wnid, images)
    val = flat_images("val", len(VAL_TRUTH))
    write_files(folder / "ILSVRC/Data/CLS-LOC/val", val)
    write_files(folder / "ILSVRC/Data/CLS-LOC/test", flat_images("test", 3))
    with (folder / "LOC_val_solution.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["ImageId", "PredictionString"])
        for name, wnid in sorted(zip(val, VAL_TRUTH, strict=True), reverse=True):
            writer.writerow([name.removesuffix(".JPEG"), f"{wnid} 1 2 30 40 {wnid} 5 6 70 80 "])
    (folder / "LOC_synset_mapping.txt").write_text("".join(f"{wnid} {WORDS[wnid]}\n" for wnid in WNIDS))
    return folder


def as_synsets(folder: Path) -> Path:
    """A tar for each synset, beside WordNet's list of words, which names many more."""
    write_files(folder, {f"{wnid}.tar": tar_of(images, top=()) for wnid, images in train_images().items()})
    (folder / "words.txt").write_text("n00001740\tentity\n" + "".join(f"{w}\t{t}\n" for w, t in WORDS.items()))
    return folder


LAYOUTS = {"tars": as_tars, "folders": as_folders, "class folders": as_class_folders, "kaggle": as_kaggle}
