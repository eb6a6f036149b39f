"""The measuring process of pipelines: `python -m compress.runtime.text_to_image.worker JOB RESULT`, both JSON files.

{"job": "load", "directory", "threads"}
    → {"load_ms", "rss_after_load_bytes", "peak_rss_bytes"}
{"job": "interleave", "directories", "threads", "runs": {…Runs}}
    → {"image": [[ms, …] a pipeline], "evaluation": [[ms, …] a pipeline]}
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from compress.runtime.text_to_image.pipeline import TextToImage, open_pipeline
from compress.runtime.worker import Job, main, timed, used_once

_PROMPT = "a lighthouse"
_IMAGES = 3  # that are timed of each: one takes minutes
_FEW = 2  # steps, which need as much memory as many


def load(directory: str, threads: int) -> dict[str, Any]:
    """Load one pipeline, alone in the process, and make an image in few steps: what a program needs that uses it."""
    return used_once(
        lambda: open_pipeline(directory, threads),
        lambda pipeline: pipeline([_PROMPT], [0], pipeline.sampling.asked(_FEW)),
    )


def interleave(directories: Sequence[str], threads: int, runs: dict[str, Any]) -> dict[str, Any]:
    """Let all pipelines work in turn, A B A B …, on the same latents and seeds."""
    pipelines = [open_pipeline(directory, threads) for directory in directories]
    return {
        "evaluation": timed([_evaluation(each) for each in pipelines], 1, runs["pairs"], runs["seconds"]),
        "image": timed([_image(each) for each in pipelines], 0, min(runs["pairs"], _IMAGES), runs["seconds"]),
    }


def _image(pipeline: TextToImage) -> Callable[[int], object]:
    """call(i) makes the image of seed i, all its evaluations."""
    return lambda i: pipeline([_PROMPT], [i])


def _evaluation(pipeline: TextToImage) -> Callable[[int], object]:
    """call(i) evaluates the UNet once, on one latent."""
    states = pipeline.states(_PROMPT, "", pipeline.sampling.asked(guidance_scale=1))
    latent, count = pipeline.noise(0), pipeline.scheduler.levels.count
    return lambda i: pipeline.unet(latent, np.array([(count - 1) // (1 + i)], np.float32), states)


JOBS: dict[str, Job] = {"load": load, "interleave": interleave}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], JOBS))
