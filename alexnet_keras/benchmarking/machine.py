"""What machine this is."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from alexnet_keras.benchmarking.result import Machine
from alexnet_keras.runs import environment

INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")
_CPU_INFO = Path("/proc/cpuinfo")


def this_machine() -> Machine:
    """The machine that this process runs on. Imports no TensorFlow."""
    found = environment()
    system, cores = found.pop("platform"), found.pop("cpus")
    processor, flags = _processor()
    return Machine(
        processor=processor,
        instructions=tuple(name for name in INSTRUCTIONS if name in flags),
        cores=cores,
        threads=int(os.environ.get("TF_NUM_INTRAOP_THREADS") or 0) or usable_processors(),
        memory_gib=_memory_gib(),
        system=system,
        versions=found,
    )


def _processor() -> tuple[str, list[str]]:
    """The processor's model and the instructions it has, as far as the system tells."""
    if _CPU_INFO.exists():
        text = _CPU_INFO.read_text(encoding="utf-8", errors="replace")
        model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
        flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
        return model[1] if model else platform.machine(), flags[1].split() if flags else []
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        told = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
        return told.stdout.strip() or platform.machine(), []
    return platform.processor() or platform.machine(), []


def _memory_gib() -> float | None:
    """The memory of the machine; None where the system does not tell."""
    if not hasattr(os, "sysconf"):
        return None
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


def usable_processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
