"""The UNet of Stable Diffusion XL: that of 1.5 with deeper transformers, told the whole text in one vector and the
sizes of images too.  No torch.

Its layers are those of `unet.py`, and `add_embedding`, which puts vector and sizes on the timestep's embedding.
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

ADDITION = "text_time"
_NUM_SIZES = 6  # height and width of the original, of its corner that was cut off, of what is wanted


def is_config(config: Config) -> bool:
    """Whether a UNet's config asks for these inputs."""
    return config.get("addition_embed_type") == ADDITION


def check(config: Config, where: str) -> None:
    unet.check({**config, "addition_embed_type": None}, where)


def inputs(config: Config, size: int, num_tokens: int, where: str) -> tuple[Input, ...]:
    width = config["projection_class_embeddings_input_dim"] - _NUM_SIZES * config["addition_time_embed_dim"]
    if width <= 0:
        raise ModelError(
            f"{where}: projection_class_embeddings_input_dim is {config['projection_class_embeddings_input_dim']}: "
            f"more than {_NUM_SIZES} times addition_time_embed_dim is wanted, the rest is the text's"
        )
    return (
        *unet.inputs(config, size, num_tokens, where),
        Input("text_embeds", "pooled", (width,)),
        Input("time_ids", "sizes", (_NUM_SIZES,)),
    )


def forward_of(original: Callable[..., Any]) -> Callable[..., Any]:
    def forward(
        self: Any,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        text_embeds: Tensor,
        time_ids: Tensor,
    ) -> Tensor:
        added = {"text_embeds": text_embeds, "time_ids": time_ids}
        out: Tensor = original(
            self, sample, timestep, encoder_hidden_states, added_cond_kwargs=added, return_dict=False
        )[0]
        return out

    return forward


UNET_XL = Architecture(
    class_name=unet.CLASS_NAME,
    folder="unet",
    pipeline="StableDiffusionXLPipeline",
    kinds={**unet.UNET.kinds, "text_embeds": "pooled", "time_ids": "sizes"},
    check=check,
    inputs=inputs,
    stride=unet.stride,
    forward=forward_of,
)
