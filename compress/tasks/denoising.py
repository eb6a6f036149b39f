"""Denoising: what a denoiser makes of seeded latents and texts, against the float model on the same ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from compress.models.denoisers.inputs import TIMES, Input
from compress.models.denoisers.schedule import NUM_TRAIN_TIMESTEPS
from compress.tasks.base import Float, Scores
from compress.tasks.bootstrap import Resampled, resampling

Arrays = tuple[NDArray[Any], ...]  # of each of the inputs, [N, …]
_LARGEST_SIZE = 1024  # pixels
_LARGEST_GUIDANCE = 7.0
_SMALLEST = 2.0**-46  # share of the signal's energy below which float32 knows no difference: 138 dB


@dataclass(frozen=True)
class Denoising:
    """Sample i is drawn from (`seed`, i), at timestep `timesteps[i]`: a latent and text states of normal values, how
    many of their tokens are read, one vector of the text, sizes of images, a class.

    A latent that a variance-preserving scheduler hands over has unit variance at every timestep, as these have; but
    neither they nor the text states are those of images and texts.

    inputs     that the denoiser takes, in its order.
    timesteps  [N], one a sample.
    kind       of samples: those that scores are taken on and those that calibrate are never the same.
    """

    name: ClassVar[str] = "denoising"

    inputs: tuple[Input, ...]
    timesteps: NDArray[np.float32]
    seed: int = 0
    kind: str = "evaluation"

    @property
    def num_samples(self) -> int:
        return len(self.timesteps)

    def sample(self, number: int) -> Arrays:
        """One sample, [1, …] each."""
        random = np.random.default_rng([self.seed, number, *self.kind.encode()])
        timestep = self.timesteps[number : number + 1]
        times = {"timestep": timestep, "share": timestep / np.float32(NUM_TRAIN_TIMESTEPS)}
        return tuple(times[each.kind] if each.kind in TIMES else _drawn(each, random) for each in self.inputs)

    def batches(self, batch_size: int) -> Iterator[Arrays]:
        """All samples in order."""
        for start in range(0, self.num_samples, batch_size):
            rows = [self.sample(number) for number in range(start, min(start + batch_size, self.num_samples))]
            yield tuple(np.concatenate(parts) for parts in zip(*rows, strict=True))

    def score(self, outputs: Float) -> Scores:
        """Nothing: what is right for made-up latents nobody knows."""
        return {}

    def compare(self, outputs: Float, reference: Float) -> Scores:
        """Against the float model's outputs of the same samples.

        sqnr_db  signal over noise: the energy of the float model's outputs over that of the differences, all samples
                 together; bootstrap over the samples.
        """
        signal, noise = energies(outputs, reference)
        draws = resampling(range(len(signal)), self.seed).draws
        decibels = Resampled(float(_decibels(signal.sum(), noise.sum())), _decibels(draws @ signal, draws @ noise))
        return {"sqnr_db": decibels.figure(len(signal))}

    def fingerprint(self) -> str:
        """sha256 of what the samples are drawn from."""
        inputs = " ".join(_told(each) for each in self.inputs if each.kind not in TIMES)
        told = f"{self.kind} {self.seed} {inputs} {self.timesteps.tolist()}"
        return hashlib.sha256(told.encode()).hexdigest()


def _drawn(given: Input, random: np.random.Generator) -> NDArray[Any]:
    if given.kind == "mask":
        length = random.integers(1, given.shape[0], endpoint=True)
        return (np.arange(given.shape[0]) < length).astype(np.int64)[None]
    if given.kind in ("label", "class"):
        return random.integers(0, given.count, 1, np.int64)
    if given.kind == "guidance":
        return random.uniform(1, _LARGEST_GUIDANCE, 1).astype(np.float32)
    if given.kind == "sizes":
        return random.integers(0, _LARGEST_SIZE, (1, *given.shape), endpoint=True).astype(np.float32)
    return random.standard_normal((1, *given.shape), np.float32)


def _told(given: Input) -> str:
    """What is drawn for it."""
    if given.kind in ("label", "class"):
        return f"{given.kind} of {given.count}"
    return f"{f'{given.kind} ' if given.kind in ('mask', 'sizes', 'patches', 'guidance') else ''}{given.shape}"


def energies(outputs: Float, reference: Float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums of squares of each sample: of the reference, and of what the outputs differ by."""
    axes = tuple(range(1, reference.ndim))
    difference = outputs.astype(np.float64) - reference
    return np.square(reference.astype(np.float64)).sum(axes), np.square(difference).sum(axes)


def _decibels(signal: NDArray[np.float64], noise: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = 10 * np.log10(signal / np.maximum(noise, _SMALLEST * signal))
    return found
