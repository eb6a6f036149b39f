"""Architecture: a class of diffusers that denoises latents, as far as this project must know it.  No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from compress.models.denoisers.inputs import Input, Kind

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Architecture:
    """class_name  of diffusers.
    folder      of a pipeline's directory that holds it.
    pipeline    that it is a part of, where nothing else is said.
    kinds       of its inputs by their names, in the order in which `forward` takes them.
    check       check(config, where) raises ModelError for a config that asks for more inputs than these.
    inputs      inputs(config, size, num_tokens, where) for latents of that height and width and texts of so many
                tokens.  Raises ModelError.
    stride      stride(config): what the height and width of a latent must be divisible by.
    forward     forward(original) is the class's forward as a function of tensors in the order of `kinds`.
    unused      weights of old files that the class has no more.
    adapt       adapt(model) puts what ONNX can express in the place of what it cannot; None: there is nothing.
    sample_size of latents, where configs do not tell it.
    flows       whether it gives the velocity of a flow, and not noise: its scheduler is one of flows then.
    """

    class_name: str
    folder: Literal["unet", "transformer"]
    pipeline: str
    kinds: Mapping[str, Kind]
    check: Callable[[Config, str], None]
    inputs: Callable[[Config, int, int, str], tuple[Input, ...]]
    stride: Callable[[Config], int]
    forward: Callable[[Callable[..., Any]], Callable[..., Any]]
    unused: tuple[str, ...] = ()
    adapt: Callable[[Any], None] | None = None
    flows: bool = False
    sample_size: int | None = None

    @property
    def told(self) -> str:
        """What people call it."""
        return "UNet" if self.folder == "unet" else self.folder
