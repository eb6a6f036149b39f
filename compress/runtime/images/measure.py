"""How fast a generator makes images and what memory it takes, in processes of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compress.passes.base import Progress, silent
from compress.runtime.artefact import Artefact
from compress.runtime.images.directory import read_parts
from compress.runtime.in_turn import benched, loaded_alone, worked_in_turn
from compress.runtime.measure import Bench
from compress.runtime.measurement import Evaluations, Runs
from compress.runtime.statistics import Ratio, percentile, ratio_of

_WORKER = "compress.runtime.images.worker"


@dataclass(frozen=True, kw_only=True)
class ImageSpeed:
    """One generator.  Ratios are shares of the float model's time, None without one.

    image_ms_p50          of an image that is made alone, all its evaluations.
    image_ms_p95          that one image in twenty exceeds.
    images_per_second     at the batch size of `Runs`, by the median run.
    ratio                 of an image's time.
    evaluations           of the model, each on its own.
    load_ms               from the directory to a generator that can run; median over fresh processes.
    rss_after_load_bytes  resident memory then.
    peak_rss_bytes        its highest, loading and one image included.
    """

    image_ms_p50: float
    image_ms_p95: float
    images_per_second: float
    ratio: Ratio | None
    evaluations: Evaluations
    load_ms: float
    rss_after_load_bytes: int
    peak_rss_bytes: int


def measure_images(
    artefact: Artefact, reference: Artefact | None, threads: int, runs: Runs, progress: Progress = silent
) -> ImageSpeed:
    """Measure the generator, beside the float one if there is one.  Raises ArtefactError for one that does not run."""
    loads = loaded_alone(_WORKER, artefact, threads, runs, progress)
    opened = [each for each in (reference, artefact) if each is not None]
    times = worked_in_turn(_WORKER, opened, threads, runs, progress)

    def beside(key: str) -> Ratio | None:
        return None if reference is None else ratio_of(times[key][-1], times[key][0])

    return ImageSpeed(
        image_ms_p50=percentile(times["image"][-1], 50),
        image_ms_p95=percentile(times["image"][-1], 95),
        images_per_second=runs.batch_size / percentile(times["batch"][-1], 50) * 1e3,
        ratio=beside("image"),
        evaluations=Evaluations(
            per_image=read_parts(artefact.directory).sampling.num_evaluations,
            batch_size=runs.batch_size,
            ms_p50=percentile(times["evaluation"][-1], 50),
            ratio=beside("evaluation"),
            together=beside("batch"),
        ),
        **loads,
    )


def bench_images(
    artefacts: Sequence[Artefact], threads: int, runs: Runs | None = None, progress: Progress = silent
) -> list[Bench]:
    """Let several generators make images in turn in one fresh process; the first is the reference of the ratios."""
    runs = runs or Runs()
    times = worked_in_turn(_WORKER, artefacts, threads, runs, progress)
    per_second = [runs.batch_size / percentile(batch, 50) * 1e3 for batch in times["batch"]]
    return benched(artefacts, times["image"], per_second, "not measured for generators")
