"""`alexnet prepare` next to a bare TensorFlow loop and an OpenCV pool, in one interleaved run.

    pip install -r benchmarks/requirements.txt
    python benchmarks/prepare_speed.py ORIGINALS             # a folder of JPEGs, at any depth
    python benchmarks/prepare_speed.py ORIGINALS --rounds 5 --images 20000

The originals are linked as often as it takes to have `--images` of them, and read once before anything is timed. A
round runs each worker once, in a process of its own and in turn:

- alexnet: everything that `alexnet prepare` does once the libraries are loaded: indexing, planning, reading, decoding,
  cropping, resizing, encoding, exact statistics, checksums, writing to the disk, metadata.
- tensorflow: a loop of TensorFlow's own operations that reads, decodes, crops, resizes (area or bicubic), encodes at
  the same quality, and throws the bytes away.
- opencv: a pool of as many processes as there are processors that does the same with INTER_AREA and INTER_CUBIC and
  returns the bytes.

Loading libraries is in no figure; what the whole command takes beside it is printed at the end.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tables import ratio_line

WORKERS = ("alexnet", "tensorflow", "opencv")
SIZE, QUALITY = 256, 95
CLASSES = 10


def link(originals: Path, folder: Path, images: int) -> None:
    """Class folders of `images` links to the originals."""
    files = sorted(path for path in originals.rglob("*") if path.suffix.lower() in (".jpeg", ".jpg"))
    if not files:
        sys.exit(f"There are no JPEGs in {originals}.")
    for path in files:
        path.read_bytes()
    for split, number in (("train", images), ("val", CLASSES)):
        for index in range(number):
            path = folder / split / f"class{index % CLASSES}" / f"{index:06d}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(files[index % len(files)].absolute())


def work(worker: str, folder: Path, out: Path) -> dict[str, float]:
    """Seconds of wall time and of processor time, and the number of images, of one worker."""
    return {"alexnet": run_alexnet, "tensorflow": run_tensorflow, "opencv": run_opencv}[worker](folder, out)


def processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def timed(run) -> dict[str, float]:
    started, used = time.perf_counter(), processor_seconds()
    images = run()
    return {"seconds": time.perf_counter() - started, "processor": processor_seconds() - used, "images": images}


def run_alexnet(folder: Path, out: Path) -> dict[str, float]:
    import tensorflow
    import tensorflow_datasets  # noqa: F401

    tensorflow.config.list_physical_devices()
    from alexnet_keras.data.preparation import prepare
    from alexnet_keras.data.sources.folder import folder_source

    def run() -> int:
        data = prepare(folder_source(folder), out)
        return data.examples("train") + data.examples("val")

    return timed(run)


def run_tensorflow(folder: Path, _: Path) -> dict[str, float]:
    import tensorflow as tf

    def convert(path):
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3, dct_method="INTEGER_ACCURATE")
        shape = tf.shape(image)
        side = tf.minimum(shape[0], shape[1])
        image = tf.image.crop_to_bounding_box(image, (shape[0] - side) // 2, (shape[1] - side) // 2, side, side)
        image = tf.cond(
            side > SIZE,
            lambda: tf.image.resize(image, (SIZE, SIZE), method="area"),
            lambda: tf.clip_by_value(tf.image.resize(image, (SIZE, SIZE), method="bicubic"), 0, 255),
        )
        return tf.io.encode_jpeg(tf.cast(tf.round(image), tf.uint8), quality=QUALITY, chroma_downsampling=False)

    def run() -> int:
        paths = [str(path) for path in sorted(folder.glob("train/*/*"))]
        # AUTOTUNE settles on less, and with one call a processor a large image holds up the others: a third slower.
        dataset = tf.data.Dataset.from_tensor_slices(paths).map(convert, num_parallel_calls=4 * os.cpu_count())
        return sum(len(batch) for batch in dataset.batch(32).prefetch(2))

    return timed(run)


def convert_with_opencv(path: str) -> bytes:
    import cv2

    cv2.setNumThreads(1)
    image = cv2.imread(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    method = cv2.INTER_AREA if side > SIZE else cv2.INTER_CUBIC
    square = cv2.resize(square, (SIZE, SIZE), interpolation=method)
    sampling = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    return cv2.imencode(".jpg", square, (cv2.IMWRITE_JPEG_QUALITY, QUALITY, *sampling))[1].tobytes()


def run_opencv(folder: Path, _: Path) -> dict[str, float]:
    import multiprocessing

    import cv2  # noqa: F401

    def run() -> int:
        paths = [str(path) for path in sorted(folder.glob("train/*/*"))]
        with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
            return sum(len(encoded) > 0 for encoded in pool.imap(convert_with_opencv, paths, chunksize=32))

    return timed(run)


def measure(worker: str, folder: Path, out: Path) -> dict[str, float]:
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, __file__, "--worker", worker, str(folder), "--out", str(out)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"{worker} failed:\n{result.stderr[-2000:]}")
    return json.loads(result.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("originals", type=Path)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(work(options.worker, options.originals, options.out)))  # noqa: T201
        return
    rates: dict[str, list[float]] = {worker: [] for worker in WORKERS}
    costs: dict[str, list[float]] = {worker: [] for worker in WORKERS}
    with tempfile.TemporaryDirectory() as directory:
        folder, out = Path(directory) / "in", Path(directory) / "out"
        link(options.originals, folder, options.images)
        for number in range(options.rounds):
            for worker in WORKERS[number % 3 :] + WORKERS[: number % 3]:
                found = measure(worker, folder, out)
                rates[worker].append(found["images"] / found["seconds"])
                costs[worker].append(1000 * found["processor"] / found["images"])
                line = f"{worker} {rates[worker][-1]:.0f} images/s, {costs[worker][-1]:.2f} ms of processor an image"
                print(f"round {number + 1}: {line}", file=sys.stderr)  # noqa: T201
    print(f"{options.images} images, {os.cpu_count()} processors, {options.rounds} interleaved rounds\n")  # noqa: T201
    print("| worker | images/s, median | slowest to fastest | processor ms an image |\n|---|---|---|---|")  # noqa: T201
    for worker in WORKERS:
        found = rates[worker]
        cost = statistics.median(costs[worker])
        print(f"| {worker} | {statistics.median(found):.0f} | {min(found):.0f} to {max(found):.0f} | {cost:.2f} |")  # noqa: T201
    for other in WORKERS[1:]:
        print(f"\n{ratio_line(other, rates['alexnet'], rates[other])}")  # noqa: T201


if __name__ == "__main__":
    main()
