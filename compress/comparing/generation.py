"""Generators by the images that their runs left beside their rows; one that left none makes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compress.comparing.compared import NUM_CHANGED, Changed, Compared, Pair
from compress.jobs import recipe_of
from compress.jobs.generation import samples_of, task_of_artefact
from compress.passes.base import Progress
from compress.runtime.artefact import Artefact
from compress.tasks.image_scores import squared_errors

UNIT = "mean squared error of the second's image, of pixels between −1 and 1"


def compared(artefacts: Sequence[Artefact], pairs: Sequence[Pair], threads: int, progress: Progress) -> Compared:
    """Differences: those of `ImageGeneration.compare`.

    Raises DataError for a set that cannot be read, ArtefactError for a generator that cannot be run.
    """
    recipe = recipe_of(artefacts[0])
    task = task_of_artefact(artefacts[0], recipe)
    images = [samples_of(task, recipe, artefact, threads, progress) for artefact in artefacts]
    errors = squared_errors(images[0], images[1])
    seen = [task.extractor(each)[1] for each in images[:2]]
    changed = tuple(
        Changed(
            f"seed {task.seeds[place]}",
            float(errors[place]),
            f"class {task.classes[place]}",
            *(f"seen as {classes[place]}" for classes in seen),
        )
        for place in np.argsort(-errors, kind="stable")[:NUM_CHANGED]
    )
    return Compared(
        scores=tuple(map(task.score, images)),
        differences=tuple(task.compare(images[ours], images[theirs]) for ours, theirs in pairs),
        changed=changed,
        unit=UNIT,
    )
