"""The measuring process of denoisers: `python -m compress.runtime.denoising.worker JOB RESULT`, both JSON files.

{"job": "load", "directory", "threads"}
    → {"load_ms", "rss_after_load_bytes", "peak_rss_bytes"}
{"job": "interleave", "directories", "threads", "runs": {…Runs}}
    → {"step": [[ms, …] a model]}
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from compress.runtime.denoising.graph import NoiseGraph, open_denoiser
from compress.runtime.worker import Job, main, timed, used_once
from compress.tasks.denoising import Denoising

_TIMESTEPS = np.array([900.0, 500.0, 100.0], np.float32)


def load(directory: str, threads: int) -> dict[str, Any]:
    """Load one denoiser, alone in the process, and take a step: what a program needs that uses it."""
    return used_once(lambda: open_denoiser(directory, threads), lambda graph: _step(graph)(0))


def interleave(directories: Sequence[str], threads: int, runs: dict[str, Any]) -> dict[str, Any]:
    """Let all denoisers take a step in turn, A B A B …, on the same samples."""
    steps = [_step(open_denoiser(directory, threads)) for directory in directories]
    return {"step": timed(steps, 1, runs["pairs"], runs["seconds"])}


def _step(graph: NoiseGraph) -> Callable[[int], object]:
    """call(i) evaluates the model on one sample."""
    task = Denoising(graph.inputs, _TIMESTEPS)
    return lambda i: graph(*task.sample(i % task.num_samples))


JOBS: dict[str, Job] = {"load": load, "interleave": interleave}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], JOBS))
