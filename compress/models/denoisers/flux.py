"""Flux: a transformer over patches of a latent and a text's tokens, first side by side, then in one row.  No torch.

Its layers: `x_embedder`, of patches; `context_embedder`, of the text; `time_text_embed`, of the timestep, of the whole
text and, in the version that was distilled from guidance (FLUX.1-dev), of that; `transformer_blocks.N`, with a set of
weights for patches and one for tokens; `single_transformer_blocks.N`, with one for both; `norm_out`, `proj_out`.  It
gives a velocity.

As in diffusers' pipeline, a latent comes as patches of 2 × 2 in a row, and the timestep as a share of 1000.  The places
of patches and tokens, which the pipeline gives as `img_ids` and `txt_ids`, are those of a square latent, and constants.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import isqrt
from typing import TYPE_CHECKING, Any

from compress.models.denoisers.architecture import Architecture, Config
from compress.models.denoisers.inputs import Input

if TYPE_CHECKING:
    from torch import Tensor

CLASS_NAME = "FluxTransformer2DModel"
PATCH = 2  # of latents, which the pipeline cuts
_LATENT = 128  # of an image of 1024 pixels: no config tells it


def is_told_guidance(config: Config) -> bool:
    return bool(config.get("guidance_embeds"))


def check(config: Config, where: str) -> None:
    """There is no config with more inputs."""


def inputs(config: Config, size: int, num_tokens: int, where: str) -> tuple[Input, ...]:
    return (
        Input("hidden_states", "patches", ((size // PATCH) ** 2, config["in_channels"])),
        Input("encoder_hidden_states", "states", (num_tokens, config["joint_attention_dim"])),
        Input("pooled_projections", "pooled", (config["pooled_projection_dim"],)),
        Input("timestep", "share"),
    )


def inputs_of_guided(config: Config, size: int, num_tokens: int, where: str) -> tuple[Input, ...]:
    return (*inputs(config, size, num_tokens, where), Input("guidance", "guidance"))


def stride(config: Config) -> int:
    return PATCH


def forward_of(original: Callable[..., Any]) -> Callable[..., Any]:
    def forward(
        self: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        pooled_projections: Tensor,
        timestep: Tensor,
    ) -> Tensor:
        given = (hidden_states, encoder_hidden_states, pooled_projections, timestep)
        out: Tensor = original(self, *given, *_places(hidden_states, encoder_hidden_states), return_dict=False)[0]
        return out

    return forward


def forward_of_guided(original: Callable[..., Any]) -> Callable[..., Any]:
    def forward(
        self: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        pooled_projections: Tensor,
        timestep: Tensor,
        guidance: Tensor,
    ) -> Tensor:
        given = (hidden_states, encoder_hidden_states, pooled_projections, timestep)
        places = _places(hidden_states, encoder_hidden_states)
        out: Tensor = original(self, *given, *places, guidance, return_dict=False)[0]
        return out

    return forward


def _places(patches: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Of patches [side², 3], each 0, its row and its column, and of tokens [tokens, 3], all 0."""
    import torch

    side = torch.arange(isqrt(patches.shape[1]), dtype=patches.dtype)
    return torch.cartesian_prod(side[:1], side, side), torch.zeros(tokens.shape[1], 3, dtype=patches.dtype)


FLUX = Architecture(
    class_name=CLASS_NAME,
    folder="transformer",
    pipeline="FluxPipeline",
    kinds={
        "hidden_states": "patches",
        "encoder_hidden_states": "states",
        "pooled_projections": "pooled",
        "timestep": "share",
    },
    check=check,
    inputs=inputs,
    stride=stride,
    forward=forward_of,
    flows=True,
    sample_size=_LATENT,
)
FLUX_GUIDED = replace(
    FLUX, kinds={**FLUX.kinds, "guidance": "guidance"}, inputs=inputs_of_guided, forward=forward_of_guided
)
