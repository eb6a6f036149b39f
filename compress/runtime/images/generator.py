"""Generator: images of classes from seeds, the same for the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compress.errors import DataError, unknown
from compress.models.generators.sampling import Sampling
from compress.numerics.reuse import Evaluated
from compress.passes.base import Progress, silent
from compress.runtime.artefact import TRANSFORMER, Artefact
from compress.runtime.images.denoiser import Denoiser, open_denoiser
from compress.runtime.images.directory import Parts, read_parts
from compress.tasks.base import Float


class Generator:
    """sampling, labels: see `Parts`."""

    def __init__(self, parts: Parts, denoiser: Denoiser) -> None:
        self.scheduler, self.sampling, self.labels, self.denoiser = (
            parts.scheduler,
            parts.sampling,
            parts.labels,
            denoiser,
        )

    def class_of(self, name: str) -> int:
        """The class that a name or a number means.  Raises DataError for one that is not there."""
        if name in self.labels:
            return self.labels.index(name)
        if name.isascii() and name.isdigit() and int(name) < len(self.labels):
            return int(name)
        raise DataError(unknown("class", name, self.labels))

    def noise(self, seeds: Sequence[int]) -> Float:
        """[N, C, H, W]: of each image by its own seed, whatever others are made beside it."""
        shape = self.denoiser.image_shape
        return np.stack([np.random.default_rng(seed).standard_normal(shape, np.float32) for seed in seeds])

    def __call__(
        self,
        classes: Sequence[int],
        seeds: Sequence[int],
        sampling: Sampling | None = None,
        progress: Progress = silent,
    ) -> Float:
        """Images [N, C, H, W], about between −1 and 1, all steps of all together.

        sampling  in place of the artefact's own; of a distilled model no other has a meaning.
        progress  draws a bar over the steps.

        Raises DataError for a class that is not there.
        """
        plan = sampling or self.sampling
        labels = self._checked(classes)
        sample = self.noise(seeds)
        sigmas, evaluated = plan.sigmas(), Evaluated()
        timesteps = self.scheduler.timesteps(sigmas).tolist()
        for step in progress(range(plan.num_steps), "steps", plan.num_steps):
            if step in plan.steps:
                velocity = self.velocity(sample, timesteps[step], labels, plan.guidance_scale)
                evaluated.keep(float(sigmas[step]), velocity)
            else:
                velocity = evaluated.forecast(float(sigmas[step]))
            sample = self.scheduler.step(velocity, sample, float(sigmas[step]), float(sigmas[step + 1]))
        return sample

    def velocity(
        self, sample: Float, timestep: float, labels: NDArray[np.int64], guidance_scale: float | None
    ) -> Float:
        """One evaluation for each image, or, guided, two: of no class and of its own."""
        if guidance_scale is None:
            return self.denoiser(sample, np.full(len(sample), timestep, np.float32), labels)
        nothing = np.full_like(labels, len(self.labels))
        both = self.denoiser(
            np.concatenate([sample, sample]),
            np.full(2 * len(sample), timestep, np.float32),
            np.concatenate([nothing, labels]),
        )
        unconditional, conditional = np.split(both, 2)
        guided: Float = unconditional + np.float32(guidance_scale) * (conditional - unconditional)
        return guided

    def _checked(self, classes: Sequence[int]) -> NDArray[np.int64]:
        for number in classes:
            if not 0 <= number < len(self.labels):
                raise DataError(f"there is no class {number}: the classes are 0 … {len(self.labels) - 1}")
        return np.array(classes, dtype=np.int64)


def open_generator(source: Artefact | str | Path, threads: int = 2) -> Generator:
    """Open the generator in a directory, with `threads` threads inside an operator.

    Raises ArtefactError for a directory that holds none, or whose parts are damaged or do not fit each other.
    """
    directory = source.directory if isinstance(source, Artefact) else Path(source)
    return Generator(read_parts(directory), open_denoiser(directory / TRANSFORMER, threads))
