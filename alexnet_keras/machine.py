"""The machine that a process runs on, for later readers of what it makes: processor, memory, versions.

Importing this imports neither Keras nor TensorFlow."""

import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("alexnet-keras", "keras", "tensorflow", "numpy")  # whose versions a run records
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")
_CPU_INFO = Path("/proc/cpuinfo")


def usable_processors() -> int:
    """Number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def environment() -> dict[str, Any]:
    """Return versions and machine, for later readers of the run."""
    return {
        "python": sys.version.split()[0],
        **{package: version(package) for package in PACKAGES},
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
    }


@dataclass(frozen=True)
class Machine:
    """The machine that a measurement ran on.

    Attributes:
        processor: Model name, as the system reports it.
        instructions: Instruction sets it has, of those that matrix products gain from.
        cores: Number of processors.
        threads: Threads that TensorFlow computes with: as many as this process may use, unless
            TF_NUM_INTRAOP_THREADS is set.
        memory_gib: Memory of the machine, GiB; None where the system does not report it.
        system: The operating system.
        versions: Versions of Python and the packages.
    """

    processor: str
    instructions: tuple[str, ...]
    cores: int
    threads: int
    memory_gib: float | None
    system: str
    versions: dict[str, str]


def this_machine() -> Machine:
    """The machine of this process. Imports no TensorFlow."""
    found = environment()
    system, cores = found.pop("platform"), found.pop("cpus")
    processor, flags = _processor()
    return Machine(
        processor=processor,
        instructions=tuple(name for name in INSTRUCTIONS if name in flags),
        cores=cores,
        threads=_threads_asked_for() or usable_processors(),
        memory_gib=_memory_gib(),
        system=system,
        versions=found,
    )


def _threads_asked_for() -> int:
    """TF_NUM_INTRAOP_THREADS as TensorFlow reads it, which takes what is no number for 0."""
    try:
        return int(os.environ.get("TF_NUM_INTRAOP_THREADS", "0"))
    except ValueError:
        return 0


def _processor() -> tuple[str, list[str]]:
    """The processor's model and instruction sets, as far as the system reports them."""
    if _CPU_INFO.exists():
        text = _CPU_INFO.read_text(encoding="utf-8", errors="replace")
        model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
        flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
        return model[1] if model else platform.machine(), flags[1].split() if flags else []
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        printed = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
        return printed.stdout.strip() or platform.machine(), []
    return platform.processor() or platform.machine(), []


def _memory_gib() -> float | None:
    """The memory of the machine; None where the system does not report it."""
    if not hasattr(os, "sysconf"):
        return None
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
