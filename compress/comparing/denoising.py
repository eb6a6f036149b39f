"""Denoisers by what they make of the task's samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compress.comparing.compared import NUM_CHANGED, Changed, Compared, Pair
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
    shares = difference / signal
    changed = tuple(
        Changed(
            f"sample {place}",
            float(shares[place]),
            f"timestep {task.timesteps[place]:g}",
            *(f"spread {each[place].std():.3f}" for each in noise[:2]),
        )
        for place in np.argsort(-shares, kind="stable")[:NUM_CHANGED]
    )
    return Compared(
        scores=tuple(map(task.score, noise)),
        differences=tuple(task.compare(noise[ours], noise[theirs]) for ours, theirs in pairs),
        changed=changed,
        unit=UNIT,
    )
