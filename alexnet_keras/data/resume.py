"""What the directory of a preparation already holds: nothing, finished parts, the whole, or other files."""

import contextlib
import json
import re
from pathlib import Path
from typing import Any

from alexnet_keras.data import shards
from alexnet_keras.data.dataset import DATASET_LOCK, MANIFEST, STATISTICS, open_prepared, read_manifest
from alexnet_keras.data.shards import METADATA_FILES, WORK, ShardRecord, load_sums, record_path
from alexnet_keras.errors import DAMAGED, DataError, UsageError
from alexnet_keras.storage.files import write_by_rename

PLAN, PLAN_LOCK = "plan.json", "plan.lock"


DIGEST = "plan"  # beside the options in the first of them


INDEX = "index-"  # what sources remember of archives, good for any plan


def check_ours(out: Path) -> None:
    """Refuse a directory that holds anything but a preparation, finished or not.

    Raises:
        UsageError: It does.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"{out} is a file; choose another --out.")
    known = (out / MANIFEST).exists() or (out / WORK / PLAN).exists()
    if not known and any(path.name not in (WORK, DATASET_LOCK) for path in out.iterdir()):
        raise UsageError(f"{out} is not empty and not a prepared dataset; choose another --out.")


def already_prepared(out: Path, options: dict[str, Any], overwrite: bool) -> bool:
    """Whether the directory holds this very preparation, complete.

    Raises:
        UsageError: It holds something that is not ours.
        DataError: It holds one with other options, or a damaged one, and `overwrite` is not set.
    """
    check_ours(out)
    if not (out / MANIFEST).exists():
        return False
    try:
        found = read_manifest(out)["options"]
    except DataError:
        if overwrite:
            return False
        raise
    if found == options:
        with contextlib.suppress(DataError):
            open_prepared(out)
            return True
        if not overwrite:
            open_prepared(out)  # says what is damaged
    if not overwrite:
        raise DataError(
            f"{out} is already prepared with other options: {_difference(found, options)}. "
            "Choose another --out, or --overwrite to replace it."
        )
    return False


def clear_for(out: Path, options: dict[str, Any], plan_digest: str, overwrite: bool) -> None:
    """Leave the directory with nothing but finished parts of this plan.

    Args:
        plan_digest: Of which image goes where; the options decide it, together with NumPy.

    Raises:
        DataError: It holds parts of another plan, and `overwrite` is not set.
    """
    plan = out / WORK / PLAN
    found, digest = None, None
    if plan.exists():
        with contextlib.suppress(ValueError):
            found = json.loads(plan.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            digest = found.pop(DIGEST, None)  # 0.1 kept none
    if found == options and digest in (None, plan_digest) and not (out / MANIFEST).exists():
        return
    if found == options and digest not in (None, plan_digest) and not overwrite:
        raise DataError(
            f"{out} holds an unfinished preparation that another version of NumPy planned, with the images in "
            "another order. Finish it with that version, choose another --out, or --overwrite to start over."
        )
    if found is not None and found != options and not overwrite:
        raise DataError(
            f"{out} holds an unfinished preparation with other options: {_difference(found, options)}. "
            "Choose another --out, or --overwrite to start over."
        )
    _write_plan(plan, None)  # first: interrupted from here on, it is still ours and still has to be cleared
    (out / MANIFEST).unlink(missing_ok=True)
    for path in sorted(out.iterdir()):
        if path.name in (STATISTICS, shards.INDEX, *METADATA_FILES) or re.search(
            r"\.tfrecord-\d{5}-of-\d{5}$", path.name
        ):
            path.unlink()
    for path in (out / WORK).iterdir():
        if path.name not in (PLAN_LOCK, PLAN) and not path.name.startswith(INDEX):
            path.unlink()
    _write_plan(plan, {**options, DIGEST: plan_digest})


def finished_shard(out: Path, filename: str) -> ShardRecord | None:
    """The record of a shard that is there, whole; else None, and it is made again."""
    shard, path = out / filename, record_path(out, filename)
    if not shard.exists() or not path.exists():
        return None
    try:
        record = ShardRecord.load(path)
        load_sums(path)
    except DAMAGED:
        return None
    return record if record.bytes == shard.stat().st_size else None


def _write_plan(plan: Path, options: dict[str, Any] | None) -> None:
    with write_by_rename(plan) as partial:
        partial.write_text(json.dumps(options), encoding="utf-8")


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    if changed := [key for key in {**found, **wanted} if key != "pictures" and found.get(key) != wanted.get(key)]:
        return ", ".join(f"{key} is {found.get(key)} there and {wanted.get(key)} here" for key in changed)
    return "its images are not the same as those of the source"
