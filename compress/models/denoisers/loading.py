"""load_denoiser: from what a recipe says to a UNet or a transformer that denoises latents.

random:SHAPE     a config of `shapes/`, with its scheduler, and fresh weights: for size, speed, memory and parity.
path:DIRECTORY   of a pipeline of diffusers, with unet/ or transformer/, and scheduler/; or that folder itself.
hf:ORG/NAME@REV  such a pipeline on the Hugging Face hub.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import ModelError, require
from compress.files import read_mapping
from compress.models.denoisers.architecture import Architecture
from compress.models.denoisers.known import architecture_of
from compress.models.denoisers.schedule import INDEX, SCHEDULER, Schedule, read_schedule, schedule_of
from compress.models.shapes import read_shape
from compress.models.source import DENOISER_SHAPES, ModelSource

if TYPE_CHECKING:
    from torch import Tensor, nn

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
_FOLDERS = ("unet", "transformer")
# What of a repository is downloaded: no other variants of the weights, no other parts.
_WANTED = (
    INDEX,
    SCHEDULER,
    *(f"{part}/{name}" for part in _FOLDERS for name in (CONFIG, WEIGHTS, f"{WEIGHTS}.index.json")),
    *(f"{part}/diffusion_*-of-*.safetensors" for part in _FOLDERS),
)


@dataclass(frozen=True)
class LoadedDenoiser:
    """model: in eval mode, float32.  pipeline: what diffusers calls the whole.  See `LoadedModel` for the rest."""

    model: Any
    architecture: Architecture
    schedule: Schedule
    pipeline: str
    random_weights: bool
    description: str
    licence: str | None = None


def load_denoiser(source: ModelSource) -> LoadedDenoiser:
    """Raises ModelError for a model that cannot be had, is damaged or no such denoiser, or holds weights that are no
    numbers; MissingExtra without torch or diffusers."""
    require_diffusers()
    from compress.models.denoisers.weights import filled_at_random
    from compress.models.finite import check_finite

    if source.kind == "random":
        shape = read_shape("denoisers", source.name, DENOISER_SHAPES)
        architecture, blank_model = _blank(_config_of(shape), source.source)
        schedule = schedule_of(shape["scheduler"], source.source, flows=architecture.flows)
        model = filled_at_random(blank_model, source.seed)
        told = f"{shape['description']}, random weights"
        return LoadedDenoiser(model, architecture, schedule, shape["pipeline"], True, told)
    directory = pipeline_directory(source, _WANTED)
    folder = _folder_of(directory)
    architecture, model = _blank(read_mapping(folder / CONFIG, ModelError), str(folder / CONFIG))
    is_random = source.weights == "random"
    model = filled_at_random(model, source.seed) if is_random else _filled(model, architecture, folder)
    loaded = _described(directory, folder, source, architecture, model)
    check_finite(loaded.model, source.source)
    return loaded


def layer_names(source: ModelSource) -> Mapping[str, nn.Module]:
    """What selectors can match; no weights are made or read.  Raises ModelError."""
    require_diffusers()
    from compress.models.layers import weighted_layers

    if source.kind == "random":
        config, where = _config_of(read_shape("denoisers", source.name, DENOISER_SHAPES)), source.source
    else:
        path = _folder_of(pipeline_directory(source, _WANTED)) / CONFIG
        config, where = read_mapping(path, ModelError), str(path)
    return weighted_layers(_blank(config, where)[1], True)


def _config_of(shape: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of the denoiser, which a shape names as pipelines name its folder."""
    config: Mapping[str, Any] = next(shape[part] for part in _FOLDERS if part in shape)
    return config


def _blank(config: Mapping[str, Any], where: str) -> tuple[Architecture, Any]:
    from compress.models.denoisers.building import blank

    architecture = architecture_of(config, where)
    return architecture, blank(architecture, config, where)


def require_diffusers() -> None:
    require("torch", "loading a model", "torch")
    require("diffusers", "models of diffusers", "generation")


def pipeline_directory(source: ModelSource, wanted: Sequence[str]) -> Path:
    """Where the files of a `path:` or `hf:` lie; of a repository only those that match `wanted` are downloaded.

    Raises ModelError for one that cannot be had.
    """
    if source.kind == "path":
        return Path(source.name).expanduser()
    require("huggingface_hub", "hf: models", "torch")
    from huggingface_hub import snapshot_download

    from compress.models.hub import from_hub

    def fetched() -> str:
        return str(snapshot_download(source.name, revision=source.revision, allow_patterns=list(wanted)))

    return Path(from_hub(source.source, source.name, fetched))


def _folder_of(directory: Path) -> Path:
    """Where the denoiser lies in the directory.  Raises ModelError where there is none."""
    for part in (*_FOLDERS, ""):
        if (directory / part / CONFIG).is_file():
            return directory / part
    parts = [f"{part}/{CONFIG}" for part in _FOLDERS]
    if not directory.is_dir():
        raise ModelError(
            f"{directory}: no such directory: name one that holds {' or '.join(parts)}, or the denoiser's own"
        )
    told = "a pipeline without a denoiser" if (directory / INDEX).is_file() else "no model of diffusers"
    raise ModelError(f"{directory}: {told}: it holds neither {', '.join(parts)} nor {CONFIG}")


def _filled(model: nn.Module, architecture: Architecture, folder: Path) -> nn.Module:
    from compress.models.denoisers.weights import unfilled
    from compress.models.sources.path import fill

    model = unfilled(model)
    state = {name: value for name, value in read_weights(folder).items() if name not in architecture.unused}
    fill(model, state, str(folder))
    return model


def read_weights(directory: Path, name: str = WEIGHTS) -> dict[str, Tensor]:
    """All weights of a part of a pipeline.  Raises ModelError where there are none, or their files are damaged."""
    from compress.models.sources.path import read_state_dict

    index = directory / f"{name}.index.json"
    if (directory / name).is_file():
        files = [name]
    elif index.is_file():
        files = sorted({str(file) for file in read_mapping(index, ModelError).get("weight_map", {}).values()})
    else:
        raise ModelError(f"{directory}: holds no {name}: weights are read from safetensors, whole or in shards")
    state: dict[str, Tensor] = {}
    for file in files:
        state |= read_state_dict(directory / file)
    return state


def _described(
    directory: Path, folder: Path, source: ModelSource, architecture: Architecture, model: nn.Module
) -> LoadedDenoiser:
    schedule, pipeline = Schedule(), architecture.pipeline
    if folder != directory:
        schedule = read_schedule(directory, flows=architecture.flows)
        if (directory / INDEX).is_file():
            pipeline = str(read_mapping(directory / INDEX, ModelError).get("_class_name", pipeline))
    name = source.name if source.kind == "hf" else directory.name
    revision = f", {source.revision}" if source.revision else ""
    is_random = source.weights == "random"
    told = f"{architecture.told} of {name}{revision}{', random weights' if is_random else ''}"
    return LoadedDenoiser(model, architecture, schedule, pipeline, is_random, told)
