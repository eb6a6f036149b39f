"""The transformer of Stable Diffusion 3 and 3.5: patches of a latent and a text's tokens, read together.  No torch.

Its layers: `pos_embed.proj`, the convolution that makes patches; `time_text_embed`, of the timestep and of the whole
text; `context_embedder`, from the text's width to its own; `transformer_blocks.N`, whose `attn` has a set of weights
for patches (`to_q` …) and one for tokens (`add_q_proj` …); `norm_out`, `proj_out`.  It gives a velocity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from compress.errors import ModelError
from compress.models.denoisers.architecture import Architecture, Config
from compress.models.denoisers.inputs import Input

if TYPE_CHECKING:
    from torch import Tensor

CLASS_NAME = "SD3Transformer2DModel"


def check(config: Config, where: str) -> None:
    """There is no config with more inputs."""


def inputs(config: Config, size: int, num_tokens: int, where: str) -> tuple[Input, ...]:
    largest = config["pos_embed_max_size"] * config["patch_size"]
    if size > largest:
        raise ModelError(f"{where}: sample_size is {size}: latents are of {largest} at the most (pos_embed_max_size)")
    return (
        Input("hidden_states", "latent", (config["in_channels"], size, size)),
        Input("encoder_hidden_states", "states", (num_tokens, config["joint_attention_dim"])),
        Input("pooled_projections", "pooled", (config["pooled_projection_dim"],)),
        Input("timestep", "timestep"),
    )


def stride(config: Config) -> int:
    return int(config["patch_size"])


def forward_of(original: Callable[..., Any]) -> Callable[..., Any]:
    def forward(
        self: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        pooled_projections: Tensor,
        timestep: Tensor,
    ) -> Tensor:
        out: Tensor = original(
            self, hidden_states, encoder_hidden_states, pooled_projections, timestep, return_dict=False
        )[0]
        return out

    return forward


SD3 = Architecture(
    class_name=CLASS_NAME,
    folder="transformer",
    pipeline="StableDiffusion3Pipeline",
    kinds={
        "hidden_states": "latent",
        "encoder_hidden_states": "states",
        "pooled_projections": "pooled",
        "timestep": "timestep",
    },
    check=check,
    inputs=inputs,
    stride=stride,
    forward=forward_of,
    flows=True,
)
