"""load_denoiser: from what a recipe says to a UNet that denoises latents.

random:SHAPE     a config of `shapes/`, with its scheduler, and fresh weights: for size, speed, memory and parity.
path:DIRECTORY   of a pipeline of diffusers, with unet/ and scheduler/, or the directory of the UNet itself.
hf:ORG/NAME@REV  such a pipeline on the Hugging Face hub.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import ModelError, require
from compress.files import read_mapping
from compress.models.denoisers.schedule import INDEX, SCHEDULER, Schedule, read_schedule, schedule_of
from compress.models.shapes import read_shape
from compress.models.source import DENOISER_SHAPES, ModelSource

if TYPE_CHECKING:
    from torch import Tensor, nn

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
# What of a repository is downloaded: no other variants of the weights, no other parts.
_WANTED = (
    INDEX,
    SCHEDULER,
    *(f"unet/{name}" for name in (CONFIG, WEIGHTS, f"{WEIGHTS}.index.json")),
    "unet/diffusion_*-of-*.safetensors",
)


@dataclass(frozen=True)
class LoadedDenoiser:
    """model: in eval mode, float32.  pipeline: what diffusers calls the whole.  See `LoadedModel` for the rest."""

    model: Any
    schedule: Schedule
    pipeline: str
    random_weights: bool
    description: str
    licence: str | None = None


def load_denoiser(source: ModelSource) -> LoadedDenoiser:
    """Raises ModelError for a model that cannot be had, is damaged or no such UNet, or holds weights that are no
    numbers; MissingExtra without torch or diffusers."""
    require_diffusers()
    from compress.models.denoisers.unet import blank_unet, filled_at_random
    from compress.models.finite import check_finite

    if source.kind == "random":
        shape = read_shape("denoisers", source.name, DENOISER_SHAPES)
        model = filled_at_random(blank_unet(shape["unet"], source.source), source.seed)
        schedule = schedule_of(shape["scheduler"], source.source)
        return LoadedDenoiser(model, schedule, shape["pipeline"], True, f"{shape['description']}, random weights")
    directory = pipeline_directory(source, _WANTED)
    unet = _unet_directory(directory)
    config = read_mapping(unet / CONFIG, ModelError)
    model = blank_unet(config, str(unet / CONFIG))
    model = filled_at_random(model, source.seed) if source.weights == "random" else _filled(model, unet)
    loaded = _described(directory, unet, source, model)
    check_finite(loaded.model, source.source)
    return loaded


def layer_names(source: ModelSource) -> Mapping[str, nn.Module]:
    """What selectors can match; no weights are made or read.  Raises ModelError."""
    require_diffusers()
    from compress.models.denoisers.unet import blank_unet
    from compress.models.layers import weighted_layers

    if source.kind == "random":
        return weighted_layers(
            blank_unet(read_shape("denoisers", source.name, DENOISER_SHAPES)["unet"], source.source), True
        )
    unet = _unet_directory(pipeline_directory(source, _WANTED))
    return weighted_layers(blank_unet(read_mapping(unet / CONFIG, ModelError), str(unet / CONFIG)), True)


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


def _unet_directory(directory: Path) -> Path:
    """Where the UNet lies in the directory.  Raises ModelError where there is none."""
    if (directory / "unet" / CONFIG).is_file():
        return directory / "unet"
    if (directory / CONFIG).is_file():
        return directory
    if not directory.is_dir():
        raise ModelError(f"{directory}: no such directory: name one that holds unet/{CONFIG}, or the UNet's own")
    told = "a pipeline without a UNet" if (directory / INDEX).is_file() else "no model of diffusers"
    raise ModelError(f"{directory}: {told}: it holds neither unet/{CONFIG} nor {CONFIG}")


def _filled(model: nn.Module, unet: Path) -> nn.Module:
    from compress.models.denoisers.unet import unfilled
    from compress.models.sources.path import fill

    model = unfilled(model)
    fill(model, read_weights(unet), str(unet))
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


def _described(directory: Path, unet: Path, source: ModelSource, model: nn.Module) -> LoadedDenoiser:
    schedule, pipeline = Schedule(), "StableDiffusionPipeline"
    if unet != directory:
        schedule = read_schedule(directory)
        if (directory / INDEX).is_file():
            pipeline = str(read_mapping(directory / INDEX, ModelError).get("_class_name", pipeline))
    name = source.name if source.kind == "hf" else directory.name
    revision = f", {source.revision}" if source.revision else ""
    is_random = source.weights == "random"
    told = f"UNet of {name}{revision}{', random weights' if is_random else ''}"
    return LoadedDenoiser(model, schedule, pipeline, is_random, told)
