"""What somebody needs to know of this machine to understand a bug: facts to paste into a public page.

No user or host name, no path and no secret is among them. Nothing here imports Keras or TensorFlow.
"""

import getpass
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, requires, version

from alexnet_keras.backend import backend_name
from alexnet_keras.benchmarking.result import this_machine, usable_processors
from alexnet_keras.data.dataset import latest_prepared, open_prepared
from alexnet_keras.errors import AlexNetError
from alexnet_keras.runs import latest_run
from alexnet_keras.storage.places import HOME

RELATED = ("tensorflow-datasets", "protobuf", "jax", "torch")  # beside those that every run remembers
EXTRAS = ("beam", "search", "export", "baselines")
VARIABLES = re.compile(r"(TF|KERAS|XLA|JAX|CUDA|NVIDIA|OMP|MKL|KMP|ONEDNN|ALEXNET)_\w+")
SHOWN = re.compile(r"[\w.,:=+-]{1,80}")  # values without a path in them
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH", re.IGNORECASE)
NVIDIA_SMI = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
PATIENCE = 10  # seconds for nvidia-smi


def facts(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What to report, in words, by what it is. Takes a fraction of a second."""
    machine = this_machine()
    instructions = f" ({', '.join(machine.instructions)})" if machine.instructions else ""
    versions = {**machine.versions, **{name: found for name in RELATED if (found := _version(name))}}
    memory = "unknown" if machine.memory_gib is None else f"{machine.memory_gib} GiB"
    return {
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
        "Keras's backend": backend_name(),
        "extras": ", ".join(map(_extra, EXTRAS)),
        "system": machine.system,
        "processor": machine.processor + instructions,
        "cores": f"{machine.cores}, of which this process may use {usable_processors()}; "
        f"TensorFlow computes with {machine.threads} threads",
        "memory": memory,
        "GPUs": _gpus(),
        "environment": ", ".join(_variables(environment)) or "nothing that matters is set",
        "latest dataset": _told(_dataset),
        "latest run": _told(_run),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _extra(extra: str) -> str:
    """search (faiss-cpu 1.11), or search (without faiss-cpu)."""
    of_extra = re.compile(rf"""([\w-]+).*; extra == ['"]{extra}['"]""")
    packages = [match[1] for line in requires("alexnet-keras") or () if (match := of_extra.fullmatch(line))]
    missing = [package for package in packages if not _version(package)]
    if missing:
        return f"{extra} (without {', '.join(missing)})"
    return f"{extra} ({', '.join(f'{package} {_version(package)}' for package in packages)})"


def _gpus() -> str:
    """As the driver's own tool lists them: asking TensorFlow would take seconds."""
    if not shutil.which(NVIDIA_SMI[0]):
        return "none that nvidia-smi lists"
    try:
        listed = subprocess.run(
            NVIDIA_SMI, capture_output=True, encoding="utf-8", errors="replace", timeout=PATIENCE, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown: nvidia-smi fails"
    return "; ".join(line.strip() for line in listed.splitlines() if line.strip()) or "none that nvidia-smi lists"


def _variables(environment: Mapping[str, str]) -> list[str]:
    """NAME=value of what changes how things run; of places and what might tell too much, only that it is set."""
    private = [name for name in (_user(), socket.gethostname()) if name]
    told = []
    for name in sorted(filter(VARIABLES.fullmatch, environment)):
        value = environment[name]
        hidden = name in ("TF_CONFIG", HOME) or SECRET.search(name) or not SHOWN.fullmatch(value)
        hidden = hidden or any(each in value for each in private)
        told.append(f"{name} is set" if hidden else f"{name}={value}")
    return told


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


def _told(tell: Callable[[], str]) -> str:
    """What is told of a dataset or a run; a damaged one is a fact, too."""
    try:
        return tell()
    except AlexNetError as error:
        return "none" if error.exit_code == 2 else f"cannot be read ({type(error).__name__})"


def _dataset() -> str:
    data = open_prepared(latest_prepared())
    counts = ", ".join(f"{data.examples(split):,} {split}" for split in data.splits)
    kind = data.source.partition(":")[0]
    options = data.manifest["options"]
    return f"{data.name}, from {kind}: {len(data.classes):,} classes, {counts}; {options['encoding']}, " + (
        f"fingerprint {data.fingerprint[:12]}"
    )


def _run() -> str:
    run = latest_run()
    known, best = run.facts, run.facts.get("best")
    said = [f"{run.name}: recipe {known.get('recipe', 'unknown')}", run.status, f"{len(run.history)} epochs"]
    said += [f"best validation top-1 error {best['val_top1_error']:.2%}"] if best else []
    said += [f"{key} {known[key]}" for key in ("precision", "strategy", "seed") if known.get(key) is not None]
    return ", ".join(said)
