"""The reading of a folder of images: its split folders, its class folders, and where labels come from otherwise.

Folders lie in folders, and splits have many names. The one reading that fits is taken; a folder that no reading or
more than one fits is refused, with what it contains."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from alexnet_keras.data.class_names import some
from alexnet_keras.data.sources.listing import Skipped, Tree, entries_of, folder_tree, identity_of, refuse_twins
from alexnet_keras.data.sources.splits import FILLERS, SPLITS, split_names, split_of, words_of_name
from alexnet_keras.data.sources.tables import Table, split_table, wnid_of
from alexnet_keras.errors import DataError, UsageError, check_choice

# Folders of masks and the like, and of images in several parts: these are not classes.
_COMPANIONS = frozenset((
    "image", "images", "img", "imgs", "jpegimages", "mask", "masks", "annotation", "annotations", "label", "labels",
    "trimap", "trimaps", "segmentation", "segmentations", "segmentationclass", "segmentationobject", "groundtruth",
))  # fmt: skip
_PARTS = frozenset(("part", "parts", "batch", "chunk", "fold", "volume"))
_UNMISTAKABLE = frozenset(("train", "val", "valid", "validation", "test"))  # split folders that need no note
_PACKED = re.compile(r"\.(zip|rar|7z|tgz|tbz2?|txz|tar\.(gz|bz2|xz|zst)|part|partial|crdownload|download|aria2)$")
DEEPEST = 6  # folders around folders
SHOWN = 3  # names in a sentence


@dataclass(frozen=True)
class Root:
    """The place of the images of one split.

    Attributes:
        path: The folder that file names begin below.
        classes: Its class folders; () if the images lie in no class folders.
        table: Gives images in no class folders their classes; None if their names do.
    """

    path: Path
    classes: tuple[str, ...] = ()
    table: Table | None = None


@dataclass
class Layout:
    """The reading of a folder.

    Attributes:
        roots: The place of each split; "train" alone without split folders.
        notes: Sentences for the user about the reading.
        skipped: Counts of the files and folders skipped next to class folders.
    """

    roots: dict[str, Root] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    skipped: Skipped = field(default_factory=Skipped)


def is_packed(path: Path) -> bool:
    """True for an archive that has to be unpacked first, or to be downloaded to its end, or a link to one."""
    return bool(_PACKED.search(path.name.lower())) and not path.is_dir()


def packed_split(folder: Path, split: str) -> Path | None:
    """The archive of a split that `is_packed`."""
    for path in sorted(filter(is_packed, folder.iterdir())):
        if (split_of(path.name.partition(".")[0]) or (None,))[0] == split:
            return path
    return None


def read_layout(folder: Path, chosen: Mapping[str, str] | None = None) -> Layout:
    """Find the one reading of a folder of images.

    Args:
        folder: The folder.
        chosen: The folder of each split, {"train": "Training"}; {} for no splits; None to go by the folders' names.

    Raises:
        UsageError: A chosen folder does not exist.
        DataError: No reading fits, or more than one does.
    """
    tree, layout = _tree_with_images(folder), Layout()
    if not chosen or not all((folder / name).is_dir() for name in chosen.values()):
        tree = _unwrapped(tree, layout)
    trees = _splits_by_name(tree, layout) if chosen is None else _splits_as_chosen(tree, chosen)
    alternative = None  # after --splits, to have the folders read as classes; none if the user has chosen already
    if chosen is None:
        alternative = ",".join(f"{split}={inner.path.name}" for split, inner in trees.items()) or "none"
    if not trees:
        layout.roots["train"] = _root(tree, "train", tree, layout, alternative)
    for split, inner in trees.items():
        try:
            layout.roots[split] = _root(inner, split, tree, layout, alternative)
        except _Unlabelled as error:
            if split != "test":
                raise DataError(str(error)) from None
            layout.notes.append(f"The images of {inner.path} have no classes and are left out.")
    return layout


class _Unlabelled(DataError):
    """Nothing gives the images a class."""


def _tree_with_images(folder: Path) -> Tree:
    tree = folder_tree(folder)
    if not tree.holds_images:
        raise DataError(_why_no_images(tree))
    return tree


def _unwrapped(tree: Tree, layout: Layout) -> Tree:
    """The innermost of folders that hold a single folder each, as archives often unpack to."""
    start = tree.path
    for _ in range(DEEPEST):
        if len(tree.folders) != 1 or split_names(tree.folders):
            break
        inner = folder_tree(next(iter(tree.folders.values())).path)
        if not inner.folders or (tree.has_images and len(inner.folders) < 2):
            break
        tree = inner
    if tree.path != start:
        layout.notes.append(f"The class folders of {start} lie in one folder: {tree.path} is read.")
    return tree


def _splits_by_name(tree: Tree, layout: Layout) -> dict[str, Tree]:
    """The split folders, recognised by their names; {} if there are none."""
    named = split_names(tree.folders)
    # A class may be called "train" (next to "car" and "plane"): a split folder has folders in it, or stands next to
    # another one.
    if len(set(named.values())) == 1:
        named = {name: split for name, split in named.items() if tree.folders[name].folders}
    trees: dict[str, Tree] = {}
    for name, split in named.items():
        if split in trees:
            both = f"{trees[split].path.name} and {name}"
            raise DataError(f"{tree.path} has two {split} folders: {both}. Choose one: --splits {split}=DIR.")
        trees[split] = tree.folders[name]
    if not trees:
        return {}
    if "train" not in trees:
        if any(tree.path.glob("train/*.tar")):
            raise DataError(f"{tree.path} has a tar for each synset in train: give it as ilsvrc:{tree.path}.")
        raise DataError(f"{tree.path} has {some(sorted(named))} but no train folder. Name it: --splits train=DIR.")
    if "val" not in trees:
        _check_no_val_is_hidden(tree, trees)
    if _share_a_folder(trees):
        raise DataError(f"{tree.path} has the same folder under two splits: {', '.join(trees)}.")
    if any(name.lower() not in _UNMISTAKABLE for name in named):
        read = ", ".join(f"{split} from {trees[split].path.name}" for split in SPLITS if split in trees)
        layout.notes.append(f"In {tree.path}, {read}. If that is wrong: --splits.")
    if others := sorted(tree.folders.keys() - named.keys()):
        layout.notes.append(f"Ignored in {tree.path}, next to its split folders: {some(others, SHOWN)}.")
    return trees


def _check_no_val_is_hidden(tree: Tree, trees: Mapping[str, Tree]) -> None:
    """Refuse a validation split that has no images in it, or is still packed."""
    without_images = (*tree.empty, *tree.imageless)
    named = split_names((*without_images, *trees))
    if hollow := [name for name in without_images if named.get(name) == "val"]:
        raise DataError(f"{tree.path / hollow[0]} has no images in it. Fill it, or say --splits train=DIR.")
    if packed := packed_split(tree.path, "val"):
        raise DataError(f"{packed} is still packed: unpack it, or name the split folders with --splits.")


def _share_a_folder(trees: Mapping[str, Tree]) -> bool:
    return len({identity_of(tree.path) for tree in trees.values()}) < len(trees)


def _splits_as_chosen(tree: Tree, chosen: Mapping[str, str]) -> dict[str, Tree]:
    """The split folders that the user chose."""
    trees = {}
    for split, name in chosen.items():
        check_choice("split", split, SPLITS)
        if not (tree.path / name).is_dir():
            raise UsageError(f"There is no folder {tree.path / name} to take the {split} split from.")
        trees[split] = _tree_with_images(tree.path / name)
    if trees and "train" not in trees:
        raise UsageError("--splits names no train folder: --splits train=DIR,val=DIR.")
    if _share_a_folder(trees):
        raise UsageError("--splits gives two splits the same folder.")
    return trees


def _root(tree: Tree, split: str, top: Tree, layout: Layout, alternative: str | None) -> Root:
    """Find how the images of a split, in the folder `tree` of `top`, are labelled.

    `alternative` is the argument of --splits that has the folders taken as classes; None if the user chose so.
    """
    for _ in range(DEEPEST):
        if tree.empty and tree.folders:
            raise DataError(f"The class folder {tree.path / tree.empty[0]} has no images in it. Fill it or remove it.")
        if len(tree.folders) > 1:
            return _class_folders(tree, layout, alternative)
        if root := _labelled_flat(tree, split, top, layout):
            return root
        if not tree.folders:
            raise _Unlabelled(_why_unlabelled(tree, top))
        inner = folder_tree(next(iter(tree.folders.values())).path)
        if not inner.folders:
            if root := _labelled_flat(inner, split, tree, layout) or _labelled_flat(inner, split, top, layout):
                return root
            remedy = "At least two are needed; a table may give them: --labels FILE."
            raise _Unlabelled(f"{tree.path} has one class, {inner.path.name!r}. {remedy}")
        tree = inner
    raise DataError(f"{top.path} has no class folders {DEEPEST} folders deep. Give the folder that holds them.")


def _class_folders(tree: Tree, layout: Layout, alternative: str | None) -> Root:
    """A folder whose folders are classes, once it is certain that they are nothing else."""
    refuse_twins(inner.path for inner in tree.folders.values())
    if alternative is not None:
        _check_readings(tree, layout, alternative)
    if tree.imageless:
        layout.notes.append(f"Skipped in {tree.path}, without images: {some(tree.imageless, SHOWN)}.")
    if tree.own:
        layout.notes.append(f"Skipped in {tree.path}, made by alexnet: {some(tree.own, SHOWN)}.")
    if tree.has_images:
        layout.notes.append(f"Skipped in {tree.path}: images outside the class folders.")
    for _ in entries_of(tree.path, layout.skipped):  # for the counts
        pass
    return Root(tree.path, tuple(tree.folders))


def _labelled_flat(tree: Tree, split: str, above: Tree, layout: Layout) -> Root | None:
    """Images without class folders whose classes come from a table next to them or from their names."""
    if not tree.has_images:
        return None
    if table := split_table(split, (tree.path, above.path)):
        layout.notes.append(f"The classes of {tree.path} are those of {table.title}.")
        return Root(tree.path, table=table)
    names = [entry.name for entry, is_folder in entries_of(tree.path) if not is_folder]
    return Root(tree.path) if all(map(wnid_of, names)) else None


def _check_readings(tree: Tree, layout: Layout, alternative: str) -> None:
    """Refuse folders that may be something else than classes, and note classes that hold only folders."""
    path, innermost = tree.path, {name: _innermost(child) for name, child in tree.folders.items()}
    nested = {name: inner for name, inner in innermost.items() if not inner.has_images and len(inner.folders) > 1}
    rather = f"or say --splits {alternative}."
    two_readings = f"{path} fits two readings: classes"
    named = split_names(tree.folders)
    if "train" in named.values() and len(set(named.values())) > 1:
        raise DataError(f"{path} has split folders ({some(named, 2)}) deep inside. Give that folder.")
    for name, inner in nested.items():
        inside = split_names(inner.folders)
        if len(inside) == len(inner.folders) and "train" in inside.values():
            remedy = f"Give {inner.path}, or put train and val above the classes."
            raise DataError(f"{path} has split folders inside {name} and other folders. {remedy}")
    for name, inner in nested.items():
        if again := [folder for folder in inner.folders if folder in tree.folders]:
            raise DataError(f"{path} has classes again in {name} ({some(again, 2)}). Remove one of the two, {rather}")
    names = list(nested)
    if len(names) > 1:
        first, *others = nested.values()
        if shared := [folder for folder in first.folders if all(folder in other.folders for other in others)]:
            sets = f"or sets of classes ({some(shared, 2)}) in each"
            raise DataError(f"{two_readings} {some(names, SHOWN)}, {sets}. Give one of them, {rather}")
    for name, inner in nested.items():
        if _has_only_words_of(name, FILLERS | _COMPANIONS):
            classes = some(tree.folders, SHOWN)
            raise DataError(f"{two_readings} {classes}, or those in {name}. Give {inner.path}, {rather}")
    words = {tuple(words_of_name(name)) for name in tree.folders}
    in_parts = len(words) == 1 and set(next(iter(words))) & (FILLERS | _PARTS)
    if in_parts or any(_has_only_words_of(name, _COMPANIONS) for name in tree.folders):
        folders = some(tree.folders, SHOWN)
        raise DataError(f"{path} has {folders}, which do not look like classes. Give a table, --labels FILE, {rather}")
    if names:
        example = f"{names[0]} ({some(nested[names[0]].folders, 2)})"
        more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
        layout.notes.append(f"Read as one class each in {path}: {example}{more}. If that is wrong: --labels FILE.")


def _innermost(tree: Tree) -> Tree:
    """The folder at the end of a chain of folders with nothing else in them."""
    while not tree.has_images and len(tree.folders) == 1:
        tree = next(iter(tree.folders.values()))
    return tree


def _has_only_words_of(name: str, words: frozenset[str]) -> bool:
    its_words = words_of_name(name)
    return bool(its_words) and words.issuperset(its_words)


def _why_no_images(tree: Tree) -> str:
    path = tree.path
    inside = [inner for inner in path.iterdir() if not inner.name.startswith(".")]
    if not inside:
        return f"{path} is empty. It should hold a folder of images for each class."
    if any(path.glob("*.tar")) or any(path.glob("train/*.tar")):
        return f"{path} has tar files and no class folders. Give it as ilsvrc:{path} or synsets:{path}."
    if any(map(is_packed, inside)):
        return f"{path} has packed archives and no images. Unpack them, and give the folder of class folders."
    if any(path.glob("*.parquet")) or any(path.glob("*/*.parquet")):
        return f"{path} has parquet files: give it as parquet:{path}."
    if tree.own:
        return f"{path} has no images, but what alexnet made: {some(tree.own, SHOWN)}. Give the folder of images."
    kinds = sorted({inner.suffix.lower() for inner in path.rglob("*") if inner.suffix and inner.is_file()})
    holds = f", but {some(kinds, SHOWN)}" if kinds else ""
    return f"{path} has no images in it{holds}. It should hold a folder of images for each class."


def _why_unlabelled(tree: Tree, top: Tree) -> str:
    if any(top.path.glob("*devkit*")):
        return f"{tree.path} has images without class folders, and {top.path} a devkit: give it as ilsvrc:{top.path}."
    tables = {path.name: path for folder in (top.path, tree.path) for path in folder.glob("*.csv")}
    likely = min(tables, key=lambda name: (not re.search("train|label", name.lower()), name), default=None)
    remedy = f"Make one for each class, or name a table: --labels {tables[likely] if likely else 'FILE'}."
    return f"{tree.path} has images but no class folders. {remedy}"
