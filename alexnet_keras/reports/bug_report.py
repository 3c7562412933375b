"""A description of this machine for a bug report: entries to paste into a public page.

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
from alexnet_keras.data.dataset import latest_prepared, open_prepared
from alexnet_keras.errors import AlexNetError
from alexnet_keras.machine import this_machine, usable_processors
from alexnet_keras.runs import latest_run
from alexnet_keras.storage.places import HOME

RELATED = ("tensorflow-datasets", "protobuf", "jax", "torch")  # besides those that every run records
EXTRAS = ("beam", "search", "baselines", "export", "parquet", "hub", "heic", "serve")
VARIABLES = re.compile(r"(TF|KERAS|XLA|JAX|CUDA|NVIDIA|OMP|MKL|KMP|ONEDNN|ALEXNET)_\w+")
SHOWN = re.compile(r"[\w.,:=+-]{1,80}")  # values without a path in them
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH", re.IGNORECASE)
NVIDIA_SMI = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
PATIENCE = 10  # seconds for nvidia-smi


def facts(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Describe the machine in words, by entry. Takes a fraction of a second."""
    machine = this_machine()
    instructions = f" ({', '.join(machine.instructions)})" if machine.instructions else ""
    versions = {**machine.versions, **{name: number for name in RELATED if (number := _version(name))}}
    return {
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
        "Keras's backend": backend_name(),
        "extras": ", ".join(map(_extra, EXTRAS)),
        "system": machine.system,
        "processor": machine.processor + instructions,
        "cores": f"{machine.cores}, of which this process may use {usable_processors()}; "
        f"TensorFlow computes with {machine.threads} threads",
        "memory": "unknown" if machine.memory_gib is None else f"{machine.memory_gib} GiB",
        "GPUs": _gpus(),
        "environment": ", ".join(_variables(environment)) or "nothing that matters is set",
        "latest dataset": _readable(_latest_dataset),
        "latest run": _readable(_latest_run),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _extra(extra: str) -> str:
    """Say which packages an extra has: search (faiss-cpu 1.11), or search (without faiss-cpu)."""
    requirement = re.compile(rf"""([\w-]+).*; extra == ['"]{extra}['"]""")
    matches = map(requirement.fullmatch, requires("alexnet-keras") or ())
    versions = {match[1]: _version(match[1]) for match in matches if match}
    if missing := [package for package, number in versions.items() if not number]:
        return f"{extra} (without {', '.join(missing)})"
    return f"{extra} ({', '.join(f'{package} {number}' for package, number in versions.items())})"


def _gpus() -> str:
    """List the GPUs as the driver's own tool does: asking TensorFlow would take seconds."""
    lines: list[str] = []
    if shutil.which(NVIDIA_SMI[0]):
        try:
            listed = subprocess.run(
                NVIDIA_SMI, capture_output=True, encoding="utf-8", errors="replace", timeout=PATIENCE, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return "unknown: nvidia-smi fails"
        lines = listed.stdout.splitlines()
    return "; ".join(line.strip() for line in lines if line.strip()) or "none that nvidia-smi lists"


def _variables(environment: Mapping[str, str]) -> list[str]:
    """NAME=value of variables that change how programs run; only that it is set where the value may be private."""
    private = [name for name in (_user(), socket.gethostname()) if name]
    shown = []
    for name in sorted(filter(VARIABLES.fullmatch, environment)):
        value = environment[name]
        hidden = name in ("TF_CONFIG", HOME) or SECRET.search(name) or not SHOWN.fullmatch(value)
        hidden = hidden or any(each in value for each in private)
        shown.append(f"{name} is set" if hidden else f"{name}={value}")
    return shown


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


def _readable(describe: Callable[[], str]) -> str:
    """Describe a dataset or a run, or say that there is none or that it is damaged."""
    try:
        return describe()
    except AlexNetError as error:
        return "none" if error.exit_code == 2 else f"cannot be read ({type(error).__name__})"


def _latest_dataset() -> str:
    data = open_prepared(latest_prepared())
    counts = ", ".join(f"{data.examples(split):,} {split}" for split in data.splits)
    return (
        f"{data.name}, from {data.source.partition(':')[0]}: {len(data.classes):,} classes, {counts}; "
        f"{data.manifest['options']['encoding']}, fingerprint {data.fingerprint[:12]}"
    )


def _latest_run() -> str:
    run = latest_run()
    recorded, best = run.facts, run.facts.get("best")
    words = [f"{run.name}: recipe {recorded.get('recipe', 'unknown')}", run.status, f"{len(run.history)} epochs"]
    words += [f"best validation top-1 error {best['val_top1_error']:.2%}"] if best else []
    keys = ("precision", "strategy", "seed")
    return ", ".join(words + [f"{key} {recorded[key]}" for key in keys if recorded.get(key) is not None])
