"""UNet: the ONNX graph that gives noise, its inputs checked; names are those of diffusers' and Optimum's pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import ArtefactError, DataError
from compress.runtime.artefact import UNET, Artefact
from compress.runtime.session import inference_session, running, session_options
from compress.tasks.base import Float

INPUTS = ("sample", "timestep", "encoder_hidden_states")
OUTPUT = "out_sample"


class UNet:
    """(sample [N, C, H, W], timestep [N], encoder_hidden_states [N, L, D]), all float32 → [N, C', H, W].

    latent_shape  (C, H, W).
    states_shape  (L, D).
    batch_size    that the graph fixes; None where any goes.
    """

    def __init__(self, path: Path, session: Any) -> None:
        self.path, self.session = path, session
        taken = {given.name: given.type for given in session.get_inputs()}
        if taken != dict.fromkeys(INPUTS, "tensor(float)"):
            told = ", ".join(f"{name} {kind}" for name, kind in taken.items()) or "none"
            raise ArtefactError(f"{path}: takes {told}: a UNet takes {', '.join(INPUTS)}, all float32")
        shapes = {given.name: given.shape for given in session.get_inputs()}
        latent, states = shapes["sample"], shapes["encoder_hidden_states"]
        if not all(isinstance(size, int) for size in (*latent[1:], *states[1:])):
            raise ArtefactError(f"{path}: sample {latent}, encoder_hidden_states {states}: sizes are wanted after N")
        self.latent_shape: tuple[int, int, int] = tuple(latent[1:])
        self.states_shape: tuple[int, int] = tuple(states[1:])
        self.batch_size: int | None = latent[0] if isinstance(latent[0], int) else None

    def __call__(self, sample: Float, timestep: Float, states: Float) -> Float:
        """Raises DataError for inputs that the graph does not take, ArtefactError for noise that is no number."""
        self._check(sample, self.latent_shape, "latents", "channels, height, width")
        self._check(states, self.states_shape, "text states", "tokens, width")
        if not (timestep >= 0).all():  # nan is not
            raise DataError(f"timesteps are {timestep.tolist()}: each is 0 or more")
        if self.batch_size is None:
            noise = self._run(sample, timestep, states)
        else:  # a target of fixed shapes: one sample after another
            rows = range(len(sample))
            noise = np.concatenate([self._run(*(x[i : i + 1] for x in (sample, timestep, states))) for i in rows])
        wrong = ~np.isfinite(noise).all(axis=(1, 2, 3))
        if wrong.any():
            at = timestep[wrong][0]
            raise ArtefactError(f"{self.path}: gives noise that is no finite number at timestep {at:g}")
        return noise

    def _check(self, given: Float, wanted: tuple[int, ...], what: str, axes: str) -> None:
        if given.shape[1:] != wanted or not len(given):
            told, found = (" × ".join(map(str, sizes)) for sizes in (wanted, given.shape[1:]))
            raise DataError(f"{self.path}: takes {what} of {told} ({axes}): got {len(given)} of {found}")

    def _run(self, sample: Float, timestep: Float, states: Float) -> Float:
        with running(self.path):
            found = self.session.run([OUTPUT], dict(zip(INPUTS, (sample, timestep, states), strict=True)))
        noise: Float = found[0]
        return noise


def open_unet(source: Artefact | str | Path, threads: int = 2) -> UNet:
    """Of an artefact, its directory, or the ONNX file itself.

    Raises ArtefactError for a file that is missing, damaged, or no UNet.
    """
    directory = source.directory if isinstance(source, Artefact) else Path(source)
    path = directory if directory.suffix == ".onnx" else directory / UNET
    if not path.is_file():
        what = "no such directory" if not directory.is_dir() else f"holds no {UNET}"
        raise ArtefactError(f"{directory}: {what}: name the directory of a denoiser")
    return UNet(path, inference_session(path, session_options(threads)))
