"""PixArt-α and PixArt-Σ: a transformer over patches of a latent, which reads a text by cross attention.  No torch.

Its layers: `pos_embed.proj`, the convolution that makes patches; `adaln_single`, the embedding of the timestep, from
which each block takes its shifts, scales and gates; `caption_projection`; `transformer_blocks.N` with `attn1` (itself),
`attn2` (the text) and `ff`; `proj_out`.  All but the first are linear.  It gives the noise and, in as many channels
more, the variance that it has learned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from compress.errors import ModelError
from compress.models.denoisers.architecture import Architecture, Config
from compress.models.denoisers.inputs import Input

if TYPE_CHECKING:
    from torch import Tensor

CLASS_NAME = "PixArtTransformer2DModel"
_SIZE_OF_CONDITIONS = 128  # of latents, from which on diffusers gives the resolution too where the config is silent


def check(config: Config, where: str) -> None:
    conditions = config.get("use_additional_conditions")
    if conditions or (conditions is None and config.get("sample_size", _SIZE_OF_CONDITIONS) == _SIZE_OF_CONDITIONS):
        raise ModelError(
            f"{where}: use_additional_conditions is {conditions}, latents are of {config.get('sample_size')}: this "
            f"transformer takes the resolution and the aspect ratio too: only such as PixArt-XL-2-512x512 or "
            f"PixArt-Sigma, without them, can be compressed here"
        )
    if not isinstance(config.get("cross_attention_dim", 1152), int):
        raise ModelError(f"{where}: cross_attention_dim is {config['cross_attention_dim']}: the text's width is wanted")


def inputs(config: Config, size: int, num_tokens: int, where: str) -> tuple[Input, ...]:
    width = config["caption_channels"] or config["cross_attention_dim"]
    return (
        Input("hidden_states", "latent", (config["in_channels"], size, size)),
        Input("encoder_hidden_states", "states", (num_tokens, width)),
        Input("timestep", "timestep"),
        Input("encoder_attention_mask", "mask", (num_tokens,)),
    )


def stride(config: Config) -> int:
    return int(config["patch_size"])


def forward_of(original: Callable[..., Any]) -> Callable[..., Any]:
    def forward(
        self: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        timestep: Tensor,
        encoder_attention_mask: Tensor,
    ) -> Tensor:
        import torch

        mask = encoder_attention_mask
        torch._check(mask.shape[0] == hidden_states.shape[0])  # diffusers reshapes it before anything else says so
        out: Tensor = original(
            self, hidden_states, encoder_hidden_states, timestep, encoder_attention_mask=mask, return_dict=False
        )[0]
        return out

    return forward


PIXART = Architecture(
    class_name=CLASS_NAME,
    folder="transformer",
    pipeline="PixArtAlphaPipeline",
    kinds={
        "hidden_states": "latent",
        "encoder_hidden_states": "states",
        "timestep": "timestep",
        "encoder_attention_mask": "mask",
    },
    check=check,
    inputs=inputs,
    stride=stride,
    forward=forward_of,
    unused=("caption_projection.y_embedding",),
)
