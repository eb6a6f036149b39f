"""load_pipeline: from what a recipe says to a pipeline that makes images of texts, all its parts in one model.

random:SHAPE     a config of `shapes/`, its UNet and scheduler those of a denoiser's shape, and fresh weights.
path:DIRECTORY   of a StableDiffusionPipeline of diffusers: unet/, vae/, text_encoder/, tokenizer/, scheduler/.
hf:ORG/NAME@REV  such a pipeline on the Hugging Face hub.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import ModelError, require
from compress.files import read_mapping
from compress.models.denoisers.loading import (
    CONFIG,
    WEIGHTS,
    pipeline_directory,
    read_weights,
    require_diffusers,
)
from compress.models.denoisers.schedule import INDEX, SCHEDULER, Schedule, read_schedule, schedule_of
from compress.models.shapes import read_shape
from compress.models.source import DENOISER_SHAPES, PIPELINE_SHAPES, ModelSource

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.models.pipelines.parts import PipelineParts

TEXT_WEIGHTS = "model.safetensors"
_DIRECTORIES = ("unet", "vae", "text_encoder")  # of the parts that have weights, in a source
# What of a repository is downloaded: no other variants of the weights, no safety checker.
_WANTED = (
    INDEX,
    SCHEDULER,
    "tokenizer/*",
    *(f"{part}/{name}" for part in _DIRECTORIES for name in (CONFIG, "*-of-*.safetensors")),
    *(f"{part}/{WEIGHTS}*" for part in _DIRECTORIES[:2]),
    f"text_encoder/{TEXT_WEIGHTS}*",
)


@dataclass(frozen=True)
class LoadedPipeline:
    """model: in eval mode, float32.  schedule: its own scheduler's.  tokenizer: a transformers.CLIPTokenizer.
    See `LoadedModel` for the rest."""

    model: PipelineParts
    schedule: Schedule
    tokenizer: Any
    random_weights: bool
    description: str
    licence: str | None = None


@dataclass(frozen=True)
class _Configs:
    """What the parts are made of, and where each was read."""

    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    text_encoder: Mapping[str, Any]
    schedule: Schedule
    where: str

    def named(self, part: str) -> str:
        return f"{self.where}: {part}"


def load_pipeline(source: ModelSource) -> LoadedPipeline:
    """Raises ModelError for a pipeline that cannot be had, is damaged, lacks a part, whose parts do not fit each other,
    or that holds weights that are no numbers; MissingExtra without torch, diffusers or transformers."""
    _require()
    from compress.models.denoisers.weights import filled_at_random
    from compress.models.finite import check_finite
    from compress.models.pipelines.text_encoder import numbered
    from compress.models.pipelines.tokenizer import made_tokenizer, read_tokenizer

    directory = _directory_of(source)
    configs = _configs(source, directory)
    model = _blank(configs)
    if directory is None or source.weights == "random":
        model = _filled_parts(model, lambda part, blank: filled_at_random(blank, source.seed))
    else:
        model = _filled_parts(model, lambda part, blank: _filled(part, blank, directory))
    numbered(model.text_encoder)
    check_finite(model, source.source)
    if directory is None:
        description = read_shape("pipelines", source.name, PIPELINE_SHAPES)["description"]
        tokenizer = made_tokenizer(model.text_encoder.config)
    else:
        description = source.name if source.kind == "hf" else directory.name
        description += f", {source.revision}" if source.revision else ""
        tokenizer = read_tokenizer(directory / "tokenizer", model.text_encoder.config.vocab_size)
    is_random = directory is None or source.weights == "random"
    told = f"{description}{', random weights' if is_random else ''}"
    return LoadedPipeline(model, configs.schedule, tokenizer, is_random, told)


def layer_names(source: ModelSource) -> Mapping[str, nn.Module]:
    """What selectors can match; no weights are made or read.  Raises ModelError."""
    _require()
    from compress.models.layers import weighted_layers

    return weighted_layers(_blank(_configs(source, _directory_of(source))), True)


def _require() -> None:
    require_diffusers()
    require("transformers", "text encoders", "torch")


def _directory_of(source: ModelSource) -> Path | None:
    return None if source.kind == "random" else pipeline_directory(source, _WANTED)


def _configs(source: ModelSource, directory: Path | None) -> _Configs:
    if directory is None:
        shape = read_shape("pipelines", source.name, PIPELINE_SHAPES)
        denoiser = read_shape("denoisers", shape["denoiser"], DENOISER_SHAPES)
        schedule = schedule_of(denoiser["scheduler"], source.source)
        return _Configs(denoiser["unet"], shape["vae"], shape["text_encoder"], schedule, source.source)
    if not directory.is_dir():
        raise ModelError(f"{directory}: no such directory: name that of a pipeline, which holds {INDEX}")
    for name in (*(f"{part}/{CONFIG}" for part in _DIRECTORIES), SCHEDULER):
        if not (directory / name).is_file():
            raise ModelError(f"{directory}: a part is missing: it holds no {name}")
    unet, vae, text_encoder = (read_mapping(directory / part / CONFIG, ModelError) for part in _DIRECTORIES)
    return _Configs(unet, vae, text_encoder, read_schedule(directory), str(directory))


def _blank(configs: _Configs) -> PipelineParts:
    """On the meta device, without weights.  Raises ModelError for parts that do not fit each other."""
    from compress.models.denoisers.building import blank
    from compress.models.denoisers.unet import UNET
    from compress.models.pipelines.parts import PipelineParts, check_fit
    from compress.models.pipelines.text_encoder import blank_text_encoder
    from compress.models.pipelines.vae import blank_decoder

    assert configs.schedule.config is not None  # `_configs` has seen to it
    model = PipelineParts(
        blank_text_encoder(configs.text_encoder, configs.named("text_encoder")),
        blank(UNET, configs.unet, configs.named("unet")),
        blank_decoder(configs.vae, configs.named("vae")),
        configs.schedule.config,
    )
    check_fit(model, configs.where)
    return model.eval()


def _filled_parts(model: PipelineParts, filled: Any) -> PipelineParts:
    """Each part filled by filled(name, part)."""
    from compress.models.pipelines.parts import PARTS

    for part in PARTS:
        setattr(model, part, filled(part, getattr(model, part)))
    return model


def _filled(part: str, blank: nn.Module, directory: Path) -> nn.Module:
    from compress.models.denoisers.weights import unfilled
    from compress.models.pipelines.text_encoder import text_weights
    from compress.models.pipelines.vae import decoder_weights
    from compress.models.sources.path import fill

    place = directory / {"vae_decoder": "vae"}.get(part, part)
    state: dict[str, Tensor]
    if part == "text_encoder":
        state = text_weights(read_weights(place, TEXT_WEIGHTS))
    else:
        state = read_weights(place)
        state = decoder_weights(state) if part == "vae_decoder" else state
    model = unfilled(blank)
    fill(model, state, str(place))
    return model
