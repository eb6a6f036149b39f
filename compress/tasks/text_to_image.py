"""ImagesOfTexts: images of prompts from fixed seeds, against those that the float pipeline makes of the same."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar

from compress.tasks.base import Float, Scores
from compress.tasks.image_scores import likeness
from compress.tasks.lpips import perceptual_distance


@dataclass(frozen=True)
class ImagesOfTexts:
    """Image i is of prompt i modulo their number, from the seed `seed` + i.

    prompts         in order.
    num_images      that are made.
    num_steps       of the scheduler.
    guidance_scale  1: none.
    negative_prompt that guidance leads away from.
    image_size      height and width, in pixels.
    scheduler       diffusers' name of it.
    lpips           whether images are compared by that distance as well.
    """

    name: ClassVar[str] = "text_to_image"

    prompts: tuple[str, ...]
    num_images: int
    num_steps: int
    guidance_scale: float
    negative_prompt: str
    image_size: int
    scheduler: str
    seed: int = 0
    lpips: bool = False

    @property
    def texts(self) -> list[str]:
        """[num_images]"""
        return [self.prompts[number % len(self.prompts)] for number in range(self.num_images)]

    @property
    def seeds(self) -> range:
        return range(self.seed, self.seed + self.num_images)

    def score(self, images: Float) -> Scores:
        """Nothing: how well an image shows what was asked for, no score here tells."""
        return {}

    def compare(self, images: Float, reference: Float) -> Scores:
        """Against the float pipeline's images of the same prompts and seeds.

        psnr_db  of the mean squared error of all; bootstrap.
        ssim     mean over the images; Student's interval.
        lpips    mean over the images, if it was asked for; Student's interval.
        """
        found = likeness(images, reference, self.seed)
        return {**found, "lpips": perceptual_distance(images, reference)} if self.lpips else found

    def fingerprint(self) -> str:
        """sha256 of all that decides which images are made."""
        return hashlib.sha256(repr(self).encode()).hexdigest()
