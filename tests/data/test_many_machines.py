"""Parts made by different processes, and on Apache Beam: the same bytes as one process."""

import json
import subprocess
import sys

import pytest
from small_sets import Recorded

from alexnet_keras.data.preparation import Preparation
from alexnet_keras.errors import AlexNetError, DataError, UsageError

PART = """
import sys
from alexnet_keras.data.preparation import Preparation
folder, out, first, stop = sys.argv[1:]
preparation = Preparation(folder, out, shard_examples=4)
print("ready", flush=True)
sys.stdin.readline()
preparation.make_part(int(first), int(stop))
"""


@pytest.fixture
def folder(make_folder):
    return make_folder({"train/a": 14, "train/b": 12, "val/a": 3, "val/b": 3})


def contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def make(folder, out, **choices):
    return Preparation(folder, out, shard_examples=4, **choices)


@pytest.mark.slow
def test_processes_at_once_with_overlapping_parts_end_with_the_same_bytes(folder, tmp_path):
    whole = make(folder, tmp_path / "whole/set").complete()
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
    make(folder, out).finish()
    assert contents(out) == contents(whole.path)


def test_a_part_and_the_whole_do_not_run_at_once(folder, tmp_path):
    refused = []

    class StartTheWhole(Recorded):
        def advance(self, n=1, text=""):
            if self.what == "preparing" and not refused:
                with pytest.raises(AlexNetError, match="Another process is preparing") as error:
                    make(folder, tmp_path / "set").complete()
                refused.append(error)
                make(folder, tmp_path / "set").make_part(4, 5)  # another part may

    make(folder, tmp_path / "set", reporter=StartTheWhole()).make_part(0, 2)
    assert refused


def test_a_part_with_other_options_is_refused(folder, tmp_path):
    make(folder, tmp_path / "set").make_part(0, 2)
    with pytest.raises(DataError, match="seed is 0 there and 3 here"):
        make(folder, tmp_path / "set", seed=3).make_part(2, 4)


@pytest.mark.slow
def test_beam_workers_end_with_the_same_bytes(folder, tmp_path):
    whole = make(folder, tmp_path / "whole/set").complete()
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
    for image in (folder / "train/a").iterdir():
        image.write_bytes(b"no")
    preparation = Preparation(folder, tmp_path / "set", shard_examples=16, max_bad=2)
    with pytest.raises(DataError, match=r"^3 of 32 images cannot be used and --max-bad allows 2.*, or allow more\.$"):
        preparation.complete("DirectRunner")


def test_a_runner_or_option_that_beam_does_not_know_is_named(folder, tmp_path):
    with pytest.raises(UsageError, match="Apache Beam does not take --runner=NoRunner"):
        make(folder, tmp_path / "set").complete("NoRunner")
