"""Generators by the images that their runs left beside their rows; one that left none makes them."""

from __future__ import annotations

from collections.abc import Sequence

from compress.comparing.compared import Compared, Pair, most_changed
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
    seen = [task.extractor(each)[1] for each in images[:2]]

    def told(place: int) -> tuple[str, str, str, str]:
        one, other = ("" if classes is None else f"seen as {classes[place]}" for classes in seen)
        return f"seed {task.seeds[place]}", f"class {task.classes[place]}", one, other

    return Compared(
        scores=tuple(map(task.score, images)),
        differences=tuple(task.compare(images[ours], images[theirs]) for ours, theirs in pairs),
        changed=most_changed(squared_errors(images[0], images[1]), told),
        unit=UNIT,
    )
