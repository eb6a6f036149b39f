"""How long a denoiser's step takes, and what memory, in processes of their own; and of what its bytes are."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median_low
from typing import Any

from compress.passes.base import Progress, silent
from compress.runtime.artefact import Artefact
from compress.runtime.graph import stored_bytes_by_name
from compress.runtime.measure import Bench
from compress.runtime.measurement import Runs
from compress.runtime.process import run_worker
from compress.runtime.statistics import percentile, ratio_of

_WORKER = "compress.runtime.denoising.worker"
_GRAPH = "graph"  # the part of bytes that are no layer's


def measure_steps(
    artefact: Artefact, reference: Artefact | None, threads: int, runs: Runs, progress: Progress = silent
) -> dict[str, Any]:
    """Of a `Measurement`: times of a step of one sample, beside the float model's if there is one, and memory.

    Raises ArtefactError for a denoiser that does not run.
    """
    about = str(artefact.directory)
    with tempfile.TemporaryDirectory() as name:
        job = {"job": "load", "directory": about, "threads": threads}
        loads = [run_worker(job, about, Path(name), _WORKER) for _ in progress(range(runs.loads), "load", runs.loads)]
    opened = [each for each in (reference, artefact) if each is not None]
    times = _in_turn(opened, threads, runs, progress)
    p50 = percentile(times[-1], 50)
    return {
        "latency_ms_p50": p50,
        "latency_ms_p95": percentile(times[-1], 95),
        "items_per_second": 1e3 / p50,
        "latency_ratio": None if reference is None else ratio_of(times[-1], times[0]),
        **{key: median_low([load[key] for load in loads]) for key in loads[0]},
    }


def bench_steps(
    artefacts: Sequence[Artefact], threads: int, runs: Runs | None = None, progress: Progress = silent
) -> list[Bench]:
    """Let several denoisers take a step in turn in one fresh process; the first is the reference of the ratios."""
    times = _in_turn(artefacts, threads, runs or Runs(), progress)
    return [
        Bench(
            path=str(artefact.directory),
            latency_ms_p50=percentile(step, 50),
            latency_ms_p95=percentile(step, 95),
            items_per_second=1e3 / percentile(step, 50),
            latency_ratio=None if number == 0 else ratio_of(step, times[0]),
            energy_joules=None,
            energy_note="not measured for denoisers",
        )
        for number, (artefact, step) in enumerate(zip(artefacts, times, strict=True))
    ]


def parts_of(artefact: Artefact) -> dict[str, int]:
    """Bytes of the UNet's files by its parts (down_blocks, mid_block, …), those of no layer as 'graph'."""
    parts: Counter[str] = Counter()
    for name, size in stored_bytes_by_name(artefact.model_path).items():
        parts[name.partition(".")[0] if "." in name else _GRAPH] += size
    parts[_GRAPH] += artefact.model_bytes - sum(parts.values())
    return dict(sorted(parts.items()))


def _in_turn(artefacts: Sequence[Artefact], threads: int, runs: Runs, progress: Progress) -> list[list[float]]:
    """Milliseconds of the steps of each."""
    directories = [str(each.directory) for each in artefacts]
    job = {"job": "interleave", "directories": directories, "threads": threads, "runs": asdict(runs)}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        [found] = [run_worker(job, ", ".join(directories), place, _WORKER) for _ in progress(range(1), "speed", 1)]
    steps: list[list[float]] = found["step"]
    return steps
