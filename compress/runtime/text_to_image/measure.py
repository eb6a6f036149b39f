"""How fast a pipeline makes images and what memory it takes, in processes of their own; and of what its bytes are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from compress.passes.base import Progress, silent
from compress.runtime.artefact import Artefact
from compress.runtime.in_turn import benched, loaded_alone, one_by_one, worked_in_turn
from compress.runtime.measure import Bench
from compress.runtime.measurement import Evaluations, Runs
from compress.runtime.statistics import Ratio, percentile, ratio_of
from compress.runtime.text_to_image.directory import read_parts

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
    loads = loaded_alone(_WORKER, artefact, threads, runs, progress)
    opened = [each for each in (reference, artefact) if each is not None]
    times = worked_in_turn(_WORKER, opened, threads, runs, progress)

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
            per_image=read_parts(artefact.directory).num_evaluations,
            batch_size=1,
            ms_p50=percentile(times["evaluation"][-1], 50),
            ratio=beside("evaluation"),
            together=None,
        ),
        **loads,
    }


def bench_pipelines(
    artefacts: Sequence[Artefact], threads: int, runs: Runs | None = None, progress: Progress = silent
) -> list[Bench]:
    """Let several pipelines make images in turn in one fresh process; the first is the reference of the ratios."""
    times = worked_in_turn(_WORKER, artefacts, threads, runs or Runs(), progress)["image"]
    return benched(artefacts, times, one_by_one(times), _NO_ENERGY)


def parts_of(artefact: Artefact) -> dict[str, int]:
    """Bytes of all files by the part that they belong to (text_encoder, unet, vae_decoder, tokenizer, scheduler)."""
    parts: Counter[str] = Counter()
    for name, size in artefact.file_bytes.items():
        part, slash, _ = name.partition("/")
        parts[part if slash else _CONFIGS] += size
    return dict(sorted(parts.items()))
