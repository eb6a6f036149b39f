"""Pipelines by the images that their runs left beside their rows; one that left none makes them."""

from __future__ import annotations

from collections.abc import Sequence

from compress.comparing.compared import Compared, Pair, most_changed
from compress.comparing.generation import UNIT
from compress.jobs import recipe_of
from compress.jobs.text_to_image import samples_of, task_of_artefact
from compress.passes.base import Progress
from compress.runtime.artefact import Artefact
from compress.tasks.image_scores import squared_errors


def compared(artefacts: Sequence[Artefact], pairs: Sequence[Pair], threads: int, progress: Progress) -> Compared:
    """Differences: those of `ImagesOfTexts.compare`.

    Raises DataError for prompts that cannot be read, ArtefactError for a pipeline that cannot be run.
    """
    task = task_of_artefact(artefacts[0], recipe_of(artefacts[0]))
    images = [samples_of(task, artefact, threads, progress) for artefact in artefacts]

    def told(place: int) -> tuple[str, str, str, str]:
        one, other = (f"mean {each[place].mean():.3f}, spread {each[place].std():.3f}" for each in images[:2])
        return f"seed {task.seeds[place]}", task.texts[place], one, other

    return Compared(
        scores=tuple(map(task.score, images)),
        differences=tuple(task.compare(images[ours], images[theirs]) for ours, theirs in pairs),
        changed=most_changed(squared_errors(images[0], images[1]), told),
        unit=UNIT,
    )
