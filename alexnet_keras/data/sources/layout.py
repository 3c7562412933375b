"""How a folder of pictures is to be read: which folders are splits, which are classes, and where labels stand.

People call splits by many names and put folders around folders. What is read is what fits alone; where nothing does, or
two readings do, the folder is refused with what was found in it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from alexnet_keras.data.sources.listing import Tree, entries_of, look
from alexnet_keras.data.sources.names import some
from alexnet_keras.data.sources.tables import labels_beside, wnid_of
from alexnet_keras.errors import DataError, UsageError

SPLITS = ("train", "val", "test")
# A split's name in one word: train, Training, trainset, validation, testimages.
_SPLIT_WORD = re.compile(
    r"(?:(?P<train>train|training|trn)|(?P<val>val|valid|validation|validate|dev|eval|evaluation|holdout)"
    r"|(?P<test>test|testing|tst))(?:set|data|dataset|images?|imgs?|pics|pictures?|photos?|split|folder|samples?)?s?"
)
# Words beside it that say nothing: training_set, "Train Images", 01-train-data.
_FILLERS = frozenset((
    "set", "sets", "data", "dataset", "datasets", "image", "images", "img", "imgs", "pic", "pics", "picture",
    "pictures", "photo", "photos", "split", "splits", "folder", "folders", "dir", "sample", "samples", "all",
))  # fmt: skip
SPELLED_OUT = frozenset(("train", "val", "valid", "validation", "test"))  # names that need no telling
PACKED = re.compile(r"\.(zip|rar|7z|tgz|tbz2?|txz|tar\.(gz|bz2|xz|zst))$|\.(part|crdownload|aria2)$")
DEEPEST = 6  # folders around folders
SHOWN = 3


@dataclass(frozen=True)
class Root:
    """Where the pictures of one split lie.

    Attributes:
        path: The folder that file names begin below.
        classes: Its class folders; () where the pictures lie in no class folders.
        labels: The class of each picture by its file's name, where a table says it.
    """

    path: Path
    classes: tuple[str, ...] = ()
    labels: Mapping[str, str] | None = None


@dataclass
class Layout:
    """How a folder is read.

    Attributes:
        roots: Where each split lies; "train" alone where there are no split folders.
        notes: What the user should know about how it was read.
    """

    roots: dict[str, Root] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def split_names(names: Iterable[str]) -> dict[str, str]:
    """Which of these folders are called as splits are: {"Training": "train", "seg_test": "test"}.

    Other words in a name have to say nothing ("training set") or be the same in the name of another split
    ("seg_train" beside "seg_test").
    """
    found = {name: split for name in names if (split := _split_of(name))}
    return {
        name: split
        for name, (split, others) in found.items()
        if not others or any(others == rest and split != kind for kind, rest in found.values())
    }


def _split_of(name: str) -> tuple[str, frozenset[str]] | None:
    """The split that a name has the word of, and its other words; None where it has none, or two."""
    words = _words(name)
    splits = [match.lastgroup for word in words if (match := _SPLIT_WORD.fullmatch(word)) and match.lastgroup]
    others = frozenset(word for word in words if not _SPLIT_WORD.fullmatch(word)) - _FILLERS
    return (splits[0], others) if len(splits) == 1 else None


def _words(name: str) -> list[str]:
    """The words of a folder's name, in lower case: ["train", "images"] of "01_trainImages"."""
    return re.findall(r"[^\W\d_]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())


def packed_split(folder: Path, split: str) -> Path | None:
    """An archive of a split that still has to be unpacked, or to be downloaded to its end."""
    for path in sorted(folder.iterdir()):
        stem, suffixes = path.name.partition(".")[0], "".join(path.suffixes).lower()
        if path.is_file() and PACKED.search(suffixes) and (_split_of(stem) or ("",))[0] == split:
            return path
    return None


def read_layout(folder: Path, chosen: Mapping[str, str] | None = None) -> Layout:
    """How a folder of pictures is read.

    Args:
        folder: The folder.
        chosen: Which folder is which split, {"train": "Training"}; {} for none; None to tell by their names.

    Raises:
        UsageError: A folder that was named as a split is not there.
        DataError: Nothing fits, or more than one reading does.
    """
    tree, layout = look(folder), Layout()
    if not tree.holds_pictures:
        raise DataError(_why_nothing(tree))
    if chosen is None:
        tree = _unwrapped(tree, layout)
        roots = _roots_by_name(tree, layout)
    else:
        roots = _roots_as_named(tree, chosen)
    if not roots:
        layout.roots["train"] = _root(tree, "train", tree, layout, told=chosen is not None)
        _check_readings(tree, layout, told=chosen is not None)
    if roots and "val" not in roots and chosen is None and (packed := packed_split(tree.path, "val")):
        raise DataError(f"{packed} is still packed: unpack it, or name the split folders with --splits.")
    for split, root in roots.items():
        try:
            layout.roots[split] = _root(root, split, tree, layout, told=chosen is not None)
        except _Unlabelled as error:
            if split != "test":
                raise DataError(str(error)) from None
            layout.notes.append(f"The pictures of {root.path} have no classes and are left out.")
    return layout


class _Unlabelled(DataError):
    """Pictures that nothing gives a class."""


def _unwrapped(tree: Tree, layout: Layout) -> Tree:
    """The folder in the folder, where there is but one: archives often unpack to such."""
    start = tree.path
    for _ in range(DEEPEST):
        only = list(tree.folders.values())
        if tree.pictures or len(only) != 1 or split_names(tree.folders):
            break
        inner = look(only[0].path)
        if not inner.folders:
            break
        tree = inner
    if tree.path != start:
        layout.notes.append(f"{start} holds pictures in one folder alone: {tree.path} is read.")
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
                f"Say which with --splits {split}=..., or keep one."
            )
        roots[split] = tree.folders[name]
    if roots and "train" not in roots:
        raise DataError(
            f"{tree.path} has the split folder{'s' * (len(roots) > 1)} {', '.join(sorted(named))} but no train folder. "
            "Say which is: --splits train=DIR."
        )
    if not roots:
        return {}
    if any(name.lower() not in SPELLED_OUT for name in named):
        read = ", ".join(f"{split} from {roots[split].path.name}" for split in SPLITS if split in roots)
        layout.notes.append(f"In {tree.path}, {read}. If that is wrong: --splits.")
    if others := sorted(tree.folders.keys() - named.keys()):
        layout.notes.append(f"Ignored in {tree.path}, beside its split folders: {some(others, SHOWN)}.")
    return roots


def _roots_as_named(tree: Tree, chosen: Mapping[str, str]) -> dict[str, Tree]:
    """The split folders that the user named."""
    roots = {}
    for split, name in chosen.items():
        path = tree.path / name
        if not path.is_dir():
            raise UsageError(f"There is no folder {path} to take the {split} split from.")
        roots[split] = look(path)
        if not roots[split].holds_pictures:
            raise DataError(_why_nothing(roots[split]))
    if roots and "train" not in roots:
        raise UsageError("--splits names no train folder: --splits train=DIR,val=DIR.")
    return roots


def _root(tree: Tree, split: str, top: Tree, layout: Layout, *, told: bool) -> Root:
    """Where and how the pictures of a split are labelled."""
    for _ in range(DEEPEST):
        if tree.empty and tree.folders:
            raise DataError(
                f"The class folder {tree.path / tree.empty[0]} has no pictures in it. Fill it or remove it."
            )
        if len(tree.folders) > 1 or (tree.folders and told):
            if tree.without:
                layout.notes.append(f"Passed over in {tree.path}, having no pictures: {some(tree.without, SHOWN)}.")
            if tree.own:
                layout.notes.append(f"Passed over in {tree.path}, being made by alexnet: {some(tree.own, SHOWN)}.")
            if tree.pictures:
                layout.notes.append(f"Passed over in {tree.path}: pictures outside the class folders.")
            _check_not_inside_out(tree)
            break
        if found := _labelled_flat(tree, split, top):
            return found
        if not tree.folders:
            raise _Unlabelled(_why_unlabelled(tree, top))
        only = next(iter(tree.folders.values()))
        inner = look(only.path)
        if not inner.folders:
            if found := _labelled_flat(inner, split, tree) or _labelled_flat(inner, split, top):
                return found
            raise _Unlabelled(
                f"{tree.path} has one class, {only.path.name!r}. At least two are needed to tell apart; "
                "a table may give them: --labels FILE."
            )
        tree = inner
    if len(tree.folders) == 1:
        raise DataError(
            f"{tree.path} has one class, {next(iter(tree.folders))!r}. At least two are needed to tell apart."
        )
    return Root(tree.path, tuple(tree.folders))


def _labelled_flat(tree: Tree, split: str, above: Tree) -> Root | None:
    """Pictures without class folders, where a table beside them or their names give their classes."""
    if not tree.pictures:
        return None
    if labels := labels_beside(split, (tree.path, above.path)):
        return Root(tree.path, labels=labels)
    names = [entry.name for entry, is_folder in entries_of(tree.path) if not is_folder]
    wnids = {name: wnid for name in names if (wnid := wnid_of(name))}
    return Root(tree.path, labels=wnids) if len(wnids) == len(names) else None


def _check_not_inside_out(tree: Tree) -> None:
    """Refuses split folders inside class folders."""
    inside = [name for name, child in tree.folders.items() if not child.pictures and child.folders]
    if len(inside) == len(tree.folders) and all(
        len(named := split_names(child.folders)) == len(child.folders) and "train" in named.values()
        for child in tree.folders.values()
    ):
        first = next(iter(tree.folders.values()))
        raise DataError(
            f"{tree.path} has split folders inside its class folders ({first.path.name}/{next(iter(first.folders))}). "
            "Put train and val above the classes, or name the pictures in a table: --labels."
        )


def _check_readings(tree: Tree, layout: Layout, *, told: bool) -> None:
    """Refuses folders that may be classes as well as sets of classes, and tells of classes that hold only folders."""
    nested = {
        name: tuple(child.folders)
        for name, child in tree.folders.items()
        if not child.pictures and child.folders and len(layout.roots["train"].classes) > 1
    }
    nested = {name: inner for name, inner in nested.items() if len(inner) > 1}
    if not nested or told:
        return
    names = list(nested)
    shared = [name for name in nested[names[0]] if all(name in inner for inner in nested.values())]
    if len(nested) > 1 and len(nested) == len(tree.folders) and shared:
        raise DataError(
            f"{tree.path} fits two readings: classes {some(names, SHOWN)}, or sets of classes ({some(shared, 2)}) in "
            f"each. Give {tree.path / names[0]}, or say --splits none."
        )
    if around := [name for name in names if frozenset(_words(name)) <= _FILLERS]:
        raise DataError(
            f"{tree.path} fits two readings: classes {some(tree.folders, SHOWN)}, or those in {around[0]} "
            f"({some(nested[around[0]], 2)}). Give {tree.path / around[0]}, or say --splits none."
        )
    first = f"{names[0]} ({some(nested[names[0]], 2)})"
    layout.notes.append(
        f"Classes of {tree.path} that hold folders are read as one class each: {first}"
        f"{f' and {len(names) - 1} more' if len(names) > 1 else ''}. If that is wrong: --labels FILE."
    )


def _why_nothing(tree: Tree) -> str:
    path = tree.path
    if not any(not inner.name.startswith(".") for inner in path.iterdir()):
        return f"{path} is empty. It should hold a folder of pictures for each class."
    if any(path.glob("*.tar")):
        return f"{path} has tar files and no class folders. Give it as ilsvrc:{path} or synsets:{path}."
    if any(PACKED.search(inner.name.lower()) for inner in path.iterdir()):
        return f"{path} has packed archives and no pictures. Unpack them, and give the folder of class folders."
    if any(path.glob("*.parquet")) or any(path.glob("*/*.parquet")):
        return f"{path} has parquet files: give it as parquet:{path}."
    if tree.own:
        return f"{path} has no pictures, but what alexnet made: {some(tree.own, SHOWN)}. Give the folder of pictures."
    return f"{path} has no pictures in it. Put them in {path}/<class>/."


def _why_unlabelled(tree: Tree, top: Tree) -> str:
    tables = sorted({path.name: path for folder in (top.path, tree.path) for path in folder.glob("*.csv")}.values())
    table = tables[0] if tables else "FILE"
    return (
        f"{tree.path} has pictures but no class folders. Put them in {tree.path}/<class>/, or name a table of their "
        f"classes: --labels {table}."
    )
