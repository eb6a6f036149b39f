"""Denoisers by what they make of the task's samples."""

from __future__ import annotations

from collections.abc import Sequence

from compress.comparing.compared import Compared, Pair, most_changed
from compress.jobs import recipe_of
from compress.jobs.denoising import made_by, task_of_artefact
from compress.passes.base import Progress
from compress.runtime.artefact import Artefact
from compress.tasks.denoising import energies

UNIT = "share of the first's energy that the second's noise differs by"


def compared(artefacts: Sequence[Artefact], pairs: Sequence[Pair], threads: int, progress: Progress) -> Compared:
    """Differences: those of `Denoising.compare`.  Raises ArtefactError for a denoiser that cannot be run."""
    task = task_of_artefact(artefacts[0], recipe_of(artefacts[0]))
    noise = [made_by(task, artefact, threads, progress) for artefact in artefacts]
    signal, difference = energies(noise[1], noise[0])

    def told(place: int) -> tuple[str, str, str, str]:
        one, other = (f"spread {each[place].std():.3f}" for each in noise[:2])
        return f"sample {place}", f"timestep {task.timesteps[place]:g}", one, other

    return Compared(
        scores=tuple(map(task.score, noise)),
        differences=tuple(task.compare(noise[ours], noise[theirs]) for ours, theirs in pairs),
        changed=most_changed(difference / signal, told),
        unit=UNIT,
    )
