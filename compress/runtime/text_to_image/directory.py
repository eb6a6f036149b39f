"""What lies in the directory of a pipeline beside its graphs, as diffusers lays it out, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.errors import ArtefactError
from compress.files import read_mapping
from compress.models.denoisers.schedule import INDEX, SCHEDULER
from compress.runtime.artefact import TEXT_ENCODER, UNET, VAE_DECODER
from compress.runtime.text_to_image.prompts import SETTINGS, TOKENIZER
from compress.runtime.text_to_image.schedulers import Scheduler, open_scheduler

VAE_CONFIG = "vae_decoder/config.json"
_PIPELINE = "OnnxStableDiffusionPipeline"
_GRAPH = ["diffusers", "OnnxRuntimeModel"]
_NOTHING = [None, None]


@dataclass(frozen=True)
class Sampling:
    """How an image is made.

    num_steps       of the scheduler.
    guidance_scale  w of classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598): a step goes along
                    noise(negative prompt) + w · (noise(prompt) − noise(negative prompt)), of two evaluations; 1: none.
    """

    num_steps: int
    guidance_scale: float = 7.5

    @property
    def is_guided(self) -> bool:
        return self.guidance_scale != 1


@dataclass(frozen=True)
class Parts:
    """scaling_factor: latents are so many times those of the VAE.  scale: pixels of a latent, in height and width."""

    scheduler: Scheduler
    sampling: Sampling
    scaling_factor: float
    scale: int

    @property
    def num_evaluations(self) -> int:
        """Of the UNet for an image; guidance takes two at a timestep."""
        timesteps = self.scheduler.begin(self.sampling.num_steps).timesteps
        return len(timesteps) * (2 if self.sampling.is_guided else 1)


def index_of(sampling: Sampling, scheduler: str) -> dict[str, Any]:
    """model_index.json: where each part comes from, and what a pipeline is called with.

    scheduler  diffusers' name of it.
    """
    return {
        "_class_name": _PIPELINE,
        **dict.fromkeys(("text_encoder", "unet", "vae_decoder"), _GRAPH),
        **dict.fromkeys(("vae_encoder", "safety_checker", "feature_extractor"), _NOTHING),
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", scheduler],
        "requires_safety_checker": False,
        "num_inference_steps": sampling.num_steps,
        "guidance_scale": sampling.guidance_scale,
    }


def read_parts(directory: Path) -> Parts:
    """Raises ArtefactError for a part that is missing, a file that is damaged, or a scheduler that does not fit."""
    if not directory.is_dir():
        raise ArtefactError(f"{directory}: no such directory: name that of a pipeline that makes images of texts")
    for name in (INDEX, TEXT_ENCODER, UNET, VAE_DECODER, VAE_CONFIG, SCHEDULER, TOKENIZER, SETTINGS):
        if not (directory / name).is_file():
            raise ArtefactError(f"{directory}: a part is missing: it holds no {name}")
    index = read_mapping(directory / INDEX, ArtefactError)
    steps, guidance = index.get("num_inference_steps"), index.get("guidance_scale")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ArtefactError(f"{directory / INDEX}: num_inference_steps is {steps}: a number of steps is wanted")
    if isinstance(guidance, bool) or not isinstance(guidance, int | float) or not guidance >= 1:
        raise ArtefactError(f"{directory / INDEX}: guidance_scale is {guidance}: 1 or more is wanted")
    vae = read_mapping(directory / VAE_CONFIG, ArtefactError)
    factor, blocks = vae.get("scaling_factor"), vae.get("block_out_channels")
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not factor > 0:
        raise ArtefactError(f"{directory / VAE_CONFIG}: scaling_factor is {factor}: a positive number is wanted")
    if not isinstance(blocks, list) or not blocks:
        raise ArtefactError(f"{directory / VAE_CONFIG}: block_out_channels is {blocks}: a list is wanted")
    config = read_mapping(directory / SCHEDULER, ArtefactError)
    scheduler = open_scheduler(config, str(directory / SCHEDULER))
    return Parts(scheduler, Sampling(steps, float(guidance)), float(factor), 2 ** (len(blocks) - 1))
