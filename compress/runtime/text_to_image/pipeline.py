"""TextToImage: images of texts from seeds, the same for the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from compress.errors import ArtefactError
from compress.models.pipelines.sampling import Sampling
from compress.models.pipelines.walk import Walk
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
        texts = [self.states(prompt, negative_prompt, plan) for prompt in prompts]
        walks = [self._walk(states, seed, plan) for states, seed in zip(texts, seeds, strict=True)]
        todo = [(walk, number) for walk in walks for number in range(len(walk))]
        made = []
        for walk, number in progress(todo, "steps", len(todo)):
            walk.step(number)
            if number + 1 == len(walk):
                made.append(self.decoder(walk.sample / np.float32(self.scaling_factor)))
        return np.concatenate(made)

    def _walk(self, states: Float, seed: int, plan: Sampling) -> Walk:
        return Walk(self.scheduler, plan, self.noise(seed), lambda latents, times: self.unet(latents, times, states))


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
