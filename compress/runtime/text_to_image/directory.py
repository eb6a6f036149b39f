"""What lies in the directory of a pipeline beside its graphs, as diffusers lays it out, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.errors import ArtefactError
from compress.files import read_mapping
from compress.models.denoisers.schedule import INDEX, SCHEDULER
from compress.models.pipelines.sampling import Sampling
from compress.models.pipelines.schedulers import Scheduler, open_scheduler
from compress.runtime.artefact import TEXT_ENCODER, UNET, VAE_DECODER
from compress.runtime.evaluated_steps import noted_steps, read_steps
from compress.runtime.text_to_image.prompts import SETTINGS, TOKENIZER

VAE_CONFIG = "vae_decoder/config.json"
_PIPELINE = "OnnxStableDiffusionPipeline"
_GRAPH = ["diffusers", "OnnxRuntimeModel"]
_NOTHING = [None, None]


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
        plan = self.sampling
        steps = plan.evaluated or self.scheduler.begin(plan.num_steps).timesteps
        return len(steps) * (2 if plan.is_guided else 1)


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
        **noted_steps(sampling.evaluated),
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
    evaluated = read_steps(index, directory / INDEX, steps)
    if evaluated is not None and not scheduler.can_spare:
        raise ArtefactError(f"{directory / INDEX}: of the steps of a {scheduler.class_name} none can be spared")
    return Parts(scheduler, Sampling(steps, float(guidance), evaluated), float(factor), 2 ** (len(blocks) - 1))
