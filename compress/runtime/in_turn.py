"""What is measured alike of artefacts that are directories of graphs: loaded alone, and at work in turn, in processes
of their own.  A `worker` is the module of such a process, with jobs `load` and `interleave`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median_low
from typing import Any

from compress.passes.base import Progress
from compress.runtime.artefact import Artefact
from compress.runtime.measure import Bench
from compress.runtime.measurement import Runs
from compress.runtime.process import run_worker
from compress.runtime.statistics import percentile, ratio_of


def loaded_alone(worker: str, artefact: Artefact, threads: int, runs: Runs, progress: Progress) -> dict[str, Any]:
    """load_ms, rss_after_load_bytes and peak_rss_bytes: medians over fresh processes.

    Raises ArtefactError for an artefact that does not run.
    """
    about = str(artefact.directory)
    job = {"job": "load", "directory": about, "threads": threads}
    with tempfile.TemporaryDirectory() as name:
        loads = [run_worker(job, about, Path(name), worker) for _ in progress(range(runs.loads), "load", runs.loads)]
    return {key: median_low([load[key] for load in loads]) for key in loads[0]}


def worked_in_turn(
    worker: str, artefacts: Sequence[Artefact], threads: int, runs: Runs, progress: Progress
) -> dict[str, list[list[float]]]:
    """What the worker's job `interleave` gives: milliseconds of each kind of work, a list an artefact."""
    directories = [str(each.directory) for each in artefacts]
    job = {"job": "interleave", "directories": directories, "threads": threads, "runs": asdict(runs)}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        [times] = [run_worker(job, ", ".join(directories), place, worker) for _ in progress(range(1), "speed", 1)]
    return times


def benched(
    artefacts: Sequence[Artefact], items: Sequence[Sequence[float]], per_second: Sequence[float], energy_note: str
) -> list[Bench]:
    """A row an artefact, of the milliseconds of each's items; the first is the reference of the ratios."""
    return [
        Bench(
            path=str(artefact.directory),
            latency_ms_p50=percentile(item, 50),
            latency_ms_p95=percentile(item, 95),
            items_per_second=rate,
            latency_ratio=None if number == 0 else ratio_of(item, items[0]),
            energy_joules=None,
            energy_note=energy_note,
        )
        for number, (artefact, item, rate) in enumerate(zip(artefacts, items, per_second, strict=True))
    ]


def one_by_one(items: Sequence[Sequence[float]]) -> list[float]:
    """Items a second of those that are made alone, by the median of their milliseconds."""
    return [1e3 / percentile(item, 50) for item in items]
