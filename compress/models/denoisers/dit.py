"""DiT: a transformer over patches of a latent that is told a class.  No torch.

Its layers: `pos_embed.proj`, the convolution that makes patches; `transformer_blocks.N` with `norm1` (a table of
classes, an embedding of the timestep, and a linear layer that makes shifts, scales and gates of both), `attn1` and
`ff`; `proj_out_1`, `proj_out_2`.  It gives the noise and, in as many channels more, the variance that it has learned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from compress.models.denoisers.architecture import Architecture, Config
from compress.models.denoisers.inputs import Input

if TYPE_CHECKING:
    from torch import Tensor

CLASS_NAME = "DiTTransformer2DModel"


def check(config: Config, where: str) -> None:
    """There is no config with more inputs."""


def inputs(config: Config, size: int, num_tokens: int, where: str) -> tuple[Input, ...]:
    return (
        Input("hidden_states", "latent", (config["in_channels"], size, size)),
        Input("timestep", "timestep"),
        Input("class_labels", "label", count=config["num_embeds_ada_norm"]),
    )


def stride(config: Config) -> int:
    return int(config["patch_size"])


def forward_of(original: Callable[..., Any]) -> Callable[..., Any]:
    def forward(self: Any, hidden_states: Tensor, timestep: Tensor, class_labels: Tensor) -> Tensor:
        out: Tensor = original(self, hidden_states, timestep, class_labels, return_dict=False)[0]
        return out

    return forward


DIT = Architecture(
    class_name=CLASS_NAME,
    folder="transformer",
    pipeline="DiTPipeline",
    kinds={"hidden_states": "latent", "timestep": "timestep", "class_labels": "label"},
    check=check,
    inputs=inputs,
    stride=stride,
    forward=forward_of,
)
