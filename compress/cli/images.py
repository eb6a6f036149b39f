"""What `compress generate` does: images of classes into one PNG.  No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from compress.data.pixels import as_levels
from compress.errors import ArtefactError
from compress.files import appearing
from compress.progress import reporter_for
from compress.report.sheet import picture
from compress.runtime.artefact import MANIFEST, open_artefact
from compress.runtime.images import open_generator

_COLUMNS = 8  # images beside each other


def generate(
    directory: Path,
    classes: Sequence[str],
    seed: int,
    num: int,
    output: Path,
    *,
    scale: int,
    threads: int,
    force: bool,
    quiet: bool,
) -> None:
    """Make `num` images from the seeds `seed`, `seed` + 1, …, and write them to `output`, eight a row.

    Raises ArtefactError for a directory that holds no generator, or an output that is there; DataError for a class that
    is not there.
    """
    if output.suffix.lower() != ".png":
        raise ArtefactError(f"{output}: images are written as PNG: name a file that ends in .png")
    if output.exists() and not force:
        raise ArtefactError(f"{output} is there already: name another file, or give --force")
    if (directory / MANIFEST).is_file():
        open_artefact(directory)  # its hashes
    generator = open_generator(directory, threads)
    wanted = [generator.class_of(name) for name in classes] or list(range(len(generator.labels)))
    chosen = [wanted[number % len(wanted)] for number in range(num)]
    reporter = reporter_for(quiet)
    with reporter.stage("generate", 1, 1):
        images = generator(chosen, range(seed, seed + num), progress=reporter)
    columns = min(num, _COLUMNS)
    missing = -num % columns
    blank = np.ones((missing, *images.shape[1:]), np.float32)
    levels = as_levels(np.concatenate([images, blank]))
    height, width = levels.shape[1:3]
    rows = levels.reshape(-1, columns, height, width, levels.shape[-1])
    sheet = rows.transpose(0, 2, 1, 3, 4).reshape(-1, columns * width, levels.shape[-1])
    with appearing(output) as partial:
        picture(sheet, scale).save(partial, format="PNG")
