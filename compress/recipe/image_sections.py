"""Sections of tasks that make images, or steps on the way to them: see `compress.recipe.sections`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, TypeAlias

from annotated_types import Ge, Interval

Seed: TypeAlias = Annotated[int, Interval(ge=0, le=2**32 - 1)]


@dataclass(frozen=True)
class ImageGenerationSpec:
    """Make images of classes: distances to real images in a classifier's features, precision and recall among them, the
    classes that it sees, and how near each image is to the float model's of the same seed.

    dataset          real images that the made ones are compared with: digits, parquet:PATH, folder:PATH or hf:NAME,
                     each with an optional slice of rows.
    num_images       that are made for the scores, of all classes in turn.
    features         the network whose features distances are taken in; they are named after it. The distance in those
                     of inception-2015 is FID.
    feature_weights  a file of its weights, where they do not ship: those of cifar-resnet56 and of inception-2015, which
                     wants the extra 'fid'.
    lpips            compare images with the float model's by that distance as well, from 32 pixels on; it wants the
                     extra 'lpips', and fetches AlexNet's weights.
    seed             of the first image; each takes the next number.
    batch_size       images that are made together.
    """

    name: ClassVar[str] = "image_generation"
    scores: ClassVar[tuple[str, ...]] = (
        "frechet_digits_mlp",
        "class_accuracy_digits_mlp",
        "precision_digits_mlp",
        "recall_digits_mlp",
        "frechet_cifar_resnet56",
        "class_accuracy_cifar_resnet56",
        "precision_cifar_resnet56",
        "recall_cifar_resnet56",
        "frechet_inception_2015",
        "precision_inception_2015",
        "recall_inception_2015",
    )

    dataset: str = "digits"
    num_images: Annotated[int, Ge(2)] = 1000
    features: Literal["digits-mlp", "cifar-resnet56", "inception-2015"] = "digits-mlp"
    feature_weights: str | None = None
    lpips: bool = False
    seed: Seed = 0
    batch_size: Annotated[int, Ge(1)] = 100


@dataclass(frozen=True)
class DenoisingSpec:
    """Denoise latents: how far the noise that a UNet or a transformer of diffusers gives is from the float model's, in
    decibels, on latents and text states or classes that are drawn. Of random weights too this tells what compressing
    does; what it does to images it does not tell.

    dataset      drawn: from seeds, normal values; no other is known.
    num_samples  that the scores are taken on, at timesteps spread evenly over the scheduler's.
    sample_size  height and width of the latents, which the graph keeps to; null: the model's own, 64 of Stable
                 Diffusion 1.5 for images of 512 pixels.
    num_tokens   of the text states; without effect where a class is told and no text.
    seed         of the samples.
    """

    name: ClassVar[str] = "denoising"
    scores: ClassVar[tuple[str, ...]] = ()  # none that can be worse than the float model's: it is compared with itself

    dataset: Literal["drawn"] = "drawn"
    num_samples: Annotated[int, Ge(2)] = 8
    sample_size: Annotated[int, Ge(1)] | None = None
    num_tokens: Annotated[int, Ge(1)] = 77
    seed: Seed = 0


@dataclass(frozen=True)
class TextToImageSpec:
    """Make images of texts with a whole pipeline of diffusers: how near each image is to the float pipeline's of the
    same prompt and seed. Of random weights too this tells what compressing does; how good images are it does not tell.

    dataset          prompts: demo, or text:PATH, one a line, each with an optional slice.
    num_images       that are made for the scores, of the prompts in turn.
    num_steps        of the scheduler for an image.
    guidance_scale   how far each step is led away from the negative prompt; 1: not at all, with half the evaluations.
    negative_prompt  what it is led away from.
    scheduler        that makes the steps; null: the pipeline's own.
    image_size       height and width in pixels, which the graphs keep to; null: the model's own, 512 of Stable
                     Diffusion 1.5.
    lpips            compare images with the float pipeline's by that distance as well; it wants the extra 'lpips', and
                     fetches AlexNet's weights.
    seed             of the first image; each takes the next number.
    """

    name: ClassVar[str] = "text_to_image"
    scores: ClassVar[tuple[str, ...]] = ()  # none that can be worse than the float model's: it is compared with itself

    dataset: str = "demo[32:]"
    num_images: Annotated[int, Ge(2)] = 4
    num_steps: Annotated[int, Interval(ge=1, le=1000)] = 20
    guidance_scale: Annotated[float, Interval(ge=1, le=100)] = 7.5
    negative_prompt: str = ""
    scheduler: Literal["ddim", "euler", "dpm-solver++", "pndm"] | None = None
    image_size: Annotated[int, Ge(8)] | None = None
    lpips: bool = False
    seed: Seed = 0
