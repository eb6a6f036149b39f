"""Denoising: what a UNet makes of seeded latents and text states, against the float model on the same ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from compress.tasks.base import Float, Scores
from compress.tasks.bootstrap import Resampled, resampling

Inputs = tuple[Float, Float, Float]  # sample [N, C, H, W], timestep [N], encoder_hidden_states [N, L, D]
_SMALLEST = 2.0**-46  # share of the signal's energy below which float32 knows no difference: 138 dB


@dataclass(frozen=True)
class Denoising:
    """Sample i is drawn from (`seed`, i): a latent and text states of normal values, at timestep `timesteps[i]`.

    A latent that a variance-preserving scheduler hands over has unit variance at every timestep, as these have; but
    neither they nor the text states are those of images and texts.

    latent_shape  (C, H, W).
    states_shape  (L, D): tokens, and width of their states.
    timesteps     [N], one a sample.
    kind          of samples: those that scores are taken on and those that calibrate are never the same.
    """

    name: ClassVar[str] = "denoising"

    latent_shape: tuple[int, int, int]
    states_shape: tuple[int, int]
    timesteps: NDArray[np.float32]
    seed: int = 0
    kind: str = "evaluation"

    @property
    def num_samples(self) -> int:
        return len(self.timesteps)

    def sample(self, number: int) -> Inputs:
        """One sample, [1, …] each."""
        random = np.random.default_rng([self.seed, number, *self.kind.encode()])
        latent = random.standard_normal((1, *self.latent_shape), np.float32)
        states = random.standard_normal((1, *self.states_shape), np.float32)
        return latent, self.timesteps[number : number + 1], states

    def batches(self, batch_size: int) -> Iterator[Inputs]:
        """All samples in order."""
        for start in range(0, self.num_samples, batch_size):
            rows = [self.sample(number) for number in range(start, min(start + batch_size, self.num_samples))]
            latents, timesteps, states = (np.concatenate(parts) for parts in zip(*rows, strict=True))
            yield latents, timesteps, states

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
        told = f"{self.kind} {self.seed} {self.latent_shape} {self.states_shape} {self.timesteps.tolist()}"
        return hashlib.sha256(told.encode()).hexdigest()


def energies(outputs: Float, reference: Float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums of squares of each sample: of the reference, and of what the outputs differ by."""
    axes = tuple(range(1, reference.ndim))
    difference = outputs.astype(np.float64) - reference
    return np.square(reference.astype(np.float64)).sum(axes), np.square(difference).sum(axes)


def _decibels(signal: NDArray[np.float64], noise: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = 10 * np.log10(signal / np.maximum(noise, _SMALLEST * signal))
    return found
