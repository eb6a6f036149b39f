"""The machine that a figure was taken on."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")  # that decide int8's speed


@dataclass(frozen=True)
class Machine:
    """cores: those that this process may use.  features: instruction sets that decide the speed of int8 products."""

    cpu: str
    cores: int
    threads: int
    features: tuple[str, ...]
    onnxruntime: str

    def __str__(self) -> str:
        features = f", {' '.join(self.features)}" if self.features else ""
        return f"{self.cpu} ({self.cores} cores{features}), {self.threads} threads, onnxruntime {self.onnxruntime}"


def this_machine(threads: int) -> Machine:
    """This machine, running with `threads` threads."""
    import onnxruntime

    described = _cpuinfo(Path("/proc/cpuinfo"))
    name = described.get("model name") or platform.processor() or platform.machine()
    flags = set((described.get("flags") or described.get("Features") or "").split())
    features = tuple(feature for feature in _FEATURES if feature in flags)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(name, cores, threads, features, onnxruntime.__version__)


def _cpuinfo(path: Path) -> dict[str, str]:
    """The first processor's lines 'key : value'; none where the system has no such file."""
    if not path.is_file():
        return {}
    first = path.read_text().split("\n\n")[0]
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
