"""SANA: a transformer over a small latent of many channels, whose attention is linear in the number of places; it reads
a text by cross attention.  No torch.

Its layers: `patch_embed.proj`; `time_embed`; `caption_projection`; `transformer_blocks.N` with `attn1` (linear,
itself), `attn2` (the text) and `ff`, a mix of convolutions; `proj_out`.  It gives a velocity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from compress.errors import ModelError
from compress.models.denoisers.architecture import Architecture, Config
from compress.models.denoisers.inputs import Input

if TYPE_CHECKING:
    from torch import Tensor

CLASS_NAME = "SanaTransformer2DModel"


def check(config: Config, where: str) -> None:
    if config.get("guidance_embeds"):
        raise ModelError(
            f"{where}: guidance_embeds is true: this transformer takes the guidance too (SANA-Sprint): only such as "
            f"SANA and SANA-1.5, without it, can be compressed here"
        )


def inputs(config: Config, size: int, num_tokens: int, where: str) -> tuple[Input, ...]:
    return (
        Input("hidden_states", "latent", (config["in_channels"], size, size)),
        Input("encoder_hidden_states", "states", (num_tokens, config["caption_channels"])),
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

        for each in (timestep, encoder_hidden_states, encoder_attention_mask):
            torch._check(each.shape[0] == hidden_states.shape[0])  # diffusers reshapes before anything else says so
        out: Tensor = original(
            self,
            hidden_states,
            encoder_hidden_states,
            timestep,
            encoder_attention_mask=encoder_attention_mask,
            return_dict=False,
        )[0]
        return out

    return forward


def adapt(model: Any) -> None:
    from compress.models.denoisers.linear_attention import LinearAttention

    for block in model.transformer_blocks:
        block.attn1.set_processor(LinearAttention())


SANA = Architecture(
    class_name=CLASS_NAME,
    folder="transformer",
    pipeline="SanaPipeline",
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
    adapt=adapt,
    flows=True,
)
