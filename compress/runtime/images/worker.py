"""The measuring process of generators: `python -m compress.runtime.images.worker JOB RESULT`, both JSON files.

{"job": "load", "directory", "threads"}
    → {"load_ms", "rss_after_load_bytes", "peak_rss_bytes"}
{"job": "interleave", "directories", "threads", "runs": {…Runs}}
    → {"image": [[ms, …] a model], "batch": [[ms, …] a model], "evaluation": [[ms, …] a model]}
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from compress.runtime.images.generator import Generator, open_generator
from compress.runtime.worker import Job, main, timed, used_once


def load(directory: str, threads: int) -> dict[str, Any]:
    """Load one generator, alone in the process, and make an image: what a program needs that uses it."""
    return used_once(lambda: open_generator(directory, threads), lambda generator: generator([0], [0]))


def interleave(directories: Sequence[str], threads: int, runs: dict[str, Any]) -> dict[str, Any]:
    """Let all generators work in turn, A B A B …, on the same classes and seeds."""
    generators = [open_generator(directory, threads) for directory in directories]
    size = runs["batch_size"]
    image = [_images(generator, 1) for generator in generators]
    batch = [_images(generator, size) for generator in generators]
    evaluation = [_evaluation(generator, size) for generator in generators]
    return {
        "image": timed(image, 1, runs["pairs"], runs["seconds"]),
        "batch": timed(batch, 1, runs["batch_pairs"], runs["seconds"]),
        "evaluation": timed(evaluation, runs["warmups"], runs["pairs"], runs["seconds"]),
    }


def _images(generator: Generator, size: int) -> Callable[[int], object]:
    """call(i) makes `size` images, others each time."""
    num_classes = len(generator.labels)
    return lambda i: generator([(i + k) % num_classes for k in range(size)], range(i * size, (i + 1) * size))


def _evaluation(generator: Generator, size: int) -> Callable[[int], object]:
    """call(i) evaluates the model once on `size` images."""
    noise, classes = generator.noise(range(size)), np.zeros(size, np.int64)
    return lambda i: generator.denoiser(noise, np.full(size, 1000 / (1 + i), np.float32), classes)


JOBS: dict[str, Job] = {"load": load, "interleave": interleave}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], JOBS))
