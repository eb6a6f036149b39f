"""Denoiser: the ONNX graph that gives velocities, its inputs checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.errors import ArtefactError, DataError
from compress.models.generators.sampling import NUM_TRAIN_TIMESTEPS
from compress.runtime.session import inference_session, running, session_options
from compress.tasks.base import Float

INPUTS = ("hidden_states", "timestep", "class_labels")
OUTPUT = "out_sample"
_TYPES = ("tensor(float)", "tensor(float)", "tensor(int64)")


class Denoiser:
    """(hidden_states [N, C, H, W], timestep [N], class_labels int64 [N]) → velocity [N, C, H, W].

    image_shape  (C, H, W).
    batch_size   that the graph fixes; None where any goes.
    """

    def __init__(self, path: Path, session: Any) -> None:
        self.path, self.session = path, session
        taken = {given.name: given.type for given in session.get_inputs()}
        if taken != dict(zip(INPUTS, _TYPES, strict=True)):
            told = ", ".join(f"{name} {kind}" for name, kind in taken.items()) or "none"
            raise ArtefactError(f"{path}: takes {told}: a denoiser takes {', '.join(INPUTS)}")
        sizes = session.get_inputs()[0].shape
        if len(sizes) != 4 or not all(isinstance(size, int) for size in sizes[1:]):
            raise ArtefactError(f"{path}: hidden_states has shape {sizes}: [N, C, H, W] is wanted, with sizes")
        self.image_shape: tuple[int, ...] = tuple(sizes[1:])
        self.batch_size: int | None = sizes[0] if isinstance(sizes[0], int) else None

    def __call__(self, sample: Float, timestep: Float, classes: NDArray[np.int64]) -> Float:
        """Raises DataError for inputs that the graph does not take, ArtefactError for a velocity that is no number."""
        if sample.shape[1:] != self.image_shape or not len(sample):
            wanted, given = (" × ".join(map(str, sizes)) for sizes in (self.image_shape, sample.shape[1:]))
            raise DataError(
                f"{self.path}: makes images of {wanted} (channels, height, width): got {len(sample)} of {given}"
            )
        wrong = timestep[~((timestep >= 0) & (timestep <= NUM_TRAIN_TIMESTEPS))]  # nan is neither
        if len(wrong):
            raise DataError(f"a timestep is {wrong[0]}: it lies between 0 (image) and {NUM_TRAIN_TIMESTEPS} (noise)")
        run = self._run if self.batch_size is None else self._chunked
        velocity = run(sample, timestep, classes)
        if not np.isfinite(velocity).all():
            raise ArtefactError(f"{self.path}: gives a velocity that is no finite number at timestep {timestep[0]:g}")
        return velocity

    def _chunked(self, sample: Float, timestep: Float, classes: NDArray[np.int64]) -> Float:
        """In chunks of the fixed batch size, the last one filled up with its last image."""
        assert self.batch_size is not None
        found = []
        for start in range(0, len(sample), self.batch_size):
            rows = np.minimum(np.arange(start, start + self.batch_size), len(sample) - 1)
            found.append(self._run(sample[rows], timestep[rows], classes[rows]))
        return np.concatenate(found)[: len(sample)]

    def _run(self, sample: Float, timestep: Float, classes: NDArray[np.int64]) -> Float:
        with running(self.path):
            found = self.session.run([OUTPUT], dict(zip(INPUTS, (sample, timestep, classes), strict=True)))
        velocity: Float = found[0]
        return velocity


def open_denoiser(path: Path, threads: int = 2) -> Denoiser:
    """Raises ArtefactError for a file that is missing, damaged, or no denoiser."""
    return Denoiser(path, inference_session(path, session_options(threads)))
