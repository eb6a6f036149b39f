"""How fast a pipeline makes images and what memory it takes, in processes of their own; and of what its bytes are."""

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
from compress.runtime.measure import Bench
from compress.runtime.measurement import Evaluations, Runs
from compress.runtime.process import run_worker
from compress.runtime.statistics import Ratio, percentile, ratio_of
from compress.runtime.text_to_image.pipeline import open_pipeline

_WORKER = "compress.runtime.text_to_image.worker"
_CONFIGS = "configs"  # the part of bytes that lie in no part's directory
_NO_ENERGY = "not measured for pipelines"


def measure_pipeline(
    artefact: Artefact, reference: Artefact | None, threads: int, runs: Runs, progress: Progress = silent
) -> dict[str, Any]:
    """Of a `Measurement`: times of an image made alone and of one evaluation, beside the float pipeline's if there is
    one, and memory.

    Raises ArtefactError for a pipeline that does not run.
    """
    about = str(artefact.directory)
    with tempfile.TemporaryDirectory() as name:
        job = {"job": "load", "directory": about, "threads": threads}
        loads = [run_worker(job, about, Path(name), _WORKER) for _ in progress(range(runs.loads), "load", runs.loads)]
    opened = [each for each in (reference, artefact) if each is not None]
    times = _in_turn(opened, threads, runs, progress)

    def beside(key: str) -> Ratio | None:
        return None if reference is None else ratio_of(times[key][-1], times[key][0])

    image = times["image"][-1]
    return {
        "latency_ms_p50": percentile(image, 50),
        "latency_ms_p95": percentile(image, 95),
        "items_per_second": 1e3 / percentile(image, 50),
        "latency_ratio": beside("image"),
        "energy_joules": None,
        "energy_note": _NO_ENERGY,
        "evaluations": Evaluations(
            per_image=open_pipeline(artefact, threads).num_evaluations,
            batch_size=1,
            ms_p50=percentile(times["evaluation"][-1], 50),
            ratio=beside("evaluation"),
            together=None,
        ),
        **{key: median_low([load[key] for load in loads]) for key in loads[0]},
    }


def bench_pipelines(
    artefacts: Sequence[Artefact], threads: int, runs: Runs | None = None, progress: Progress = silent
) -> list[Bench]:
    """Let several pipelines make images in turn in one fresh process; the first is the reference of the ratios."""
    times = _in_turn(artefacts, threads, runs or Runs(), progress)["image"]
    return [
        Bench(
            path=str(artefact.directory),
            latency_ms_p50=percentile(image, 50),
            latency_ms_p95=percentile(image, 95),
            items_per_second=1e3 / percentile(image, 50),
            latency_ratio=None if number == 0 else ratio_of(image, times[0]),
            energy_joules=None,
            energy_note=_NO_ENERGY,
        )
        for number, (artefact, image) in enumerate(zip(artefacts, times, strict=True))
    ]


def parts_of(artefact: Artefact) -> dict[str, int]:
    """Bytes of all files by the part that they belong to (text_encoder, unet, vae_decoder, tokenizer, scheduler)."""
    parts: Counter[str] = Counter()
    for name, size in artefact.file_bytes.items():
        part, slash, _ = name.partition("/")
        parts[part if slash else _CONFIGS] += size
    return dict(sorted(parts.items()))


def _in_turn(artefacts: Sequence[Artefact], threads: int, runs: Runs, progress: Progress) -> dict[str, Any]:
    """What the worker's job `interleave` gives."""
    directories = [str(each.directory) for each in artefacts]
    job = {"job": "interleave", "directories": directories, "threads": threads, "runs": asdict(runs)}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        [times] = [run_worker(job, ", ".join(directories), place, _WORKER) for _ in progress(range(1), "speed", 1)]
    return times
