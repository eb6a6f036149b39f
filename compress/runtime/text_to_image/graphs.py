"""The graphs beside the UNet, their inputs checked; names are those of diffusers' and Optimum's pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.errors import ArtefactError, DataError
from compress.runtime.session import inference_session, running, session_options
from compress.tasks.base import Float

TEXT_INPUT, TEXT_OUTPUT = "input_ids", "last_hidden_state"
LATENT_INPUT, PIXEL_OUTPUT = "latent_sample", "sample"


class Graph:
    """One array [N, …] → one float32 [N, …].

    sizes       of the input after N.
    batch_size  that the graph fixes; None where any goes.
    """

    def __init__(self, path: Path, threads: int, name: str, kind: str, output: str) -> None:
        self.path, self.name, self.output = path, name, output
        self.session: Any = inference_session(path, session_options(threads))
        taken = {given.name: given.type for given in self.session.get_inputs()}
        if taken != {name: f"tensor({kind})"}:
            told = ", ".join(f"{key} {value}" for key, value in taken.items()) or "none"
            raise ArtefactError(f"{path}: takes {told}: {name} of tensor({kind}) is wanted, and nothing else")
        shape = self.session.get_inputs()[0].shape
        if not all(isinstance(size, int) for size in shape[1:]):
            raise ArtefactError(f"{path}: {name} has shape {shape}: sizes are wanted after N")
        self.sizes: tuple[int, ...] = tuple(shape[1:])
        self.batch_size: int | None = shape[0] if isinstance(shape[0], int) else None

    def __call__(self, given: NDArray[Any]) -> Float:
        """Raises DataError for inputs of other sizes, ArtefactError for outputs that are no finite numbers."""
        if given.shape[1:] != self.sizes or not len(given):
            wanted, found = (" × ".join(map(str, sizes)) for sizes in (self.sizes, given.shape[1:]))
            raise DataError(f"{self.path}: takes {self.name} of {wanted}: got {len(given)} of {found}")
        if self.batch_size is None:
            outputs = self._run(given)
        else:  # a target of fixed shapes: one after another
            outputs = np.concatenate([self._run(given[row : row + 1]) for row in range(len(given))])
        if not np.isfinite(outputs).all():
            raise ArtefactError(f"{self.path}: gives a {self.output} that is no finite number")
        return outputs

    def _run(self, given: NDArray[Any]) -> Float:
        with running(self.path):
            found = self.session.run([self.output], {self.name: given})
        outputs: Float = found[0]
        return outputs


def open_text_encoder(path: Path, threads: int = 2) -> Graph:
    """int32 [N, L] → [N, L, D].  Raises ArtefactError for a file that is missing, damaged, or no text encoder."""
    return Graph(path, threads, TEXT_INPUT, "int32", TEXT_OUTPUT)


def open_decoder(path: Path, threads: int = 2) -> Graph:
    """Latents [N, C, h, w] → pixels [N, 3, H, W].  Raises ArtefactError as `open_text_encoder` does."""
    return Graph(path, threads, LATENT_INPUT, "float", PIXEL_OUTPUT)
