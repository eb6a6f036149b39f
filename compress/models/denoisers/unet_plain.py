"""UNets that read no text: they are told nothing but the timestep, or a class.  No torch.

Their layers are those of `unet.py` without cross attention, and `class_embedding`, a table of classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from compress.errors import ModelError
from compress.models.denoisers import unet
from compress.models.denoisers.architecture import Architecture, Config
from compress.models.denoisers.inputs import Input

if TYPE_CHECKING:
    from torch import Tensor

CLASS_NAME = "UNet2DModel"
_TABLE = "num_class_embeds"


def is_told_a_class(config: Config) -> bool:
    return config.get(_TABLE) is not None


def check(config: Config, where: str) -> None:
    kind = config.get("class_embed_type")
    if kind is not None:
        raise ModelError(
            f"{where}: class_embed_type is {kind}: only a table of classes ({_TABLE}, without it) is known here"
        )


def inputs(config: Config, size: int, num_tokens: int, where: str) -> tuple[Input, ...]:
    return (Input("sample", "latent", (config["in_channels"], size, size)), Input("timestep", "timestep"))


def inputs_of_classes(config: Config, size: int, num_tokens: int, where: str) -> tuple[Input, ...]:
    return (*inputs(config, size, num_tokens, where), Input("class_labels", "class", count=config[_TABLE]))


def forward_of(original: Callable[..., Any]) -> Callable[..., Any]:
    def forward(self: Any, sample: Tensor, timestep: Tensor) -> Tensor:
        out: Tensor = original(self, sample, timestep, return_dict=False)[0]
        return out

    return forward


def forward_of_classes(original: Callable[..., Any]) -> Callable[..., Any]:
    def forward(self: Any, sample: Tensor, timestep: Tensor, class_labels: Tensor) -> Tensor:
        out: Tensor = original(self, sample, timestep, class_labels, return_dict=False)[0]
        return out

    return forward


UNET_PLAIN = Architecture(
    class_name=CLASS_NAME,
    folder="unet",
    pipeline="DDPMPipeline",
    kinds={"sample": "latent", "timestep": "timestep"},
    check=check,
    inputs=inputs,
    stride=unet.stride,
    forward=forward_of,
)
UNET_OF_CLASSES = Architecture(
    class_name=CLASS_NAME,
    folder="unet",
    pipeline="DDPMPipeline",
    kinds={"sample": "latent", "timestep": "timestep", "class_labels": "class"},
    check=check,
    inputs=inputs_of_classes,
    stride=unet.stride,
    forward=forward_of_classes,
)
