"""The directory of a preparation: nothing yet, finished shards of a plan, a complete dataset, or other files."""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from alexnet_keras.data import image_cache, shards
from alexnet_keras.data.class_names import class_words, some
from alexnet_keras.data.dataset import DATASET_LOCK, PreparedDataset, open_prepared
from alexnet_keras.data.manifest import FORMATS, MANIFEST, METADATA_FILES, STATISTICS, read_manifest, rename_classes
from alexnet_keras.data.shards import WORK
from alexnet_keras.errors import AlexNetError, DataError, UsageError
from alexnet_keras.reporter import Reporter
from alexnet_keras.storage.documents import write_json
from alexnet_keras.storage.files import PARTIAL
from alexnet_keras.storage.locks import locked

PLAN, PLAN_LOCK = "plan.json", "plan.lock"
ANEW = "anew"  # in PLAN: the preparation was begun with --overwrite
DIGEST = "plan"  # the plan's checksum, among the options in PLAN
BUSY = "Another process is preparing or reading {out}. Wait for it, or choose another --out."
INDEX = "index-"  # the start of the names of archives' indices, which serve any plan


def check_ours(out: Path) -> None:
    """Refuse a directory that holds anything but a preparation, finished or not.

    Raises:
        UsageError: It does.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"{out} is a file; choose another --out.")
    ours = _is_our_manifest(out / MANIFEST)
    if ours or (out / WORK / PLAN).exists():
        return
    others = {path.name for path in out.iterdir()} - {WORK, DATASET_LOCK}
    if ours is None:
        others = {name for name in others - {MANIFEST} if not name.startswith(PARTIAL) and not _is_made(name)}
    if others:
        raise UsageError(f"{out} is not empty and not a prepared dataset; choose another --out.")


def _is_our_manifest(path: Path) -> bool | None:
    """True for a prepared dataset's manifest, of any version; False for another's or none, None for a damaged one."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except ValueError:
        return None
    return isinstance(manifest, dict) and str(manifest.get("format")).startswith(FORMATS)


def _is_made(name: str) -> bool:
    """True if a file of this name next to the manifest was made by a preparation, or from what it made."""
    made = name in (STATISTICS, shards.INDEX, *METADATA_FILES) or name.startswith(image_cache.PREFIX)
    return made or bool(re.search(r"\.tfrecord-\d+-of-\d+$", name))


def open_if_same(out: Path, options: dict[str, Any], overwrite: bool) -> PreparedDataset | None:
    """Open the dataset in a directory if it is complete, was prepared with these options, and is not to be replaced.

    Raises:
        UsageError: The directory holds other files.
        DataError: It holds a dataset with other options, or a damaged one, and `overwrite` is not set.
    """
    check_ours(out)
    if overwrite or not (out / MANIFEST).exists():
        return None
    there = read_manifest(out)["options"]
    if there == options:
        return open_prepared(out)
    raise DataError(
        f"{out} is already prepared with other options: {_difference(there, options)}. "
        "Choose another --out, or --overwrite to replace it."
    )


def clear_for(out: Path, options: dict[str, Any], plan_digest: str, overwrite: bool, anew: bool = False) -> None:
    """Leave in the directory nothing but finished shards of this plan.

    The options decide the plan's checksum, together with NumPy. `overwrite` also removes the shards of another plan,
    `anew` also those of this one, unless they were made since it was begun anew.

    Raises:
        DataError: It holds shards of another plan, and `overwrite` is not set.
    """
    plan = out / WORK / PLAN
    there = None
    with suppress(FileNotFoundError, ValueError):
        there = json.loads(plan.read_text(encoding="utf-8"))
    if isinstance(there, dict):
        same_plan = there.pop(DIGEST, plan_digest) == plan_digest  # 0.1 kept no checksum
        begun_anew = there.pop(ANEW, False)
        if there == options and same_plan and not (out / MANIFEST).exists() and (begun_anew or not anew):
            return
        if there != options and not overwrite:
            raise DataError(
                f"{out} holds an unfinished preparation with other options: {_difference(there, options)}. "
                "Choose another --out, or --overwrite to start over."
            )
        if not same_plan and not overwrite:
            raise DataError(
                f"{out} holds an unfinished preparation that another version of NumPy planned. "
                "Finish it with that version, or --overwrite to start over."
            )
    write_json(plan, None)  # first: interrupted from here on, it is still ours and still has to be cleared
    (out / MANIFEST).unlink(missing_ok=True)
    for path in sorted(out.iterdir()):
        if _is_made(path.name):
            path.unlink()
    for path in (out / WORK).iterdir():
        if path.name not in (PLAN_LOCK, PLAN) and INDEX not in path.name:  # nor one that another part writes
            path.unlink()
    write_json(plan, {**options, DIGEST: plan_digest, **({ANEW: True} if anew else {})}, indent=None)


def _existing(
    out: Path,
    options: dict[str, Any],
    check: Callable[[PreparedDataset], None],
    words: Sequence[str],
    further: list[str],
    overwrite: bool,
    alone: bool,
    reporter: Reporter,
) -> PreparedDataset | None:
    """Open the dataset if it is there already, made from the same images with the same options, and passes the check.

    Its classes get the words that the source has for them now.
    """
    if overwrite and not alone and (out / MANIFEST).exists() and read_manifest(out)["options"] != options:
        raise DataError(
            f"{out} is prepared, with other options, and parts replace no finished dataset: remove it, or prepare "
            "it whole with --overwrite."
        )
    if (data := open_if_same(out, options, overwrite and alone)) is None:
        return None
    check(data)
    if (out / WORK).exists():  # of a preparation that was killed when nothing but this was left to do
        with suppress(AlexNetError, OSError), locked(out / DATASET_LOCK, "in use"):
            shutil.rmtree(out / WORK, ignore_errors=True)
    if words and (new := class_words(data.classes, words)) != data.words:
        changed = [f"{old} is {now} now" for old, now in zip(data.words, new, strict=True) if old != now]
        with locked(out / DATASET_LOCK, BUSY.format(out=out), shared=True):
            if not (data := open_if_same(out, options, False)):
                return None
            rename_classes(out, words, further)
            data = open_prepared(out)
        reporter.note(f"{out} is already prepared from these images; only names have changed: {some(changed)}.")
        return data
    reporter.note(
        f"{out} is already prepared, with these options from images of these names and sizes; nothing to do. Where "
        "their content has changed, --overwrite prepares them again."
    )
    return data


@contextmanager
def claimed(
    out: Path,
    options: dict[str, Any],
    plan_digest: Callable[[], str],
    *,
    check: Callable[[PreparedDataset], None],
    words: Sequence[str],
    further: list[str],
    overwrite: bool,
    alone: bool,
    reporter: Reporter,
) -> Iterator[PreparedDataset | None]:
    """Hold the directory, alone or together with other parts, and leave nothing in it but shards of this plan.

    A dataset that is there already is given to `check`, which may raise, and gets the `words` of its classes and the
    `further` options, as of `manifest.seal`. `overwrite` replaces what is prepared there, but parts (`alone` is False)
    replace no finished dataset.

    Yields:
        The dataset, if it is there already or another process finishes it before this one holds the directory.

    Raises:
        UsageError: The directory holds other files.
        DataError: It holds a preparation with other options.
        AlexNetError: Another process prepares or reads it.
    """
    if data := _existing(out, options, check, words, further, overwrite, alone, reporter):
        yield data
        return
    work, anew = out / WORK, overwrite and alone
    out.mkdir(parents=True, exist_ok=True)
    with locked(out / DATASET_LOCK, BUSY.format(out=out), shared=not alone):
        work.mkdir(exist_ok=True)
        with locked(work / PLAN_LOCK, None):
            if data := open_if_same(out, options, anew):
                check(data)
            else:
                clear_for(out, options, plan_digest(), overwrite, anew)
        if data and alone:
            shutil.rmtree(work, ignore_errors=True)
        yield data


def _difference(there: dict[str, Any], here: dict[str, Any]) -> str:
    if changed := [key for key in {**there, **here} if key != "pictures" and there.get(key) != here.get(key)]:
        values = {key: ["none" if each.get(key) is None else each[key] for each in (there, here)] for key in changed}
        return ", ".join(f"{key} is {old} there and {new} here" for key, (old, new) in values.items())
    return "its images are not the same as those of the source"
