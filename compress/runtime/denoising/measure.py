"""How long a denoiser's step takes, and what memory, in processes of their own; and of what its bytes are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from compress.passes.base import Progress, silent
from compress.runtime.artefact import Artefact
from compress.runtime.graph import stored_bytes_by_name
from compress.runtime.in_turn import benched, loaded_alone, one_by_one, worked_in_turn
from compress.runtime.measure import Bench
from compress.runtime.measurement import Runs
from compress.runtime.statistics import percentile, ratio_of

_WORKER = "compress.runtime.denoising.worker"
_GRAPH = "graph"  # the part of bytes that are no layer's


def measure_steps(
    artefact: Artefact, reference: Artefact | None, threads: int, runs: Runs, progress: Progress = silent
) -> dict[str, Any]:
    """Of a `Measurement`: times of a step of one sample, beside the float model's if there is one, and memory.

    Raises ArtefactError for a denoiser that does not run.
    """
    loads = loaded_alone(_WORKER, artefact, threads, runs, progress)
    opened = [each for each in (reference, artefact) if each is not None]
    times = worked_in_turn(_WORKER, opened, threads, runs, progress)["step"]
    p50 = percentile(times[-1], 50)
    return {
        "latency_ms_p50": p50,
        "latency_ms_p95": percentile(times[-1], 95),
        "items_per_second": 1e3 / p50,
        "latency_ratio": None if reference is None else ratio_of(times[-1], times[0]),
        **loads,
    }


def bench_steps(
    artefacts: Sequence[Artefact], threads: int, runs: Runs | None = None, progress: Progress = silent
) -> list[Bench]:
    """Let several denoisers take a step in turn in one fresh process; the first is the reference of the ratios."""
    times = worked_in_turn(_WORKER, artefacts, threads, runs or Runs(), progress)["step"]
    return benched(artefacts, times, one_by_one(times), "not measured for denoisers")


def parts_of(artefact: Artefact) -> dict[str, int]:
    """Bytes of the denoiser's files by its parts (down_blocks, transformer_blocks, …), those of no layer as 'graph'."""
    parts: Counter[str] = Counter()
    for name, size in stored_bytes_by_name(artefact.model_path).items():
        parts[name.partition(".")[0] if "." in name else _GRAPH] += size
    parts[_GRAPH] += artefact.model_bytes - sum(parts.values())
    return dict(sorted(parts.items()))
