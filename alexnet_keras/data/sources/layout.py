"""How a folder of images is to be read: which folders are splits, which are classes, and where labels stand.

Folders stand in folders, and splits have many names. The one reading that fits is taken; where none does, or two do,
the folder is refused with what was found in it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from alexnet_keras.data.class_names import some
from alexnet_keras.data.sources.listing import PassedOver, Tree, entries_of, identity_of, look
from alexnet_keras.data.sources.source import FILLERS, SPLITS, split_names, split_of, words_of_name
from alexnet_keras.data.sources.tables import Table, labels_beside, wnid_of
from alexnet_keras.errors import DataError, UsageError

# Folders of what belongs to images, and of images in several parts: no classes.
_COMPANIONS = frozenset((
    "image", "images", "img", "imgs", "jpegimages", "mask", "masks", "annotation", "annotations", "label", "labels",
    "trimap", "trimaps", "segmentation", "segmentations", "segmentationclass", "segmentationobject", "groundtruth",
))  # fmt: skip
_PARTS = frozenset(("part", "parts", "batch", "chunk", "fold", "volume"))
SPELLED_OUT = frozenset(("train", "val", "valid", "validation", "test"))  # names that need no telling
PACKED = re.compile(r"\.(zip|rar|7z|tgz|tbz2?|txz|tar\.(gz|bz2|xz|zst))$|\.(part|crdownload|aria2)$")
DEEPEST = 6  # folders around folders
SHOWN = 3


@dataclass(frozen=True)
class Root:
    """Where the images of one split lie.

    Attributes:
        path: The folder that file names begin below.
        classes: Its class folders; () where the images lie in no class folders.
        table: What gives images in no class folders their classes; None where their names do.
    """

    path: Path
    classes: tuple[str, ...] = ()
    table: Table | None = None


@dataclass
class Layout:
    """How a folder is read.

    Attributes:
        roots: Where each split lies; "train" alone where there are no split folders.
        notes: What the user should know about how it was read.
        passed: What was passed over beside class folders.
    """

    roots: dict[str, Root] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    passed: PassedOver = field(default_factory=PassedOver)


def packed_split(folder: Path, split: str) -> Path | None:
    """An archive of a split that still has to be unpacked, or to be downloaded to its end."""
    for path in sorted(folder.iterdir()):
        stem, suffixes = path.name.partition(".")[0], "".join(path.suffixes).lower()
        if path.is_file() and PACKED.search(suffixes) and (split_of(stem) or ("",))[0] == split:
            return path
    return None


def read_layout(folder: Path, chosen: Mapping[str, str] | None = None) -> Layout:
    """How a folder of images is read.

    Args:
        folder: The folder.
        chosen: Which folder is which split, {"train": "Training"}; {} for none; None to tell by their names.

    Raises:
        UsageError: A folder that was named as a split is not there.
        DataError: Nothing fits, or more than one reading does.
    """
    tree, layout = look(folder), Layout()
    if not tree.holds_images:
        raise DataError(_why_nothing(tree))
    if not chosen or not all((folder / name).is_dir() for name in chosen.values()):
        tree = _unwrapped(tree, layout)
    roots = _roots_by_name(tree, layout) if chosen is None else _roots_as_named(tree, chosen)
    told = chosen is not None
    if not roots:
        layout.roots["train"] = _root(tree, "train", tree, layout, None if told else "none")
    read = ",".join(f"{split}={root.path.name}" for split, root in roots.items())
    for split, root in roots.items():
        try:
            layout.roots[split] = _root(root, split, tree, layout, None if told else read)
        except _Unlabelled as error:
            if split != "test":
                raise DataError(str(error)) from None
            layout.notes.append(f"The images of {root.path} have no classes and are left out.")
    return layout


class _Unlabelled(DataError):
    """Images that nothing gives a class."""


def _unwrapped(tree: Tree, layout: Layout) -> Tree:
    """The folder in the folder, where there is but one: archives often unpack to such."""
    start = tree.path
    for _ in range(DEEPEST):
        only = list(tree.folders.values())
        if len(only) != 1 or split_names(tree.folders):
            break
        inner = look(only[0].path)
        if not inner.folders or (tree.images and len(inner.folders) < 2):
            break
        tree = inner
    if tree.path != start:
        layout.notes.append(f"{start} holds class folders in one folder alone: {tree.path} is read.")
    return tree


def _core(tree: Tree) -> Tree:
    """The folder at the end of a chain of folders with nothing else in them."""
    while not tree.images and len(tree.folders) == 1:
        tree = next(iter(tree.folders.values()))
    return tree


def _roots_by_name(tree: Tree, layout: Layout) -> dict[str, Tree]:
    """The split folders, told by their names; {} where there are none."""
    named = split_names(tree.folders)
    # A class may be called "train" (beside "car" and "plane"): a split folder has folders in it, or stands beside
    # another one.
    if len(set(named.values())) == 1:
        named = {name: split for name, split in named.items() if tree.folders[name].folders}
    roots: dict[str, Tree] = {}
    for name, split in named.items():
        if split in roots:
            raise DataError(
                f"{tree.path} has two {split} folders: {roots[split].path.name} and {name}. "
                f"Say which it is: --splits {split}=DIR."
            )
        roots[split] = tree.folders[name]
    if roots and "train" not in roots:
        if any(tree.path.glob("train/*.tar")):
            raise DataError(f"{tree.path} has a tar for each synset in train: give it as ilsvrc:{tree.path}.")
        raise DataError(
            f"{tree.path} has the split folder{'s' * (len(roots) > 1)} {', '.join(sorted(named))} but no train folder. "
            "Say which is: --splits train=DIR."
        )
    if not roots:
        return {}
    _check_all_there(tree, roots)
    if any(name.lower() not in SPELLED_OUT for name in named):
        read = ", ".join(f"{split} from {roots[split].path.name}" for split in SPLITS if split in roots)
        layout.notes.append(f"In {tree.path}, {read}. If that is wrong: --splits.")
    if others := sorted(tree.folders.keys() - named.keys()):
        layout.notes.append(f"Ignored in {tree.path}, beside its split folders: {some(others, SHOWN)}.")
    return roots


def _check_all_there(tree: Tree, roots: Mapping[str, Tree]) -> None:
    """Refuses a validation split that is there in name alone, and two splits that are one folder."""
    if "val" not in roots:
        named = split_names((*tree.empty, *tree.without, *roots))
        if hollow := [name for name in (*tree.empty, *tree.without) if named.get(name) == "val"]:
            raise DataError(f"{tree.path / hollow[0]} has no images in it. Fill it, or say --splits train=DIR.")
        if packed := packed_split(tree.path, "val"):
            raise DataError(f"{packed} is still packed: unpack it, or name the split folders with --splits.")
    if len({identity_of(root.path) for root in roots.values()}) < len(roots):
        raise DataError(f"{tree.path} has the same folder under two splits: {', '.join(roots)}.")


def _roots_as_named(tree: Tree, chosen: Mapping[str, str]) -> dict[str, Tree]:
    """The split folders that the user named."""
    roots = {}
    for split, name in chosen.items():
        path = tree.path / name
        if not path.is_dir():
            raise UsageError(f"There is no folder {path} to take the {split} split from.")
        roots[split] = look(path)
        if not roots[split].holds_images:
            raise DataError(_why_nothing(roots[split]))
    if roots and "train" not in roots:
        raise UsageError("--splits names no train folder: --splits train=DIR,val=DIR.")
    if len({identity_of(root.path) for root in roots.values()}) < len(roots):
        raise UsageError("--splits gives two splits the same folder.")
    return roots


def _root(tree: Tree, split: str, top: Tree, layout: Layout, otherwise: str | None) -> Root:
    """Where and how the images of a split are labelled.

    Args:
        tree: The split's folder.
        split: Its name.
        top: The folder that holds the splits.
        layout: Where notes go.
        otherwise: What to say after --splits to have the folders taken as classes; None where the user has said it.
    """
    for _ in range(DEEPEST):
        if tree.empty and tree.folders:
            raise DataError(f"The class folder {tree.path / tree.empty[0]} has no images in it. Fill it or remove it.")
        if len(tree.folders) > 1:
            return _class_folders(tree, layout, otherwise)
        if found := _labelled_flat(tree, split, top, layout):
            return found
        if not tree.folders:
            raise _Unlabelled(_why_unlabelled(tree, top))
        only = next(iter(tree.folders.values()))
        inner = look(only.path)
        if not inner.folders:
            if found := _labelled_flat(inner, split, tree, layout) or _labelled_flat(inner, split, top, layout):
                return found
            raise _Unlabelled(
                f"{tree.path} has one class, {only.path.name!r}. At least two are needed to tell apart; "
                "a table may give them: --labels FILE."
            )
        tree = inner
    raise DataError(f"{top.path} has no class folders {DEEPEST} folders deep. Give the folder that holds them.")


def _class_folders(tree: Tree, layout: Layout, otherwise: str | None) -> Root:
    """A folder whose folders are classes, after a look at whether they may be something else."""
    if otherwise is not None:
        _check_readings(tree, layout, otherwise)
    if tree.without:
        layout.notes.append(f"Passed over in {tree.path}, having no images: {some(tree.without, SHOWN)}.")
    if tree.own:
        layout.notes.append(f"Passed over in {tree.path}, being made by alexnet: {some(tree.own, SHOWN)}.")
    if tree.images:
        layout.notes.append(f"Passed over in {tree.path}: images outside the class folders.")
    for _ in entries_of(tree.path, layout.passed):
        pass
    return Root(tree.path, tuple(tree.folders))


def _labelled_flat(tree: Tree, split: str, above: Tree, layout: Layout) -> Root | None:
    """Images without class folders, where a table beside them or their names give their classes."""
    if not tree.images:
        return None
    if table := labels_beside(split, (tree.path, above.path)):
        layout.notes.append(f"The classes of {tree.path} are those of {table.title}.")
        return Root(tree.path, table=table)
    names = [entry.name for entry, is_folder in entries_of(tree.path) if not is_folder]
    return Root(tree.path) if all(map(wnid_of, names)) else None


def _check_readings(tree: Tree, layout: Layout, otherwise: str) -> None:
    """Refuses folders that may be something else than classes, and tells of classes that hold only folders."""
    path, cores = tree.path, {name: _core(child) for name, child in tree.folders.items()}
    nested = {name: core for name, core in cores.items() if not core.images and len(core.folders) > 1}
    rather = f"or say --splits {otherwise}."
    named = split_names(tree.folders)
    if "train" in named.values() and len(set(named.values())) > 1:
        raise DataError(f"{path} has split folders ({some(named, 2)}) deep inside. Give that folder.")
    inside = [name for name, core in nested.items() if _are_splits(core)]
    if inside:
        raise DataError(
            f"{path} has split folders inside {inside[0]} and other folders beside it. Give {cores[inside[0]].path}, "
            "or put train and val above the classes."
        )
    for name, core in nested.items():
        if again := [inner for inner in core.folders if inner in tree.folders]:
            raise DataError(f"{path} has classes again in {name} ({some(again, 2)}). Remove one of the two, {rather}")
    names = list(nested)
    shared = (
        [inner for inner in cores[names[0]].folders if all(inner in nested[n].folders for n in names)] if names else []
    )
    if len(names) > 1 and shared:
        raise DataError(
            f"{path} fits two readings: classes {some(names, SHOWN)}, or sets of classes ({some(shared, 2)}) in each. "
            f"Give one of them, {rather}"
        )
    if around := [
        name for name in names if (words := frozenset(words_of_name(name))) and words <= FILLERS | _COMPANIONS
    ]:
        raise DataError(
            f"{path} fits two readings: classes {some(tree.folders, SHOWN)}, or those in {around[0]}. Give "
            f"{cores[around[0]].path}, {rather}"
        )
    words_of = {tuple(words_of_name(name)) for name in cores}
    in_parts = len(words_of) == 1 and set(next(iter(words_of))) & (FILLERS | _PARTS)
    if in_parts or any((words := frozenset(words_of_name(name))) and words <= _COMPANIONS for name in cores):
        raise DataError(
            f"{path} has {some(cores, SHOWN)}, which do not look like classes. Give a table, --labels FILE, {rather}"
        )
    if names:
        first = f"{names[0]} ({some(nested[names[0]].folders, 2)})"
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        layout.notes.append(
            f"Classes of {path} that hold folders are read as one class each: {first}{more}. If that is wrong: "
            "--labels FILE."
        )


def _are_splits(tree: Tree) -> bool:
    """Whether all folders of a folder are called as splits are, train among them."""
    named = split_names(tree.folders)
    return len(named) == len(tree.folders) and "train" in named.values()


def _why_nothing(tree: Tree) -> str:
    path = tree.path
    inside = [inner for inner in path.iterdir() if not inner.name.startswith(".")]
    if not inside:
        return f"{path} is empty. It should hold a folder of images for each class."
    if any(path.glob("*.tar")) or any(path.glob("train/*.tar")):
        return f"{path} has tar files and no class folders. Give it as ilsvrc:{path} or synsets:{path}."
    if any(PACKED.search(inner.name.lower()) for inner in inside):
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
    likely = sorted(tables, key=lambda name: (not re.search("train|label", name.lower()), name))
    table = tables[likely[0]] if likely else "FILE"
    return (
        f"{tree.path} has images but no class folders. Make a folder for each class, or name a table of their "
        f"classes: --labels {table}."
    )
