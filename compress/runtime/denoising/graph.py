"""NoiseGraph: the ONNX graph that gives noise, its inputs checked; names are those of diffusers' pipelines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.errors import ArtefactError, DataError
from compress.files import read_mapping
from compress.models.denoisers.inputs import TIMES, Input
from compress.models.denoisers.known import KNOWN, architecture_taking
from compress.models.denoisers.unet import UNET as UNET_OF_DIFFUSERS
from compress.runtime.artefact import TRANSFORMER, UNET, Artefact
from compress.runtime.session import inference_session, running, session_options
from compress.tasks.base import Float

OUTPUT = "out_sample"
_CONFIG = "config.json"
# What inputs of a kind are called, and their axes after the first.
_TOLD = {
    "latent": ("latents", "channels, height, width"),
    "patches": ("patches", "rows and columns, width"),
    "states": ("text states", "tokens, width"),
    "pooled": ("vectors of texts", "width"),
    "sizes": ("sizes", "heights and widths"),
    "mask": ("masks", "tokens"),
    "timestep": ("timesteps", "none"),
    "share": ("timesteps", "none"),
    "guidance": ("scales of guidance", "none"),
    "label": ("labels", "none"),
    "class": ("classes", "none"),
}
_TYPES: dict[type, str] = {np.float32: "tensor(float)", np.int64: "tensor(int64)"}


class NoiseGraph:
    """Inputs in the order of `inputs`, [N, …] each → float32 [N, C', H, W], or [N, n, D] of patches.

    architecture  whose names its inputs have.
    inputs        with the sizes that the graph takes.
    batch_size    that the graph fixes; None where any goes.
    """

    def __init__(self, path: Path, session: Any) -> None:
        self.path, self.session = path, session
        taken = {given.name: given for given in session.get_inputs()}
        config = _config_beside(path)
        known = architecture_taking(taken, config.get("_class_name"))
        if known is None:
            told = ", ".join(f"{name} {given.type}" for name, given in taken.items()) or "none"
            wanted = "; ".join(f"{kind.class_name} takes {', '.join(kind.kinds)}" for kind in KNOWN)
            raise ArtefactError(f"{path}: takes {told}: no denoiser that is known here: {wanted}")
        self.architecture = known
        count = int(config.get("num_embeds_ada_norm") or config.get("num_class_embeds") or 0)
        self.inputs = tuple(
            Input(name, kind, tuple(taken[name].shape[1:]), count if kind in ("label", "class") else 0)
            for name, kind in known.kinds.items()
        )
        for each in self.inputs:
            given = taken[each.name]
            if given.type != _TYPES[each.dtype] or not all(isinstance(size, int) for size in each.shape):
                raise ArtefactError(
                    f"{path}: {each.name} is {given.type} {given.shape}: {_TYPES[each.dtype]} is wanted, with sizes "
                    f"after N"
                )
        first = taken[self.inputs[0].name].shape[0]
        self.batch_size: int | None = first if isinstance(first, int) else None

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = next(each.shape for each in self.inputs if each.kind == "latent")
        return channels, height, width

    @property
    def states_shape(self) -> tuple[int, int]:
        """(L, D), of one that reads a text."""
        num_tokens, width = next(each.shape for each in self.inputs if each.kind == "states")
        return num_tokens, width

    def __call__(self, *given: NDArray[Any]) -> Float:
        """Raises DataError for inputs that the graph does not take, ArtefactError for noise that is no number."""
        if len(given) != len(self.inputs):
            told = ", ".join(each.name for each in self.inputs)
            raise DataError(f"{self.path}: takes {told}: got {len(given)} inputs")
        for each, values in zip(self.inputs, given, strict=True):
            self._check(each, values)
        if self.batch_size is None:
            noise = self._run(given)
        else:  # a target of fixed shapes: one sample after another
            noise = np.concatenate([self._run(tuple(x[i : i + 1] for x in given)) for i in range(len(given[0]))])
        wrong = ~np.isfinite(noise).all(axis=tuple(range(1, noise.ndim)))
        if wrong.any():
            at = next(x for each, x in zip(self.inputs, given, strict=True) if each.kind in TIMES)[wrong][0]
            raise ArtefactError(f"{self.path}: gives noise that is no finite number at timestep {at:g}")
        return noise

    def _check(self, each: Input, given: NDArray[Any]) -> None:
        what, axes = _TOLD[each.kind]
        if given.shape[1:] != each.shape or not len(given):
            told, found = (" × ".join(map(str, sizes)) or "one number" for sizes in (each.shape, given.shape[1:]))
            raise DataError(f"{self.path}: takes {what} of {told} ({axes}): got {len(given)} of {found}")
        if given.dtype != each.dtype:
            raise DataError(f"{self.path}: takes {what} of {np.dtype(each.dtype)}: got {given.dtype}")
        if each.kind in TIMES and not (given >= 0).all():  # nan is not
            raise DataError(f"timesteps are {given.tolist()}: each is 0 or more")
        if each.kind == "class" and each.count and not ((given >= 0) & (given < each.count)).all():
            raise DataError(f"classes are {given.tolist()}: each is 0 … {each.count - 1}")
        if each.kind == "label" and each.count and not ((given >= 0) & (given <= each.count)).all():
            last = each.count - 1
            raise DataError(f"labels are {given.tolist()}: each is a class, 0 … {last}, or {each.count} for none")

    def _run(self, given: tuple[NDArray[Any], ...]) -> Float:
        names = (each.name for each in self.inputs)
        with running(self.path):
            found = self.session.run([OUTPUT], dict(zip(names, given, strict=True)))
        noise: Float = found[0]
        return noise


def open_denoiser(source: Artefact | str | Path, threads: int = 2) -> NoiseGraph:
    """Of an artefact, its directory, or the ONNX file itself.

    Raises ArtefactError for a file that is missing, damaged, or no denoiser.
    """
    return _opened(source, (UNET, TRANSFORMER), threads)


def open_unet(source: Artefact | str | Path, threads: int = 2) -> NoiseGraph:
    """The same, of a UNet alone.  Raises ArtefactError for another denoiser too."""
    unet = _opened(source, (UNET,), threads)
    if unet.architecture is not UNET_OF_DIFFUSERS:
        raise ArtefactError(f"{unet.path}: a {unet.architecture.class_name}: a UNet is wanted")
    return unet


def holds_denoiser(directory: Path) -> bool:
    """Whether a denoiser's graph lies there, by what stands beside it: no other transformer's."""
    config = directory / Path(TRANSFORMER).with_name(_CONFIG)
    if (directory / UNET).is_file():
        return True
    known = {kind.class_name for kind in KNOWN}
    return config.is_file() and read_mapping(config, ArtefactError).get("_class_name") in known


def _opened(source: Artefact | str | Path, places: tuple[str, ...], threads: int) -> NoiseGraph:
    directory = source.directory if isinstance(source, Artefact) else Path(source)
    if directory.suffix == ".onnx":
        paths = [directory] if directory.is_file() else []
    else:
        paths = [directory / place for place in places if (directory / place).is_file()]
    if not paths:
        what = "no such directory" if not directory.is_dir() else f"holds no {' and no '.join(places)}"
        raise ArtefactError(f"{directory}: {what}: name the directory of a denoiser")
    return NoiseGraph(paths[0], inference_session(paths[0], session_options(threads)))


def _config_beside(path: Path) -> Mapping[str, Any]:
    """Of diffusers' class, beside the graph; empty where there is none."""
    config = path.with_name(_CONFIG)
    return read_mapping(config, ArtefactError) if config.is_file() else {}
