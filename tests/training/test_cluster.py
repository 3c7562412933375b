"""Several processes train one run: they agree, they notice a death, and together they go on."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from recorded import Recorded
from toy_runs import last_weights, step_losses

from alexnet_keras.errors import AlexNetError, UsageError
from alexnet_keras.recipes.toml import to_toml, with_overrides
from alexnet_keras.runs import Run
from alexnet_keras.training.cluster import ALONE, Cluster, join_cluster, read_cluster, read_slurm

TWO = {"worker": ["a:1", "b:2"]}


def config(cluster=TWO, task=None):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task or {"type": "worker", "index": 1}})}


def free_addresses(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return addresses


def test_tf_config_is_read_as_tensorflow_reads_it():
    assert read_cluster(config()) == Cluster(("a:1", "b:2"), 1)
    with_chief = {"worker": ["a:1"], "chief": ["c:3"], "evaluator": ["e:4"]}
    assert read_cluster(config(with_chief, {"type": "worker", "index": 0})) == Cluster(("c:3", "a:1"), 1)
    assert read_cluster(config(with_chief, {"type": "chief", "index": 0})).is_chief


def test_a_master_of_old_is_the_chief():
    cluster = {"master": ["m:1"], "worker": ["a:1"]}
    assert read_cluster(config(cluster, {"type": "master", "index": 0})) == Cluster(("m:1", "a:1"), 0)
    assert read_cluster(config(cluster, {"type": "worker", "index": 0})) == Cluster(("m:1", "a:1"), 1)


def test_what_kubeflows_operator_writes_is_read():
    names = {
        job: [f"alexnet-{job}-{index}.research.svc.cluster.local:2222" for index in range(count)]
        for job, count in (("chief", 1), ("ps", 0), ("worker", 2))
    }
    expected = (*names["chief"], *names["worker"])
    for place, task in enumerate([("chief", 0), ("worker", 0), ("worker", 1)]):
        written = {"cluster": names, "task": dict(zip(("type", "index"), task, strict=True)), "environment": "cloud"}
        assert read_cluster({"TF_CONFIG": json.dumps(written)}) == Cluster(expected, place)


@pytest.mark.parametrize(
    "written",
    [
        {
            "cluster": {"worker": ["job-worker-0.ns.svc:2222"]},
            "task": {"type": "worker", "index": 0},
            "environment": "",
        },
        {"cluster": {"chief": ["c:1"]}, "task": {"type": "chief", "index": 0}},
        {"cluster": {"master": ["c:1"]}, "task": {"type": "master", "index": 0}},
        {"cluster": {"worker": ["a:1"], "evaluator": ["e:1"]}, "task": {"type": "worker", "index": 0}},
        {"cluster": {"worker": ["a:1"]}},
        {"cluster": {"worker": []}, "task": {"type": "worker", "index": 0}},
        {"cluster": {}},
        {"cluster": None},
        {"cluster": {"worker": ["a:1"], "ps": [], "chief": None}, "task": {"type": "worker", "index": 0}},
        {"task": {"type": "worker", "index": 0}},
        {},
    ],
    ids=str,
)
def test_who_is_alone_in_tf_config_trains_alone(written):
    assert read_cluster({"TF_CONFIG": json.dumps(written)}) is ALONE


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "needs srun or TF_CONFIG, such as"),
        ({"TF_CONFIG": "{'cluster'"}, "not JSON"),
        ({"TF_CONFIG": " "}, "needs srun or TF_CONFIG, such as"),
        ({"TF_CONFIG": "[]"}, "needs `cluster` and `task`"),
        ({"TF_CONFIG": '{"cluster": ["a:1"]}'}, "needs `cluster` and `task`"),
        ({"TF_CONFIG": '{"sparseCluster": {"worker": {"0": "a:1"}}}'}, "has sparseCluster, which is not read"),
        ({"TF_CONFIG": '{"cluster": {"worker": ["a:1", "b:2"]}}'}, "of 2 needs `task`"),
        (config({"worker": "a:1"}), "not a list of addresses"),
        (config({"worker": {"0": "a:1", "1": "b:2"}}), "cluster.worker is not a list of addresses"),
        (
            {"TF_CONFIG": '{"sparseCluster": {"worker": {"1": "a:1"}, "ps": []}, "task": {"type": "worker"}}'},
            "name every worker in `cluster`",
        ),
        (config({"worker": ["a:1", "b"]}), "'b' is not an address"),
        (config({"worker": ["a:1", "b:99999"]}), "'b:99999' is not an address"),
        (config({"worker": ["a:1", "a:1"]}), "the same address"),
        (config({"worker": ["a:1"]}, {"type": "worker", "index": 1}), "none of the cluster's"),
        (config({**TWO, "evaluator": ["e:1"]}, {"type": "evaluator", "index": 0}), "evaluator has nothing to do here"),
        (config({**TWO, "ps": ["p:1"]}, {"type": "ps", "index": 0}), "ps has nothing to do here"),
        (config({"chief": ["a:1"], "master": ["b:2"]}, {"type": "chief", "index": 0}), "has master"),
        (config(task={"type": "worker", "index": 0.5}), "none of the cluster's"),
        (config({**TWO, "ps": ["p:1"]}), "has ps"),
        (config({**TWO, "chief": ["c:1", "d:1"]}), "one chief"),
        (config(task={"type": "worker", "index": 2}), "none of the cluster's"),
        (config(task={"type": "worker"}), "none of the cluster's"),
        (config(task={"type": "cook", "index": 0}), "worker 0, worker 1"),
    ],
)
def test_a_malformed_tf_config_is_reported(environment, said):
    with pytest.raises(UsageError, match=said) as error:
        read_cluster(environment)
    assert len(f"Error: {error.value}") <= 160  # two lines of a terminal


def srun(process, nodes, tasks_per_node, places, job="4711", step="0"):
    """The environment that srun gives to a task; `places` has the (node, number on the node) of each."""
    node, local = places[process]
    return {
        "SLURM_JOB_ID": job,
        "SLURM_STEP_ID": step,
        "SLURM_NTASKS": str(len(places)),
        "SLURM_STEP_NUM_TASKS": str(len(places)),
        "SLURM_STEP_NODELIST": nodes,
        "SLURM_STEP_TASKS_PER_NODE": tasks_per_node,
        "SLURM_PROCID": str(process),
        "SLURM_LOCALID": str(local),
        "SLURMD_NODENAME": node,
    }


@pytest.fixture
def as_task(monkeypatch):
    """Sets environment variables, all others of SLURM removed."""
    for name in ("TF_CONFIG", "CUDA_VISIBLE_DEVICES", *(name for name in os.environ if name.startswith("SLURM"))):
        monkeypatch.delenv(name, raising=False)

    def set_all(environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return set_all


def test_the_tasks_of_a_slurm_step_are_workers_in_the_order_of_the_nodes(as_task):
    block = [("n2", 0), ("n2", 1), ("n9", 0), ("n9", 1), ("n10", 0)]
    for process in range(5):
        as_task(srun(process, "n[2,9-10]", "2(x2),1", block))
        cluster = read_slurm()
        assert cluster.workers == ("n2:30416", "n2:30417", "n9:30416", "n9:30417", "n10:30416")
        assert cluster.index == process
    cyclic = [("n2", 0), ("n9", 0), ("n10", 0), ("n2", 1), ("n9", 1)]
    as_task(srun(3, "n[2,9-10]", "2(x2),1", cyclic))
    assert read_slurm() == Cluster(cluster.workers, 1)
    as_task(srun(0, "n[2,9-10]", "2(x2),1", block, step="1"))  # at the same time, on the same nodes
    assert read_slurm().workers[0] == "n2:16304"


@pytest.mark.parametrize(
    ("visible", "on_node", "left"),
    [
        ("0,1,2,3", "4", ["0,1", "2,3"]),
        ("4,6", "2", ["4", "6"]),
        ("GPU-a,GPU-b,GPU-c", "3", ["GPU-a", "GPU-b"]),
        ("0", "2", ["0", "0"]),  # bound by --gpus-per-task
        ("0", "1", ["0", "0"]),
        (None, None, [None, None]),
    ],
)
def test_the_tasks_of_a_node_share_its_gpus_unless_slurm_has_bound_them(as_task, visible, on_node, left):
    for process in (0, 1):
        as_task(srun(process, "n1", "2", [("n1", 0), ("n1", 1)]))
        if visible:
            as_task({"CUDA_VISIBLE_DEVICES": visible, "SLURM_GPUS_ON_NODE": on_node})
        read_slurm()
        assert os.environ.get("CUDA_VISIBLE_DEVICES") == left[process]


def test_a_task_of_slurm_joins_others_if_asked_to_and_tf_config_wins(as_task):
    reporter = Recorded()
    as_task(srun(0, "n1", "2", [("n1", 0), ("n1", 1)]))
    assert join_cluster(reporter=reporter) is ALONE and join_cluster("one", reporter=reporter) is ALONE
    with pytest.raises(AlexNetError, match="n1:30417"):
        join_cluster("multi-worker", 0.1, reporter)
    as_task(srun(0, "n1", "1", [("n1", 0)]))
    assert join_cluster(reporter=reporter) is ALONE and join_cluster("multi-worker", reporter=reporter) is ALONE
    as_task({"TF_CONFIG": "{}"})
    assert join_cluster("multi-worker", reporter=reporter) is ALONE
    assert reporter.notes == [
        "SLURM started several tasks, and each trains alone; --strategy multi-worker joins them.",
        "SLURM started 2 tasks on one node; this one is n1:30416.",
        "Worker 1 of 2, the chief.",
        "Waiting for n1:30417.",
        "SLURM names no other worker: this process trains alone.",
        "TF_CONFIG names no other worker: this process trains alone.",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"SLURM_STEP_NUM_TASKS": None}, "SLURM has not set SLURM_STEP_NUM_TASKS: start the command with srun, or set"),
        ({"SLURM_STEP_NODELIST": "r[1-2]n[1-2]"}, 'cannot read SLURM\'s step: Invalid hostlist format "r[1-2]n[1-2]"'),
        ({"SLURM_STEP_TASKS_PER_NODE": "2(x"}, "Invalid tasks-per-node list format"),
        ({"SLURM_STEP_TASKS_PER_NODE": "1"}, "Requested 2 tasks but only 1 were assigned. Set TF_CONFIG."),
        ({"SLURMD_NODENAME": "n7"}, "the task 0 of n7 is none of its step's (n1:30416, n1:30417)."),
    ],
)
def test_what_is_no_step_of_slurm_is_reported(as_task, monkeypatch, change, said):
    as_task(srun(0, "n1", "2", [("n1", 0), ("n1", 1)]))
    for name, value in change.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    with pytest.raises(UsageError, match=re.escape(said)):
        join_cluster("multi-worker")


def test_a_worker_whose_name_is_not_known_yet_is_waited_for(monkeypatch):
    def unknown(*_):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    own, _ = free_addresses(2)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(AlexNetError, match=r"0.3 seconds: alexnet-worker-1\.research\.svc:2222\."):
        Cluster((own, "alexnet-worker-1.research.svc:2222")).wait_for_all(0.3)


def test_a_worker_that_never_appears_is_named():
    own, present, *absent = free_addresses(4)
    host, port = present.split(":")
    reporter = Recorded()
    with socket.create_server((host, int(port))), pytest.raises(AlexNetError) as error:
        Cluster((own, present, *absent)).wait_for_all(0.5, reporter)
    assert reporter.notes == [f"Waiting for {', '.join(absent)}."]
    assert f"2 workers did not appear within 0.5 seconds: {', '.join(absent)}" in str(error.value)
    assert error.value.exit_code == 1


def test_workers_that_start_at_different_times_find_each_other():
    addresses = free_addresses(3)
    found = []

    def start(index):
        time.sleep(0.4 * index)
        Cluster(tuple(addresses), index).wait_for_all(20)
        host, port = addresses[index].split(":")
        with socket.create_server((host, int(port))):  # as TensorFlow's own server does from here on
            found.append(index)
            time.sleep(1.5)

    threads = [threading.Thread(target=start, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, 1, 2]


def test_an_address_that_is_taken_is_reported():
    own, other = free_addresses(2)
    host, port = own.split(":")
    with socket.create_server((host, int(port))), pytest.raises(UsageError, match="cannot listen"):
        Cluster((own, other)).wait_for_all(5)


class Workers:
    """Two processes of `alexnet train` on the loopback interface, each with environment variables of its own."""

    def __init__(self, folder, *arguments, environments=None):
        addresses = free_addresses(2)
        tasks = [{"type": "worker", "index": index} for index in (0, 1)]
        environments = environments or [config({"worker": addresses}, task) for task in tasks]
        command = [sys.executable, "-m", "alexnet_keras.cli.main", "train", "--strategy", "multi-worker", *arguments]
        self.processes = []
        for own in environments:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **own},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
            self.processes.append(process)

    def end(self):
        """(exit code, stderr) of each."""
        ends = []
        for process in self.processes:
            _, stderr = process.communicate(timeout=240)
            ends.append((process.returncode, stderr))
        return ends


def steps_of(run):
    return len(step_losses(run)) if run.steps_path.exists() else 0


def wait_for_steps(path, count, workers):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and all(process.poll() is None for process in workers.processes):
        if path.exists() and path.read_text().count("\n") > count:
            return
        time.sleep(0.01)
    pytest.fail(f"no step {count}: {workers.end()}")


@pytest.mark.slow
def test_two_workers_and_one_device_agree_and_write_one_run(one_device, prepared, tiny, tmp_path):
    (tmp_path / "tiny.toml").write_text(to_toml(tiny))
    arguments = ["--data", str(prepared.path), "--recipe", "tiny.toml", "--seed", "3", "--run", "two"]
    ends = Workers(tmp_path, *arguments).end()
    assert [code for code, _ in ends] == [0, 0], ends  # equal weights on both are checked by the run itself
    run = Run.load("two", tmp_path / "saved_models")
    # Each worker adds up the gradients of its half of a batch: rounding, then its growth over the steps.
    np.testing.assert_allclose(step_losses(run), step_losses(one_device[0]), rtol=1e-4)
    assert run.history[-1]["val_top1_error"] == one_device[1][-1]["val_top1_error"]
    assert [path.name for path in (tmp_path / "saved_models").iterdir()] == ["two"]
    assert "multi-worker on /CPU:0 of each of 2 workers" in ends[0][1]


@pytest.mark.slow
def test_two_tasks_of_slurm_train_as_two_workers_of_tf_config_do(prepared, tiny, tmp_path):
    (tmp_path / "tiny.toml").write_text(to_toml(tiny))
    arguments = ["--data", str(prepared.path), "--recipe", "tiny.toml", "--deterministic"]
    places = [("localhost", 0), ("localhost", 1)]
    started = [srun(process, "localhost", "2", places, job=str(os.getpid())) for process in (0, 1)]
    ends = Workers(tmp_path, *arguments, "--run", "slurm", environments=started).end()
    assert [code for code, _ in ends] == [0, 0], ends
    assert "SLURM started 2 tasks on one node; this one is localhost:" in ends[1][1]
    ends = Workers(tmp_path, *arguments, "--run", "named").end()
    assert [code for code, _ in ends] == [0, 0], ends
    runs = [Run.load(name, tmp_path / "saved_models") for name in ("slurm", "named")]
    np.testing.assert_array_equal(*map(step_losses, runs))
    for ours, theirs in zip(*map(last_weights, runs), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_a_cluster_that_lost_a_worker_stops_and_goes_on_bit_for_bit(prepared, tiny, tmp_path):
    (tmp_path / "tiny.toml").write_text(to_toml(with_overrides(tiny, ["training.epochs=14"])))
    arguments = ["--data", str(prepared.path), "--recipe", "tiny.toml", "--save-every", "4", "--deterministic"]
    whole = Workers(tmp_path, *arguments, "--run", "whole").end()
    assert [code for code, _ in whole] == [0, 0], whole
    steps = tmp_path / "saved_models/cut/steps.csv"

    workers = Workers(tmp_path, *arguments, "--run", "cut")
    wait_for_steps(steps, 10, workers)
    workers.processes[1].send_signal(signal.SIGTERM)  # preempted: the worker asks, all stop and the chief saves
    ends = workers.end()
    assert [code for code, _ in ends] == [130, 130], ends
    assert "alexnet train --resume cut" in ends[0][1]

    workers = Workers(tmp_path, "--resume", "cut", "--save-every", "4")
    wait_for_steps(steps, steps_of(Run.load("cut", tmp_path / "saved_models")) + 10, workers)
    workers.processes[1].kill()
    (code, said), _ = workers.end()
    assert code == 1 and "has died or cannot be reached" in said and "Traceback" not in said, said

    ends = Workers(tmp_path, "--resume", "cut").end()
    assert [code for code, _ in ends] == [0, 0], ends
    runs = [Run.load(name, tmp_path / "saved_models") for name in ("whole", "cut")]
    for ours, theirs in zip(*map(last_weights, runs), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(*map(step_losses, runs))
