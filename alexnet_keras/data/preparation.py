"""Prepare the images of a source into a dataset on disk that training reads and plain TFDS opens.

Everything is decided by a plan made before the first image is read. Each shard appears by rename, with a record of it
in `.prepare/`; an interrupted preparation keeps these, makes the rest, and ends with the same bytes. So do several
processes or machines that make a part of the shards each. The manifest is written last."""

from __future__ import annotations  # so that help() shows them as they are written

import dataclasses
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from alexnet_keras.data.class_names import some
from alexnet_keras.data.dataset import DATASET_LOCK, PreparedDataset, open_prepared
from alexnet_keras.data.image_formats import MAX_PIXELS, Decoding
from alexnet_keras.data.images import IMAGE_SIZE, JPEG_QUALITY, Encoding
from alexnet_keras.data.manifest import seal, tfds_name
from alexnet_keras.data.preparation_directory import BUSY, check_ours, claimed
from alexnet_keras.data.shards import (
    SHARD_EXAMPLES,
    WORK,
    ShardPlan,
    ShardRecord,
    digest_of,
    finished_shard,
    plan_shards,
    record_path,
    write_shards,
)
from alexnet_keras.data.sources.open import SourceRequest, default_name, open_source
from alexnet_keras.data.sources.source import Source
from alexnet_keras.data.sources.splits import DEFAULT_HOLDOUT, check_holdout
from alexnet_keras.errors import AlexNetError, DataError, UsageError, check_choice, plain_number, whole_number
from alexnet_keras.reporter import SILENT, WARNINGS, Reporter
from alexnet_keras.storage.files import PARTIAL
from alexnet_keras.storage.locks import is_locked
from alexnet_keras.storage.places import argument, at_home, check_name, command, data_root, good_name


def prepare(
    source: str | Path | Source = "demo",
    out: str | Path | None = None,
    *,
    name: str | None = None,
    seed: int = 0,
    holdout: float = DEFAULT_HOLDOUT,
    classes: str | Path | None = None,
    splits: Mapping[str, str] | None = None,
    labels: str | Path | Sequence[str | Path] = (),
    limit_per_class: int | None = None,
    class_order: Literal["wnid", "ilsvrc"] | None = None,
    partial: bool = False,
    tfds_dir: str | Path | None = None,
    exif: bool = False,
    max_pixels: int = MAX_PIXELS,
    max_bad: int | float | None = None,
    encoding: Literal["jpeg", "png", "raw"] = "jpeg",
    quality: int | None = None,
    shard_examples: int = SHARD_EXAMPLES,
    overwrite: bool = False,
    reporter: Reporter = WARNINGS,
) -> PreparedDataset:
    """Prepare images for training, as `alexnet prepare` does.

    Every image's shorter side becomes 256 pixels, and its centred 256x256 patch is kept (paper, section 2). A dataset
    that is there already, made from the same images with the same options, is returned; an interrupted preparation is
    resumed.

    Example:
        data = alexnet_keras.prepare("photos", holdout=0.1)

    Args:
        source: "demo", images drawn by code; a folder of class folders; "ilsvrc:DIR", "synsets:DIR", "parquet:DIR" or
            "tfds:NAME"; a `Path` of images; or an opened `Source`, for which the arguments from `holdout` to `tfds_dir`
            come too late and are refused.
        out: The directory to make. It may exist if it is empty or an earlier preparation of the same. By default
            `data/` and the source's name.
        name: The dataset's name. By default the directory's.
        seed: Decides the order of the images, which are held out or taken, and what the demo set looks like.
        holdout: The part of each class, 0..1, to validate on, where the source has no validation split.
        classes: A file of the classes to take, one per line, perhaps with its name in words. By default all.
        splits: The folder of each split, `{"train": "Training"}`; `{}` for none. By default known by their names.
        labels: A table of file and label, "FILE" or "SPLIT=FILE", or several, for images without class folders.
        limit_per_class: Images of each class in each split at most, chosen by the seed.
        class_order: The order of ILSVRC's classes: by WordNet id, "wnid", the default, or by ILSVRC id, "ilsvrc".
        partial: Accept fewer classes or images than an ILSVRC devkit, or a table, counts.
        tfds_dir: The directory of TFDS's sets.
        exif: Turn images as their EXIF orientation says; in 2012 it was ignored.
        max_pixels: An image with more is not decoded, and counts as unusable.
        max_bad: The number of images that may be unusable: a count, or as float a part 0..1 of all images. By default
            ten, or one in a hundred where that is more.
        encoding: The storage of the 256x256 images: "jpeg" in about 39 kB, or without loss "png" in about 110 kB or
            "raw" in 197 kB.
        quality: The quality of JPEG, 1..100, by default 95.
        shard_examples: Images in a shard at most, which is the work that is repeated after an interruption.
        overwrite: Replace what is prepared in the same directory, with the same options or others.
        reporter: Reports notes and progress.

    Returns:
        The prepared dataset.

    Raises:
        UsageError: There is no such source, an argument is out of range or does not apply to it, or the directory holds
            other files.
        DataError: The source cannot be used; the directory holds a preparation with other options; too many unusable
            images, or a split with no usable one.
        AlexNetError: Another process prepares or reads the directory.
        OSError: The disk is full, or cannot be written.
    """
    return Preparation(**locals()).complete()


# The least and the most of arguments that are numbers; a shard's sums of pixels have 32 bits.
LIMITS = {
    "seed": (0, math.inf),
    "limit_per_class": (1, math.inf),
    "max_pixels": (1, math.inf),
    "max_bad": (0, math.inf),
    "quality": (1, 100),
    "shard_examples": (1, 1_000_000),
}
OF_THE_SOURCE = ("holdout", "classes", "splits", "labels", "limit_per_class", "class_order", "partial", "tfds_dir")


@dataclass(frozen=True, eq=False)
class Preparation:
    """A planned preparation, to be done in one process or divided among several.

    Each process of several makes the same object and calls `make_part`; when all are done, one calls `finish`.

    Attributes: As the arguments of `prepare`.
    """

    source: str | Path | Source = "demo"
    out: str | Path | None = None
    _: KW_ONLY
    name: str | None = None
    seed: int = 0
    holdout: float = DEFAULT_HOLDOUT
    classes: str | Path | None = None
    splits: Mapping[str, str] | None = None
    labels: str | Path | Sequence[str | Path] = ()
    limit_per_class: int | None = None
    class_order: Literal["wnid", "ilsvrc"] | None = None
    partial: bool = False
    tfds_dir: str | Path | None = None
    exif: bool = False
    max_pixels: int = MAX_PIXELS
    max_bad: int | float | None = None
    encoding: Literal["jpeg", "png", "raw"] = "jpeg"
    quality: int | None = None
    shard_examples: int = SHARD_EXAMPLES
    overwrite: bool = False
    reporter: Reporter = WARNINGS

    def __post_init__(self) -> None:
        if self.name is not None:
            check_name(self.name, "--name")
        check_choice("encoding", self.encoding, ("jpeg", "png", "raw"))
        check_choice("class_order", self.class_order, (None, "wnid", "ilsvrc"))
        check_holdout(self.holdout)
        object.__setattr__(self, "holdout", float(self.holdout))
        for name, (least, most) in LIMITS.items():
            value = plain_number(getattr(self, name))
            if value is not None and name != "max_bad":
                value = whole_number(name, value, -sys.maxsize, UsageError)
            object.__setattr__(self, name, value)  # of Python's numbers, which the options are kept as
            most = 1 if name == "max_bad" and isinstance(value, float) else most
            if value is not None and not least <= value <= most:
                limits = f"from {least} to {most:,}" if most < math.inf else f"at least {least}"
                raise UsageError(f"{name} must be {limits}. Received: {name}={value!r}")
        if self.quality and self.encoding != "jpeg":
            raise UsageError(f"--quality is for JPEG; {self.encoding} loses nothing.")
        for field in dataclasses.fields(self) if isinstance(self.source, Source) else ():
            if field.name in OF_THE_SOURCE and getattr(self, field.name) != field.default:
                raise UsageError(f"{field.name} comes too late: give it where the source {self.given} is opened.")

    @property
    def given(self) -> str:
        """The source as the user named it."""
        if isinstance(self.source, Source):
            return self.source.given
        return f"folder:{self.source}" if isinstance(self.source, Path) else self.source

    @cached_property
    def directory(self) -> Path:
        """The directory of the dataset."""
        if self.out:
            return at_home(str(self.out))
        return data_root() / (self.name or good_name(default_name(self.given)))

    @property
    def dataset_name(self) -> str:
        """The dataset's name."""
        return self.name or self.directory.resolve().name

    @property
    def request(self) -> SourceRequest:
        """The choices of the images, and the directories in which the source may draw images and keep indices."""
        choices = ("seed", "holdout", "splits", "limit_per_class", "class_order", "partial", "overwrite")
        return SourceRequest(
            self.given,
            **{name: getattr(self, name) for name in choices},
            classes=at_home(str(self.classes)) if self.classes else None,
            labels=tuple(map(str, [self.labels] if isinstance(self.labels, str | Path) else self.labels)),
            tfds_dir=Path(self.tfds_dir) if self.tfds_dir else None,
            demo_folder=self.directory.with_name(f"{self.directory.resolve().name}-pictures"),
            cache=self.directory / WORK,
        )

    @cached_property
    def images(self) -> Source:
        """The opened source: the images of every split. Listing a large set takes a while.

        Raises:
            UsageError, DataError: As `prepare`.
        """
        if isinstance(self.source, Source):
            return self.source
        check_ours(self.directory)
        if self.overwrite and is_locked(self.directory / DATASET_LOCK):  # its demo images would be drawn anew
            raise AlexNetError(BUSY.format(out=self.directory))
        source = open_source(self.request, reporter=self.reporter)
        for text in source.notes:
            self.reporter.note(text)
        return source

    @cached_property
    def options(self) -> dict[str, Any]:
        """Every choice that decides the result's bytes."""
        return {
            "name": self.dataset_name,
            "seed": self.seed,
            "image_size": IMAGE_SIZE,
            **self._encoding.options,
            **self._decoding.options,
            "shard_examples": self.shard_examples,
            **self.images.options,
            "pictures": self.images.digest(),
        }

    @property
    def further_options(self) -> list[str]:
        """The options of `alexnet prepare`, as words, that choose the images and are not in `options`."""
        splits = None
        if self.splits is not None:
            splits = ",".join(f"{split}={folder}" for split, folder in self.splits.items()) or "none"
        bad = f"{100 * self.max_bad:g}%" if isinstance(self.max_bad, float) else self.max_bad
        words = ["--partial"] if self.partial else []
        for table in self.request.labels:
            words += ["--labels", table]
        given = {"--classes": self.classes, "--splits": splits, "--tfds-dir": self.tfds_dir, "--max-bad": bad}
        for option, value in given.items():
            words += [] if value is None else [option, str(value)]
        return words

    @property
    def _encoding(self) -> Encoding:
        return Encoding(self.encoding, self.quality or JPEG_QUALITY)

    @property
    def _decoding(self) -> Decoding:
        return Decoding(self.max_pixels, self.exif)

    @cached_property
    def shards(self) -> list[ShardPlan]:
        """The shards of every split, in order. The plan is reported."""
        shards = plan_shards(self.images, tfds_name(self.dataset_name), self.seed, self.shard_examples)
        counts = ", ".join(f"{len(images):,} {split}" for split, images in self.images.splits.items())
        self.reporter.note(
            f"Preparing {self.given} into {self.directory}: {counts}, {len(self.images.classes):,} classes, "
            f"seed {self.seed}, {len(shards):,} shards."
        )
        return shards

    def complete(self, beam_runner: str | None = None, beam_options: Sequence[str] = ()) -> PreparedDataset:
        """Prepare everything, resume an interrupted preparation, or return the dataset that is there.

        Args:
            beam_runner: The runner of Apache Beam that makes the shards, such as "FlinkRunner"; by default this process
                makes them.
            beam_options: The runner's options, "key=value", or "key" for a flag.

        Raises:
            UsageError, DataError, OSError: As `prepare`; UsageError also if Beam or a library of the runner is not
                installed, or Beam knows no such runner or option.
            AlexNetError: The Beam pipeline failed.
        """
        if beam_runner:
            try:
                from alexnet_keras.data.beam import make_shards
            except ImportError as error:
                raise UsageError("Apache Beam is not installed: pip install 'alexnet-keras[beam]'.") from error

            return make_shards(self, beam_runner, beam_options) or self.finish()
        with self.claimed(alone=True) as data:
            if data:
                return data
            for leftover in (self.directory / WORK).glob(f"{PARTIAL}*"):
                leftover.unlink(missing_ok=True)
            self.write_missing(self.shards)
            return self._seal()

    def make_part(self, first: int, stop: int) -> tuple[int, int]:
        """Make the shards `first` to `stop`, exclusive; other processes may make others meanwhile.

        Returns:
            `first` and `stop`, or the number of shards where that is less.

        Raises:
            UsageError, DataError, OSError: As `prepare`; UsageError also if there are no such shards.
        """
        number = len(self.shards)
        if not 0 <= first < stop or first >= number:
            raise UsageError(f"There is no shard range {first}:{stop}: the shards are 0:{number}.")
        with self.claimed(alone=False) as data:
            if not data:
                self.write_missing(self.shards[first:stop])
        return first, min(stop, number)

    def finish(self) -> PreparedDataset:
        """Merge the statistics of all shards and write the metadata, after every part was prepared.

        Raises:
            UsageError: As `prepare`.
            DataError: A shard is missing; as `prepare`.
        """
        with self.claimed(alone=True) as data:
            if data:
                return data
            missing = [n for n, shard in enumerate(self.shards) if not finished_shard(self.directory, shard.filename)]
            if missing:
                raise DataError(
                    f"{len(missing)} of the {len(self.shards)} shards of {self.directory} are not there yet: "
                    f"{some(_ranges(missing))}. Prepare them with --shard-range, or run without --finish."
                )
            return self._seal()

    def claimed(self, alone: bool) -> AbstractContextManager[PreparedDataset | None]:
        """Hold the directory, alone or with other parts, as `preparation_directory.claimed` does."""
        return claimed(
            self.directory,
            self.options,
            lambda: digest_of(self.shards),
            check=lambda data: self._check_bad([(bad["filename"], bad["reason"]) for bad in data.rejected]),
            words=self.images.words,
            further=self.further_options,
            overwrite=self.overwrite,
            alone=alone,
            reporter=self.reporter,
        )

    def write_missing(self, shards: list[ShardPlan]) -> None:
        """Write those of the shards that are not there yet.

        Raises:
            DataError: More images cannot be used than `max_bad` allows.
        """
        rejected: list[tuple[str, str]] = []
        with self.reporter.progress("preparing", sum(len(shard.images) for shard in shards)) as advance:
            pending = []
            for shard in shards:
                if record := finished_shard(self.directory, shard.filename):
                    advance(record.images)
                    rejected += record.rejected
                else:
                    pending.append(shard)
            if done := len(shards) - len(pending):
                self.reporter.note(f"Resuming an interrupted preparation: {done} of {len(shards)} shards are done.")
            self._check_bad(rejected)
            writing = write_shards(pending, self.images, self.directory, self._encoding, self._decoding)
            with closing(writing):
                for images, more in writing:
                    advance(images)
                    for rejection in more:
                        rejected.append(rejection)
                        self._check_bad(rejected)

    def _check_bad(self, rejected: list[tuple[str, str]]) -> None:
        """Raise a DataError, which quotes the last image, if more are unusable than may be."""
        total = sum(map(len, self.images.splits.values()))
        allowed = self.max_bad
        if allowed is None:
            allowed = max(10, total // 100)
        elif isinstance(allowed, float):
            allowed = int(round(allowed * total, 6))  # 0.29 * 100 is less than 29
        if len(rejected) > allowed:
            raise DataError(
                f"{len(rejected)} of {total} images cannot be used and --max-bad allows {allowed}. "
                f"The last was {': '.join(rejected[-1])}. Remove them, or allow more."
            )

    def _seal(self) -> PreparedDataset:
        """Write statistics, metadata and the manifest after all shards are finished."""
        records = [ShardRecord.load(record_path(self.directory, shard.filename)) for shard in self.shards]
        self._check_bad([rejection for record in records for rejection in record.rejected])
        trained = seal(
            self.images,
            self.directory,
            self.dataset_name,
            self.shards,
            records,
            options=self.options,
            further=self.further_options,
            encoding=self._encoding,
        )
        listed = np.bincount(self.images.splits["train"].labels, minlength=len(trained))
        if lost := [self.images.classes[label] for label in np.flatnonzero((listed > 0) & (trained == 0))]:
            self.reporter.warn(f"no training image of the class {some(lost)} can be used.")
        data = open_prepared(self.directory)
        if not self.exif and (turned := sum(record.turned for record in records)):
            total = sum(record.examples for record in records)
            self.reporter.warn(
                f"{turned:,} of the {total:,} images are stored on their side, upside down or mirrored: their EXIF "
                "orientation, which phones write, is ignored, as in 2012. With --exif --overwrite they stand upright."
            )
        for split, found in data.repeated.items():
            first = found["images"][0]
            self.reporter.warn(
                f"{found['count']:,} of the {data.examples(split):,} images of {split} are in train as well, such as "
                f"{first['filename']}, there {first['in_train']}: errors on {split} will be too low. "
                f"`{command('info', 'data', argument(data.path))}` lists them."
            )
        shutil.rmtree(self.directory / WORK, ignore_errors=True)
        return data

    def for_workers(self) -> Preparation:
        """The same for processes that run in another directory: absolute paths, no reporter, nothing overwritten."""
        changes: dict[str, Any] = {"out": self.directory.absolute(), "overwrite": False, "reporter": SILENT}
        if not isinstance(self.source, Source):
            request = self.request.absolute()
            changes |= {name: getattr(request, name) for name in ("classes", "labels", "tfds_dir")}
            changes["source"] = request.given
        return dataclasses.replace(self, **changes)


def _ranges(numbers: list[int]) -> list[str]:
    """Ascending numbers as ranges: 3, 4, 5, 9 to "3:6", "9:10"."""
    known = set(numbers)
    starts = [n for n in numbers if n - 1 not in known]
    stops = [n + 1 for n in numbers if n + 1 not in known]
    return [f"{start}:{stop}" for start, stop in zip(starts, stops, strict=True)]
