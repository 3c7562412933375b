"""Parts made by different processes, and on Apache Beam: the same bytes as one process."""

import functools
import json
import subprocess
import sys

import pytest

from alexnet_keras.data.preparation import Preparation, finish_parts, prepare_all, prepare_part
from alexnet_keras.data.sources.open import SourceRequest, open_source
from alexnet_keras.errors import AlexNetError, DataError, UsageError

PART = """
import sys
from pathlib import Path
from alexnet_keras.data.preparation import Preparation, prepare_part
from alexnet_keras.data.sources.folder import folder_source
folder, out, first, stop = sys.argv[1:]
preparation = Preparation(folder_source(Path(folder)), Path(out), shard_examples=4)
print("ready", flush=True)
sys.stdin.readline()
prepare_part(preparation, int(first), int(stop))
"""


@pytest.fixture
def folder(make_folder):
    return make_folder({"train/a": 14, "train/b": 12, "val/a": 3, "val/b": 3})


def contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def make(folder, out):
    return Preparation(open_source(SourceRequest(str(folder))), out, shard_examples=4)


@pytest.mark.slow
def test_processes_at_once_with_overlapping_parts_end_with_the_same_bytes(folder, tmp_path):
    whole = prepare_all(make(folder, tmp_path / "whole/set"))
    out = tmp_path / "parts/set"
    ranges = [("0", "5"), ("3", "9")]  # a scheduler may start a job twice
    children = [
        subprocess.Popen(
            [sys.executable, "-c", PART, str(folder), str(out), *part],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for part in ranges
    ]
    for child in children:
        child.stdout.readline()
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    assert [child.wait(timeout=120) for child in children] == [0, 0]
    for child in children:
        child.stdin.close()
        child.stdout.close()
    finish_parts(make(folder, out))
    assert contents(out) == contents(whole.path)


def test_a_part_and_the_whole_do_not_run_at_once(folder, tmp_path):
    preparation, refused = make(folder, tmp_path / "set"), []

    def start_the_whole(_):
        if not refused:
            with pytest.raises(AlexNetError, match="Another process is preparing") as error:
                prepare_all(make(folder, tmp_path / "set"))
            refused.append(error)
            prepare_part(make(folder, tmp_path / "set"), 4, 5)  # another part may

    prepare_part(preparation, 0, 2, on_progress=start_the_whole)
    assert refused


def test_a_part_with_other_options_is_refused(folder, tmp_path):
    prepare_part(make(folder, tmp_path / "set"), 0, 2)
    other = Preparation(open_source(SourceRequest(str(folder))), tmp_path / "set", shard_examples=4, seed=3)
    with pytest.raises(DataError, match="seed is 0 there and 3 here"):
        prepare_part(other, 2, 4)


@pytest.mark.slow
def test_beam_workers_end_with_the_same_bytes(folder, tmp_path):
    whole = prepare_all(make(folder, tmp_path / "whole/set"))
    command = [sys.executable, "-m", "alexnet_keras.cli.main", "prepare", folder.name, "--shard-examples", "4"]
    beam = ["--beam-runner", "DirectRunner", "--beam-option", "direct_num_workers=2"]
    beam += ["--beam-option", "direct_running_mode=multi_processing", "--json"]
    done = subprocess.run(
        [*command, "--out", "beam/set", *beam], capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "beam/set") == contents(whole.path) | manifest_of(tmp_path / "beam/set")
    assert json.loads(done.stdout)["fingerprint"] == whole.fingerprint


def manifest_of(path):
    """The manifest names the source as it was given, here by a relative path."""
    manifest = (path / "manifest.json").read_bytes()
    assert json.loads(manifest)["source"] == "folder:pictures"
    return {"manifest.json": manifest}


def test_what_a_beam_worker_cannot_use_is_said_as_one_process_says_it(folder, tmp_path):
    from alexnet_keras.data.beam import prepare_with_beam

    for image in (folder / "train/a").iterdir():
        image.write_bytes(b"no")
    source = open_source(SourceRequest(str(folder)))
    preparation = Preparation(source, tmp_path / "set", shard_examples=16, max_bad=2)
    with pytest.raises(DataError, match=r"^3 of 32 images cannot be used and --max-bad allows 2.*Remove them"):
        prepare_with_beam(preparation, functools.partial(lambda: preparation), "DirectRunner")


def test_a_runner_or_option_that_beam_does_not_know_is_named(folder, tmp_path):
    from alexnet_keras.data.beam import prepare_with_beam

    with pytest.raises(UsageError, match="Apache Beam does not take --runner=NoRunner"):
        prepare_with_beam(make(folder, tmp_path / "set"), lambda: None, "NoRunner")
