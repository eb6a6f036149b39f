"""The UNet of Stable Diffusion 1.5 and its like: convolutions at several resolutions, which read a text by cross
attention.  No torch.

Its layers: `conv_in`, `time_embedding`, `down_blocks.N`, `mid_block`, `up_blocks.N`, `conv_out`; most weights are of
convolutions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from compress.errors import ModelError
from compress.models.denoisers.architecture import Architecture, Config
from compress.models.denoisers.inputs import Input

if TYPE_CHECKING:
    from torch import Tensor

CLASS_NAME = "UNet2DConditionModel"
# Parts of a config that ask for more inputs than a sample, its timestep and the text's states.
_MORE_INPUTS = (
    "addition_embed_type",
    "class_embed_type",
    "num_class_embeds",
    "encoder_hid_dim_type",
    "time_cond_proj_dim",
)


def check(config: Config, where: str) -> None:
    for key in _MORE_INPUTS:
        if config.get(key) is not None:
            raise ModelError(
                f"{where}: {key} is {config[key]}: this UNet takes more than a sample, its timestep and one text's "
                f"states: only such as Stable Diffusion 1.5's, without it, or XL's (addition_embed_type: text_time) "
                f"can be compressed here"
            )


def inputs(config: Config, size: int, num_tokens: int, where: str) -> tuple[Input, ...]:
    width = config["cross_attention_dim"]
    if not isinstance(width, int):
        raise ModelError(f"{where}: cross_attention_dim is {width}: one width of text states is wanted")
    return shaped_inputs((config["in_channels"], size, size), (num_tokens, width))


def shaped_inputs(latent_shape: tuple[int, ...], states_shape: tuple[int, ...]) -> tuple[Input, ...]:
    return (
        Input("sample", "latent", latent_shape),
        Input("timestep", "timestep"),
        Input("encoder_hidden_states", "states", states_shape),
    )


def stride(config: Config) -> int:
    """Twice for each block that halves a latent."""
    return int(2 ** (len(config["block_out_channels"]) - 1))


def forward_of(original: Callable[..., Any]) -> Callable[..., Any]:
    def forward(self: Any, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        out: Tensor = original(self, sample, timestep, encoder_hidden_states, return_dict=False)[0]
        return out

    return forward


UNET = Architecture(
    class_name=CLASS_NAME,
    folder="unet",
    pipeline="StableDiffusionPipeline",
    kinds={"sample": "latent", "timestep": "timestep", "encoder_hidden_states": "states"},
    check=check,
    inputs=inputs,
    stride=stride,
    forward=forward_of,
)
