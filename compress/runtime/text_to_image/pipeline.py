"""TextToImage: images of texts from seeds, the same for the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from compress.errors import ArtefactError
from compress.models.pipelines.sampling import Sampling
from compress.models.pipelines.schedulers import Steps
from compress.numerics.reuse import Evaluated
from compress.passes.base import Progress, silent
from compress.runtime.artefact import TEXT_ENCODER, UNET, VAE_DECODER, Artefact
from compress.runtime.denoising import NoiseGraph, open_unet
from compress.runtime.text_to_image.directory import Parts, read_parts
from compress.runtime.text_to_image.graphs import Graph, open_decoder, open_text_encoder
from compress.runtime.text_to_image.prompts import Prompts, open_prompts
from compress.tasks.base import Float


class TextToImage:
    """Makes images one after another, so that none depends on which others are made.  See `Parts` for the rest."""

    def __init__(self, parts: Parts, prompts: Prompts, text_encoder: Graph, unet: NoiseGraph, decoder: Graph) -> None:
        self.scheduler, self.sampling = parts.scheduler, parts.sampling
        self.scaling_factor, self.scale = parts.scaling_factor, parts.scale
        self.prompts, self.text_encoder, self.unet, self.decoder = prompts, text_encoder, unet, decoder

    @property
    def image_size(self) -> int:
        """Height and width, in pixels."""
        return self.unet.latent_shape[1] * self.scale

    def noise(self, seed: int) -> Float:
        """[1, C, h, w] of normal values."""
        return np.random.default_rng(seed).standard_normal((1, *self.unet.latent_shape), np.float32)

    def states(self, prompt: str, negative_prompt: str, sampling: Sampling) -> Float:
        """What the UNet reads: [1, L, D] of the prompt or, guided, [2, L, D], that of the negative one first.

        Raises DataError for a prompt that is too long.
        """
        texts = [negative_prompt, prompt] if sampling.is_guided else [prompt]
        return self.text_encoder(np.concatenate([self.prompts(text) for text in texts]))

    def __call__(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        sampling: Sampling | None = None,
        negative_prompt: str = "",
        progress: Progress = silent,
    ) -> Float:
        """Images [N, 3, H, W], about between −1 and 1, one of each prompt from the seed beside it.

        sampling  in place of the artefact's own.
        progress  draws a bar over the evaluations of all images, guided ones as one.

        Raises DataError for a prompt that is too long, or a number of steps that the scheduler does not make.
        """
        plan = sampling or self.sampling
        ways = [self.scheduler.begin(plan.num_steps) for _ in prompts]
        texts = [self.states(prompt, negative_prompt, plan) for prompt in prompts]
        latents = [way.scale * self.noise(seed) for way, seed in zip(ways, seeds, strict=True)]
        todo = [(image, number) for image, way in enumerate(ways) for number in range(len(way.timesteps))]
        made, known = [], [Evaluated() for _ in prompts]
        for image, number in progress(todo, "steps", len(todo)):
            way = ways[image]
            if plan.evaluated is None or number in plan.evaluated:
                output = self._output(way, number, latents[image], texts[image], plan)
                known[image].keep(float(way.timesteps[number]), output)
            else:
                output = known[image].forecast(float(way.timesteps[number]))
            latents[image] = way.step(output, latents[image], number)
            if number + 1 == len(way.timesteps):
                made.append(self.decoder(latents[image] / np.float32(self.scaling_factor)))
        return np.concatenate(made)

    def _output(self, way: Steps, number: int, latent: Float, states: Float, plan: Sampling) -> Float:
        """Of one evaluation or, guided, of the two of the latent's negative and its own states."""
        given = np.repeat(way.given(latent, number), len(states), axis=0)
        found = self.unet(given, np.repeat(way.timesteps[number : number + 1], len(states)), states)
        if plan.is_guided:
            without, noise = np.split(found, 2)
            found = without + np.float32(plan.guidance_scale) * (noise - without)
        return found


def is_pipeline(directory: Path) -> bool:
    """Whether a part of a pipeline lies in the directory, so that others may be missed."""
    return any((directory / name).is_file() for name in (TEXT_ENCODER, UNET, VAE_DECODER))


def open_pipeline(source: Artefact | str | Path, threads: int = 2) -> TextToImage:
    """Open the pipeline in a directory, with `threads` threads inside an operator.

    Raises ArtefactError for a directory that holds none, or whose parts are missing, damaged or do not fit each other.
    """
    directory = source.directory if isinstance(source, Artefact) else Path(source)
    parts = read_parts(directory)
    unet = open_unet(directory, threads)
    text_encoder = open_text_encoder(directory / TEXT_ENCODER, threads)
    decoder = open_decoder(directory / VAE_DECODER, threads)
    if decoder.sizes != unet.latent_shape:
        ours, theirs = (" × ".join(map(str, sizes)) for sizes in (unet.latent_shape, decoder.sizes))
        raise ArtefactError(f"{directory}: the UNet makes latents of {ours}, the VAE's decoder takes {theirs}")
    if text_encoder.sizes[0] != unet.states_shape[0]:
        raise ArtefactError(
            f"{directory}: the text encoder takes {text_encoder.sizes[0]} tokens, the UNet reads {unet.states_shape[0]}"
        )
    return TextToImage(parts, open_prompts(directory, text_encoder.sizes[0]), text_encoder, unet, decoder)
