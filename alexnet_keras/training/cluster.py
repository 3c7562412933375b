"""The processes that train one run together: their addresses, and how they exchange values.

TensorFlow's TF_CONFIG or SLURM names them. The first is the chief: it alone reads and writes the run's directory and
sends the others what they need, so that workers share nothing but the network. An ordinary run has a `Cluster` of one
process.
"""

import json
import os
import re
import socket
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from alexnet_keras import errors
from alexnet_keras.backend import use_gpus
from alexnet_keras.errors import AlexNetError, UsageError
from alexnet_keras.reporter import SILENT, Reporter

EXAMPLE = '{"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}'
WORKER_JOBS = ("chief", "worker")
OLD_CHIEF = "master"  # TensorFlow 1's name of it
LOST_WORKER = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.InternalError)
POLL = 0.2  # seconds between two attempts to reach a worker
SLURM = (
    *("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_STEP_NUM_TASKS", "SLURMD_NODENAME", "SLURM_LOCALID"),
    *("SLURM_PROCID", "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE"),  # the resolver's
)
FIRST_PORT, PORTS, PORTS_A_STEP = 12288, 20480, 16  # below those that systems give to outgoing connections


@dataclass(frozen=True)
class Cluster:
    """The workers of a run.

    Attributes:
        workers: host:port of each, the chief first.
        index: The place of this process among them.
    """

    workers: tuple[str, ...] = ("",)
    index: int = 0

    @property
    def is_chief(self) -> bool:
        return self.index == 0

    @property
    def is_alone(self) -> bool:
        return len(self.workers) == 1

    @cached_property
    def strategy(self) -> tf.distribute.MultiWorkerMirroredStrategy:
        """The strategy over all workers' devices, whatever TF_CONFIG calls their jobs."""
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({"worker": list(self.workers)}), task_type="worker", task_id=self.index
        )
        return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)

    def connect(self) -> None:
        """Connect to the other workers, before TensorFlow has made its devices."""
        use_gpus()
        with self.reporting_lost_workers():
            _ = self.strategy

    def sum(self, values: Any) -> np.ndarray:
        """Sum an array over all workers; it has the same shape and dtype in each."""
        if self.is_alone:
            return np.asarray(values)
        mine = tf.constant(values)
        total = self._sums.setdefault((tuple(mine.shape), mine.dtype), tf.function(self._total, autograph=False))
        with self.reporting_lost_workers():
            return self.strategy.experimental_local_results(total(mine))[0].numpy()

    @cached_property
    def _sums(self) -> dict[tuple, Callable]:
        """The compiled sums by shape and dtype."""
        return {}

    def _total(self, mine: tf.Tensor) -> Any:
        local = self.strategy.num_replicas_in_sync // len(self.workers)

        def replica(mine: "tf.Tensor") -> "tf.Tensor":
            context = tf.distribute.get_replica_context()
            first = context.replica_id_in_sync_group % local == 0  # a worker counts once, however many its GPUs
            return context.all_reduce("SUM", tf.where(first, mine, tf.zeros_like(mine)))

        return self.strategy.run(replica, (mine,))

    def broadcast(self, value: Callable[[], np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
        """Return the chief's float32 array of this shape on every worker; `value` is called on the chief alone."""
        return self.sum(value() if self.is_chief else np.zeros(shape, np.float32))

    def check_same(self, arrays: Iterable[np.ndarray]) -> None:
        """Check that every worker has the same arrays: workers that drift apart train nothing.

        Raises:
            AlexNetError: The arrays differ.
        """
        if self.is_alone:
            return
        digest = 0
        for array in arrays:
            digest = zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data, digest)
        digests = np.zeros(len(self.workers), np.int64)
        digests[self.index] = digest
        digests = self.sum(digests)
        if (digests != digest).any():
            raise AlexNetError(f"The workers' weights are no longer the same (checksums {digests.tolist()}).")

    def from_chief(self, compute: Callable[[], Any]) -> Any:
        """Return on every worker the value that `compute` returns on the chief.

        Args:
            compute: Called on the chief alone; its value is sent as JSON. An AlexNetError that it raises is raised on
                every worker.
        """
        if self.is_alone:
            return compute()
        message: dict[str, Any] = {}
        if self.is_chief:
            try:
                message = {"value": compute()}
            except AlexNetError as error:
                message = {"error": type(error).__name__, "sentence": str(error)}
        written = np.frombuffer(json.dumps(message).encode(), np.uint8).astype(np.int32)
        length = int(self.sum(np.int32(len(written) if self.is_chief else 0)))
        padded = written if self.is_chief else np.zeros(length, np.int32)
        message = json.loads(self.sum(padded).astype(np.uint8).tobytes())
        if "error" in message:
            raise getattr(errors, message["error"])(message["sentence"])
        return message["value"]

    def wait_for_all(self, timeout: float, reporter: Reporter = SILENT) -> None:
        """Wait until every worker answers at its address.

        TensorFlow's own start would wait for an hour without naming the missing worker. Meanwhile this process listens
        at its own address, and finally frees it for TensorFlow.

        Args:
            timeout: Seconds.
            reporter: Receives one note that names the missing workers, if there are any.

        Raises:
            UsageError: The address of this worker is taken, or is not one of this machine's.
            AlexNetError: Workers did not appear in time; the message names them.
        """
        with ExitStack() as stack:
            try:
                own = stack.enter_context(socket.create_server(("", _port(self.workers[self.index]))))
            except OSError as error:
                raise UsageError(
                    f"This worker cannot listen at {self.workers[self.index]}: {error.strerror}. Another process has "
                    "that port, or the task is not this machine's."
                ) from error
            own.listen(len(self.workers))
            missing = [worker for index, worker in enumerate(self.workers) if index != self.index]
            deadline = time.monotonic() + timeout
            reported = False
            while missing := [worker for worker in missing if not _answers(worker)]:
                if not reported:
                    reporter.note(f"Waiting for {', '.join(missing)}.")
                    reported = True
                if time.monotonic() > deadline:
                    workers = "One worker" if len(missing) == 1 else f"{len(missing)} workers"
                    raise AlexNetError(
                        f"{workers} did not appear within {timeout:g} seconds: {', '.join(missing)}. Start the "
                        "same command there as the task of that address, or give --worker-timeout more."
                    )
                time.sleep(POLL)

    @contextmanager
    def reporting_lost_workers(self) -> Iterator[None]:
        """Turn the errors that TensorFlow raises when a worker died into one sentence.

        Raises:
            AlexNetError: A worker died.
        """
        try:
            yield
        except LOST_WORKER as error:
            if self.is_alone:
                raise
            text = f"{error}\n"  # names the worker's task, if any
            named = [worker for index, worker in enumerate(self.workers) if f"task:{index}\n" in text]
            lost = f"The worker {named[0]}" if len(named) == 1 else "Another worker of the cluster"
            raise AlexNetError(
                f"{lost} has died or cannot be reached, so this one stops, too. Start the same command on every worker "
                "again with --resume: the run continues from the last state that the chief saved."
            ) from error


ALONE = Cluster()


def join_cluster(strategy: str | None = None, timeout: float = 600, reporter: Reporter = SILENT) -> Cluster:
    """Join the cluster that TF_CONFIG names, else that of SLURM's step, before TensorFlow has made its devices.

    Args:
        strategy: "multi-worker" needs TF_CONFIG or SLURM; None reads TF_CONFIG if it is set, since the tasks of a SLURM
            step may be runs of their own; with any other this process trains alone.
        timeout: Seconds to wait for the other workers.
        reporter: Receives notes.

    Returns:
        The connected cluster, every worker of which answers; ALONE where there is no other worker.

    Raises:
        UsageError: TF_CONFIG or SLURM's environment is missing or malformed, or the address of this worker cannot be
            used.
        AlexNetError: Workers did not appear in time.
    """
    configured = bool(os.environ.get("TF_CONFIG", "").strip())
    if strategy not in (None, "multi-worker"):
        return ALONE
    if not strategy and not configured:
        if os.environ.get("SLURM_STEP_NUM_TASKS", "1") != "1":
            reporter.note("SLURM started several tasks, and each trains alone; --strategy multi-worker joins them.")
        return ALONE
    slurm = "SLURM_JOB_ID" in os.environ and not configured
    cluster = read_slurm() if slurm else read_cluster(os.environ)
    if cluster.is_alone:
        reporter.note(f"{'SLURM' if slurm else 'TF_CONFIG'} names no other worker: this process trains alone.")
        return ALONE
    if slurm:
        nodes = len({address.rpartition(":")[0] for address in cluster.workers})
        where = f"{nodes} nodes" if nodes > 1 else "one node"
        own = cluster.workers[cluster.index]
        reporter.note(f"SLURM started {len(cluster.workers)} tasks on {where}; this one is {own}.")
    elif strategy is None:
        reporter.note("TF_CONFIG names a cluster: --strategy multi-worker.")
    chief = ", the chief" if cluster.is_chief else ""
    reporter.note(f"Worker {cluster.index + 1} of {len(cluster.workers)}{chief}.")
    cluster.wait_for_all(timeout, reporter)
    cluster.connect()
    return cluster


def read_cluster(environment: Mapping[str, str]) -> Cluster:
    """Read the cluster that TF_CONFIG describes, in TensorFlow's order of workers.

    Args:
        environment: The environment variables.

    Returns:
        The cluster; ALONE where TF_CONFIG names no other worker.

    Raises:
        UsageError: TF_CONFIG is missing or malformed, or this process is no worker.
    """
    text = environment.get("TF_CONFIG", "").strip()
    if not text:
        raise UsageError(f"--strategy multi-worker needs srun or TF_CONFIG, such as {EXAMPLE}")
    try:
        config = json.loads(text)
    except ValueError as error:
        raise UsageError(f"TF_CONFIG is not JSON, as {EXAMPLE} is") from error
    if not isinstance(config, dict):
        raise UsageError(f"TF_CONFIG needs `cluster` and `task`, as in {EXAMPLE}")
    if strange := [key for key in config if key != "cluster" and key.lower().endswith("cluster")]:
        raise UsageError(f"TF_CONFIG has {strange[0]}, which is not read: name every worker in `cluster`.")
    jobs, task = config.get("cluster") or {}, config.get("task")
    if not isinstance(jobs, dict) or not isinstance(task, dict | None):
        raise UsageError(f"TF_CONFIG needs `cluster` and `task`, as in {EXAMPLE}")
    if OLD_CHIEF in jobs and "chief" not in jobs:
        jobs = {"chief" if job == OLD_CHIEF else job: addresses for job, addresses in jobs.items()}
        task = task and {**task, "type": "chief" if task.get("type") == OLD_CHIEF else task.get("type")}
    if task and task.get("type") in ("evaluator", "ps"):
        raise UsageError(
            f"TF_CONFIG: {task['type']} has nothing to do here: the workers evaluate after every epoch. Start chief "
            "and workers only."
        )
    if strange := sorted({job for job in jobs if jobs[job]} - {*WORKER_JOBS, "evaluator"}):
        raise UsageError(f"TF_CONFIG: the cluster has {', '.join(strange)}; its jobs can be chief and worker.")
    workers: list[str] = []
    places: dict[tuple[str, int], int] = {}
    for job in WORKER_JOBS:
        addresses = jobs.get(job) or []
        if not isinstance(addresses, list) or not all(isinstance(item, str) for item in addresses):
            raise UsageError(f"TF_CONFIG: cluster.{job} is not a list of addresses, as in {EXAMPLE}")
        for index, address in enumerate(addresses):
            if not _is_address(address):
                raise UsageError(f"TF_CONFIG: {address!r} is not an address such as host1:2222.")
            places[job, index] = len(workers)
            workers.append(address)
    if len(jobs.get("chief") or []) > 1:
        raise UsageError("TF_CONFIG: a cluster has one chief.")
    if len(set(workers)) < len(workers):
        raise UsageError("TF_CONFIG: two workers have the same address.")
    if not workers or (len(workers) == 1 and not task):
        return ALONE
    if not task:
        raise UsageError(f"TF_CONFIG: a cluster of {len(workers)} needs `task`, as in {EXAMPLE}")
    try:
        place = places[task["type"], int(str(task["index"]))]
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"TF_CONFIG: the task {json.dumps(task)} is none of the cluster's "
            f"({', '.join(f'{job} {index}' for job, index in places)})."
        ) from error
    return Cluster(tuple(workers), place) if len(workers) > 1 else ALONE


def read_slurm() -> Cluster:
    """Read the SLURM step that this process is a task of, as TensorFlow's SlurmClusterResolver reads it.

    A task's address is its node and, from a port that the job and the step decide, its number on that node. Where every
    task of a node sees all of its GPUs, CUDA_VISIBLE_DEVICES leaves this one its share, before TensorFlow looks.

    Returns:
        The cluster, its chief the first task of the first node; ALONE where the step has one task.

    Raises:
        UsageError: `srun` has not started this process, or TensorFlow cannot read its environment.
    """
    if missing := [name for name in SLURM if name not in os.environ]:
        raise UsageError(f"SLURM has not set {missing[0]}: start the command with srun, or set TF_CONFIG.")
    job, step, count, node, local, *_ = (os.environ[name] for name in SLURM)
    port = FIRST_PORT + zlib.crc32(f"{job}.{step}".encode()) % (PORTS // PORTS_A_STEP) * PORTS_A_STEP
    try:
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=port,
            gpus_per_node=int(count),  # its own division of GPUs fails on nodes without, and where SLURM divides them
            gpus_per_task=1,
            auto_set_gpu=False,
        )
        workers = tuple(sorted(resolver.cluster_spec().job_tasks("worker"), key=_in_numeric_order))
        # The resolver numbers tasks along the sorted names of nodes, n10 before n2; SLURM does not, or goes around.
        own = f"{node}:{port + int(local)}"
    except (RuntimeError, ValueError) as error:
        raise UsageError(f"TensorFlow cannot read SLURM's step: {str(error).rstrip('.')}. Set TF_CONFIG.") from error
    if own not in workers:
        raise UsageError(f"SLURM: the task {local} of {node} is none of its step's ({', '.join(workers)}).")
    _share_gpus(int(local), sum(worker.rpartition(":")[0] == node for worker in workers))
    return Cluster(workers, workers.index(own)) if len(workers) > 1 else ALONE


def _in_numeric_order(address: str) -> list[str | int]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", address)]


def _share_gpus(local: int, tasks: int) -> None:
    """Leave the task with this number on its node a share of the GPUs, unless SLURM has bound them to tasks."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if 1 < tasks <= len(visible) and str(len(visible)) == os.environ.get("SLURM_GPUS_ON_NODE"):
        share = len(visible) // tasks
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(visible[local * share : (local + 1) * share])


def _is_address(address: str) -> bool:
    host, colon, port = address.rpartition(":")
    return bool(host and colon) and port.isdecimal() and 0 < int(port) < 65536


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
    except OSError:
        return False
    return True
