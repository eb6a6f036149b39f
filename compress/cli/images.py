"""What `compress generate` does: images of classes, or of texts, into one PNG.  No torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compress.data.pixels import as_levels
from compress.errors import ArtefactError, DataError
from compress.files import appearing
from compress.passes.base import Progress
from compress.progress import reporter_for
from compress.report.sheet import picture
from compress.runtime.artefact import MANIFEST, open_artefact
from compress.runtime.images import open_generator
from compress.runtime.text_to_image import is_pipeline, open_pipeline
from compress.tasks.base import Float

_COLUMNS = 8  # images beside each other
_IMAGES = 8  # of classes, where no number is given


@dataclass(frozen=True)
class Wish:
    """What images are wanted: of classes, or of prompts with the rest, which is the pipeline's own where None."""

    classes: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    negative_prompt: str | None = None
    guidance: float | None = None
    steps: int | None = None

    @property
    def of_texts(self) -> dict[str, object]:
        """The options that pipelines alone take, as far as they are given."""
        given = {
            "--prompt": self.prompts or None,
            "--negative-prompt": self.negative_prompt,
            "--guidance": self.guidance,
            "--steps": self.steps,
        }
        return {name: value for name, value in given.items() if value is not None}


def generate(
    directory: Path,
    wish: Wish,
    seed: int,
    num: int | None,
    output: Path,
    *,
    scale: int,
    threads: int,
    force: bool,
    quiet: bool,
) -> None:
    """Make `num` images from the seeds `seed`, `seed` + 1, …, and write them to `output`, eight a row.

    Raises ArtefactError for a directory that makes no images, or an output that is there; DataError for a class that is
    not there, a prompt that is missing or too long, or options of the other kind of model.
    """
    if output.suffix.lower() != ".png":
        raise ArtefactError(f"{output}: images are written as PNG: name a file that ends in .png")
    if output.exists() and not force:
        raise ArtefactError(f"{output} is there already: name another file, or give --force")
    if (directory / MANIFEST).is_file():
        open_artefact(directory)  # its hashes
    of_texts = is_pipeline(directory)
    make = (_of_texts if of_texts else _of_classes)(directory, wish, threads)
    count = num or (len(wish.prompts) if of_texts else _IMAGES)
    reporter = reporter_for(quiet)
    with reporter.stage("generate", 1, 1):
        images = make(range(seed, seed + count), reporter)
    columns = min(count, _COLUMNS)
    missing = -count % columns
    blank = np.ones((missing, *images.shape[1:]), np.float32)
    levels = as_levels(np.concatenate([images, blank]))
    height, width = levels.shape[1:3]
    rows = levels.reshape(-1, columns, height, width, levels.shape[-1])
    sheet = rows.transpose(0, 2, 1, 3, 4).reshape(-1, columns * width, levels.shape[-1])
    with appearing(output) as partial:
        picture(sheet, scale).save(partial, format="PNG")


def _of_classes(directory: Path, wish: Wish, threads: int) -> Callable[[range, Progress], Float]:
    """make(seeds, progress): an image a seed, of the classes in turn."""
    for name in wish.of_texts:
        raise DataError(f"{directory} makes images of classes: take {name} out, and name them with --class")
    generator = open_generator(directory, threads)
    wanted = [generator.class_of(name) for name in wish.classes] or list(range(len(generator.labels)))

    def make(seeds: range, progress: Progress) -> Float:
        chosen = [wanted[number % len(wanted)] for number in range(len(seeds))]
        return generator(chosen, seeds, progress=progress)

    return make


def _of_texts(directory: Path, wish: Wish, threads: int) -> Callable[[range, Progress], Float]:
    """make(seeds, progress): an image a seed, of the prompts in turn."""
    if wish.classes:
        raise DataError(f"{directory} makes images of texts: take --class out, and say what to show with --prompt")
    if not wish.prompts:
        raise DataError(f"{directory} makes images of texts: say what to show: --prompt 'a lighthouse at night'")
    pipeline = open_pipeline(directory, threads)
    plan = pipeline.sampling.asked(wish.steps, wish.guidance)
    if wish.negative_prompt is not None and not plan.is_guided:
        raise DataError("--negative-prompt has no effect with a guidance of 1: take it out, or give --guidance")

    def make(seeds: range, progress: Progress) -> Float:
        texts = [wish.prompts[number % len(wish.prompts)] for number in range(len(seeds))]
        return pipeline(texts, seeds, plan, wish.negative_prompt or "", progress)

    return make
