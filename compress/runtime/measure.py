"""Measure artefacts: memory and load time alone in a process, latency side by side in another, scores on all data.

Nothing is taken from a torch model: every figure is that of the file which ships, in the runtime that runs it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median_low
from typing import Any, TypeVar

import numpy as np

from compress.errors import ArtefactError, DataError
from compress.passes.base import Progress, silent
from compress.runtime import energy
from compress.runtime.artefact import Artefact, as_artefact
from compress.runtime.graph import count
from compress.runtime.machine import this_machine
from compress.runtime.measurement import Latency, Measurement, Runs, bytes_of
from compress.runtime.process import run_worker
from compress.runtime.scoring import score
from compress.runtime.session import open_session
from compress.runtime.statistics import percentile, ratio_of
from compress.tasks.base import Float, Task

A = TypeVar("A")
B = TypeVar("B")


def measure(
    artefact: Artefact | str | Path,
    task: Task,
    *,
    float_artefact: Artefact | str | Path | None = None,
    threads: int = 2,
    runs: Runs | None = None,
    progress: Progress = silent,
) -> Measurement:
    """All figures of an artefact; those that compare need the float one, and are absent or None without it.

    Memory and load time come from processes that hold the artefact alone, latency from one in which it and the float
    model run in turn, scores from the task's whole evaluation set.

    Raises ArtefactError for an artefact that is damaged, or that does not run.
    """
    artefact, runs = as_artefact(artefact), runs or Runs()
    reference = None if float_artefact is None else as_artefact(float_artefact)
    samples = _samples(task, runs.batch_size)
    counts = count(artefact.model_path, samples.shape)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        loads = _loads(artefact.model_path, samples, threads, runs.loads, directory, progress)
        paths = [opened.model_path for opened in (reference, artefact) if opened is not None]
        latency = _interleaved([(path, samples) for path in paths], threads, runs, directory, progress)[-1]
    return Measurement(
        **vars(latency),
        **{key: median_low([load[key] for load in loads]) for key in loads[0]},
        **bytes_of(artefact, reference),
        parameters=counts.parameters,
        macs=counts.macs,
        operators=counts.operators,
        effective_bits=counts.effective_bits,
        scores=score(artefact, task, float_artefact=reference, threads=threads, progress=progress),
        machine=this_machine(threads),
    )


@dataclass(frozen=True, kw_only=True)
class Bench(Latency):
    """Times of one of several models that ran in turn.  path: as it was given."""

    path: str


def bench(
    models: Sequence[Artefact | str | Path],
    *,
    task: Task | None = None,
    threads: int = 2,
    runs: Runs | None = None,
    progress: Progress = silent,
) -> list[Bench]:
    """Run several artefacts or ONNX files in turn in one fresh process; the first is the reference of the ratios.

    Inputs are the task's, or without one standard normal numbers of the size that each model takes.

    Raises ArtefactError for a model that is damaged or does not run, or whose input size is free where no task is
    given.
    """
    runs = runs or Runs()
    paths = [model.directory if isinstance(model, Artefact) else Path(model) for model in models]
    files = [path if path.suffix == ".onnx" else as_artefact(model).model_path for path, model in _both(paths, models)]
    given = None if task is None else _samples(task, runs.batch_size)
    inputs = [_random_samples(file, runs.batch_size) if given is None else given for file in files]
    with tempfile.TemporaryDirectory() as directory:
        latencies = _interleaved([*_both(files, inputs)], threads, runs, Path(directory), progress)
    return [Bench(**vars(latency), path=str(path)) for path, latency in _both(paths, latencies)]


def _loads(
    model: Path, samples: Float, threads: int, number: int, directory: Path, progress: Progress
) -> list[dict[str, Any]]:
    job = {"job": "load", "model": str(model), "inputs": _saved(samples[:1], directory / "one.npy"), "threads": threads}
    return [run_worker(job, str(model), directory) for _ in progress(range(number), "load", number)]


def _interleaved(
    models: Sequence[tuple[Path, Float]], threads: int, runs: Runs, directory: Path, progress: Progress
) -> list[Latency]:
    """Times of each model; the first is the reference."""
    entries = [
        {"model": str(path), "inputs": _saved(samples, directory / f"{number}.npy")}
        for number, (path, samples) in enumerate(models)
    ]
    job = {"job": "interleave", "models": entries, "threads": threads, "runs": asdict(runs)}
    about = ", ".join(str(path) for path, _ in models)
    [result] = [run_worker(job, about, directory) for _ in progress(range(1), "latency", 1)]
    joules = result["energy_joules"] or [None] * len(models)
    return [
        Latency(
            latency_ms_p50=percentile(single, 50),
            latency_ms_p95=percentile(single, 95),
            items_per_second=runs.batch_size / percentile(batch, 50) * 1e3,
            latency_ratio=None if number == 0 else ratio_of(single, result["single"][0]),
            energy_joules=joules[number],
            energy_note=energy.unreadable() or "",
        )
        for number, (single, batch) in enumerate(_both(result["single"], result["batch"]))
    ]


def _samples(task: Task, number: int) -> Float:
    """The first `number` evaluation inputs, or all if there are fewer: float32 [N, …]."""
    found: list[Float] = []
    for batch in task.evaluation():
        found.append(batch.inputs)
        if sum(map(len, found)) >= number:
            break
    if not found:
        raise DataError(f"task '{task.name}': no evaluation data to measure with")
    return np.ascontiguousarray(np.concatenate(found)[:number])


def _random_samples(model: Path, number: int) -> Float:
    shape = open_session(model, threads=1).input_shape[1:]
    if None in shape:
        sizes = ["N", *("any" if size is None else str(size) for size in shape)]
        raise ArtefactError(f"{model}: takes inputs [{', '.join(sizes)}]: give the data to measure with")
    return np.random.default_rng(0).standard_normal((number, *shape), np.float32)  # type: ignore[arg-type]


def _saved(samples: Float, path: Path) -> str:
    np.save(path, samples, allow_pickle=False)
    return str(path)


def _both(first: Sequence[A], second: Sequence[B]) -> Iterator[tuple[A, B]]:
    return zip(first, second, strict=True)
