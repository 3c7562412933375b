"""Peak memory of `alexnet prepare`: of few and of many images, and of planning fourteen million.

    python benchmarks/prepare_memory.py ORIGINALS      # a folder of JPEGs, at any depth

Each figure is the largest resident size of a process of its own. The fourteen million are members of 21,841 archives
of synsets that exist by name only: they are indexed, half of each class is held out, and every shard is planned, as
for `alexnet prepare synsets:DIR --holdout 0.5`.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from prepare_speed import link

FEW, MANY = 1_000, 20_000
SYNSETS, MEMBERS = 21_841, 14_197_122  # ImageNet Fall 2011


def prepare(folder: Path, out: Path) -> None:
    from click.testing import CliRunner

    from alexnet_keras.cli.main import cli

    done = CliRunner().invoke(cli, ["prepare", str(folder), "--out", str(out)])
    if done.exit_code:
        sys.exit(done.output)


def plan() -> None:
    import tensorflow  # noqa: F401  a preparation has it loaded, too

    from alexnet_keras.data.preparation import Preparation
    from alexnet_keras.data.sources.source import Source, no_progress
    from alexnet_keras.data.sources.splits import hold_out
    from alexnet_keras.data.sources.tar import Member, images_of, index_members

    def members(wnid: str, number: int):
        return (Member(f"{wnid}_{i}.JPEG", 512 + 110_000 * i, 109_000) for i in range(number))

    sizes = [MEMBERS // SYNSETS + (label < MEMBERS % SYNSETS) for label in range(SYNSETS)]
    wnids = [f"n{1_000_000 + 500 * label:08d}" for label in range(SYNSETS)]
    found = ((wnid, Path(f"{wnid}.tar"), members(wnid, size)) for wnid, size in zip(wnids, sizes, strict=True))
    _, images = images_of(index_members(found, no_progress))
    source = Source("synsets:fall11", tuple(wnids), hold_out(images, wnids, 0.5, seed=0), options={"holdout": 0.5})
    preparation = Preparation(source, Path("fall11"))
    planned = sum(len(shard.images) for shard in preparation.shards)
    if planned != MEMBERS or len(preparation.options["pictures"]) != 64:
        sys.exit(f"planned {planned} of {MEMBERS}")


def peak(*arguments: str) -> float:
    """MiB of a process that does one of the above."""
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    return int(done.stdout.splitlines()[-1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("originals", type=Path)
    parser.add_argument("--work", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        plan() if options.work == ["plan"] else prepare(*map(Path, options.work))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # noqa: T201
        return
    with tempfile.TemporaryDirectory() as directory:
        for images in (FEW, MANY):
            folder = Path(directory) / f"in{images}"
            link(options.originals, folder, images)
            found = peak(str(options.originals), "--work", str(folder), f"{directory}/out{images}")
            print(f"{images:,} images: {found:,.0f} MiB")  # noqa: T201
    print(f"planning {MEMBERS:,} members: {peak(str(options.originals), '--work', 'plan'):,.0f} MiB")  # noqa: T201


if __name__ == "__main__":
    main()
