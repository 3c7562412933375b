"""Parts made by different processes, and on Apache Beam: the same bytes as one process."""

import contextlib
import importlib.util
import json
import pickle
import signal
import socket
import subprocess
import sys
import time

import pytest
from recorded import Recorded
from small_sets import contents

from alexnet_keras.data.preparation import Preparation
from alexnet_keras.data.shards import finished_shard
from alexnet_keras.data.sources.open import open_source
from alexnet_keras.errors import AlexNetError, DataError, UsageError
from alexnet_keras.storage.files import process_name

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
        def on_advance(self, work):
            if work.what == "preparing" and not refused:
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
    assert json.loads((path / "manifest.json").read_text())["source"] == "folder:pictures"
    return {"manifest.json": contents(path)["manifest.json"]}


@pytest.mark.slow
def test_a_beam_worker_opens_the_source_once_however_often_the_runner_copies_the_function(
    folder, tmp_path, monkeypatch
):
    from alexnet_keras.data.beam import WriteShard

    opened = []

    def counted(*arguments, **choices):
        opened.append(arguments)
        return open_source(*arguments, **choices)

    monkeypatch.setattr("alexnet_keras.data.preparation.open_source", counted)
    preparation = make(folder, tmp_path / "set")
    for_workers = pickle.dumps(WriteShard(preparation.for_workers()))
    with preparation.claimed(alone=False):
        opened.clear()
        for number in (0, 1, 2):
            pickle.loads(for_workers).process(number)
    assert len(opened) == 1
    assert len(list((tmp_path / "set").glob("*.tfrecord-*"))) == 3


def dask(*arguments):
    """A process of Dask's command line, in this Python."""
    log = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, "-c", "from dask.__main__ import main; main()", *arguments], **log)


def prepare_on_dask(folder, out, port):
    """A process of `alexnet prepare` on the Dask scheduler at this port."""
    address = f"dask_client_address=tcp://127.0.0.1:{port}"
    command = [sys.executable, "-m", "alexnet_keras.cli.main", "prepare", str(folder), "--shard-examples", "4"]
    return subprocess.Popen(
        [*command, "--out", str(out), "--beam-runner", "DaskRunner", "--beam-option", address, "--quiet"],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for_shards(out, count, writers, preparing):
    """Wait until this many shards are there, and each of these processes was seen to write one."""
    start, missing, deadline = f".partial-{process_name().rpartition('-')[0]}-", set(writers), time.monotonic() + 240
    while missing or len(list(out.glob("*.tfrecord-*"))) < count:
        assert time.monotonic() < deadline and preparing.poll() is None, f"{missing} made no shard"
        names = [path.name for path in (out / ".prepare").glob(f"{start}*.tfrecord-*")]
        missing -= {int(name.removeprefix(start).partition("-")[0]) for name in names}
        time.sleep(0.002)


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("distributed"), reason="needs pip install 'apache-beam[dask]'")
def test_dask_workers_share_the_shards_and_a_killed_one_costs_nothing(make_folder, tmp_path):
    folder = make_folder({"train/a": 90, "train/b": 90, "val/a": 10, "val/b": 10})
    whole = make(folder, tmp_path / "whole/set").complete()
    shards = len(list(whole.path.glob("*.tfrecord-*")))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    worker = ("worker", f"tcp://127.0.0.1:{port}", "--nthreads", "1", "--no-nanny", "--no-dashboard")
    worker += ("--local-directory", str(tmp_path / "scratch"))
    with contextlib.ExitStack() as ended:

        def start(*arguments):
            process = dask(*arguments)
            ended.callback(process.wait)
            ended.callback(process.kill)
            return process

        start("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
        workers = [start(*worker), start(*worker)]
        preparing = prepare_on_dask(folder, tmp_path / "killed/set", port)
        wait_for_shards(tmp_path / "killed/set", shards // 4, [process.pid for process in workers], preparing)
        workers[0].kill()
        _, said = preparing.communicate(timeout=240)
        assert preparing.returncode == 0, said
        assert contents(tmp_path / "killed/set") == contents(whole.path)

        out = tmp_path / "again/set"
        preparing = prepare_on_dask(folder, out, port)
        wait_for_shards(out, shards // 4, [workers[1].pid], preparing)
        workers[1].kill()  # the last one: Dask waits for another
        time.sleep(1)
        preparing.send_signal(signal.SIGINT)
        _, said = preparing.communicate(timeout=60)
        assert preparing.returncode == 130 and "Traceback" not in said, said
        finished = [path for path in out.glob("*.tfrecord-*") if finished_shard(out, path.name)]
        kept = {path: path.stat().st_ino for path in finished}
        assert len(kept) >= shards // 4 - 1  # the worker may have died before the last one's record

        start(*worker)
        preparing = prepare_on_dask(folder, out, port)
        _, said = preparing.communicate(timeout=240)
        assert preparing.returncode == 0, said
        assert contents(out) == contents(whole.path)
        assert kept == {path: path.stat().st_ino for path in kept}


@pytest.mark.parametrize("option", [(), ("dask_npartitions=2",), ("dask_partition_size=4",)])
@pytest.mark.parametrize("runner", ["DaskRunner", "dask"])
def test_on_dask_every_shard_is_a_task_unless_an_option_says_otherwise(folder, tmp_path, monkeypatch, runner, option):
    given = []

    def refuse(flags):
        given.extend(flags)
        raise ImportError("No module named 'dask'")

    monkeypatch.setattr("alexnet_keras.data.beam.PipelineOptions", refuse)
    with pytest.raises(UsageError, match=f"Apache Beam's {runner} needs a library that is not installed: No module"):
        make(folder, tmp_path / "set").complete(runner, option)
    assert given[0] == "--runner=apache_beam.runners.dask.dask_runner.DaskRunner"
    assert given[1:] == [f"--{each}" for each in option or ("dask_partition_size=1",)]


def test_what_a_beam_worker_cannot_use_is_said_as_one_process_says_it(folder, tmp_path):
    for image in (folder / "train/a").iterdir():
        image.write_bytes(b"no")
    preparation = Preparation(folder, tmp_path / "set", shard_examples=16, max_bad=2)
    with pytest.raises(DataError, match=r"^3 of 32 images cannot be used and --max-bad allows 2.*, or allow more\.$"):
        preparation.complete("DirectRunner")


def test_a_runner_or_option_that_beam_does_not_know_is_named(folder, tmp_path):
    with pytest.raises(UsageError, match="Apache Beam does not take --runner=NoRunner"):
        make(folder, tmp_path / "set").complete("NoRunner")
