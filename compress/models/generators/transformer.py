"""FlowTransformer: a diffusion transformer on pixels, for flow matching, conditioned on a class.

Peebles & Xie 2022, arXiv:2212.09748 (patches, adaLN-Zero), without the VAE; the velocity of Lipman et al. 2022,
arXiv:2210.02747; the class that stands for none of Ho & Salimans 2022, arXiv:2207.12598.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_FREQUENCIES = 64  # of the embedding of a timestep: as many cosines, as many sines
_LONGEST = 10_000.0  # period, as a share of the shortest


@dataclass
class GeneratorConfig:
    """What a FlowTransformer is, and how it is sampled; passes change the second (`set_sampling`).

    sample_size          height and width of an image, in pixels.
    in_channels          1 of grey images, 3 of coloured ones.
    patch_size           height and width of a patch, which becomes a token.
    hidden_size          numbers a token.
    num_layers           blocks.
    num_heads            of the attention.
    mlp_ratio            hidden size of the feed-forward, as a multiple of `hidden_size`.
    num_classes          without the one that stands for none, whose number this is.
    num_inference_steps  see `Sampling.num_steps`.
    guidance_scale       see `Sampling`.
    shift                see `Sampling`.
    evaluated_steps      see `Sampling.evaluated`.
    """

    sample_size: int = 8
    in_channels: int = 1
    patch_size: int = 4
    hidden_size: int = 128
    num_layers: int = 4
    num_heads: int = 4
    mlp_ratio: int = 2
    num_classes: int = 10
    num_inference_steps: int = 50
    guidance_scale: float | None = 2.0
    shift: float = 1.0
    evaluated_steps: list[int] | None = None

    def to_dict(self) -> dict[str, Any]:
        """What config.json says: of steps that are spared, only where some are."""
        plain = asdict(self)
        if self.evaluated_steps is None:
            del plain["evaluated_steps"]
        return plain


class FlowTransformer(nn.Module):
    """The velocity of noised images: (hidden_states [N, C, H, W], timestep [N], class_labels [N]) → [N, C, H, W].

    hidden_states  (1 − sigma) · image + sigma · noise, images between −1 and 1.
    timestep       1000 · sigma, float32.
    class_labels   int64; `config.num_classes` stands for none.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        width, patch = config.hidden_size, config.patch_size
        pixels = patch * patch * config.in_channels
        num_patches = (config.sample_size // patch) ** 2
        self.patch_embed = nn.Linear(pixels, width)
        self.positions = nn.Parameter(torch.randn(1, num_patches, width) * 0.02)
        self.time_embed = TimestepEmbedding(width)
        self.class_embed = nn.Embedding(config.num_classes + 1, width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm_out = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.modulation_out = nn.Linear(width, 2 * width)
        self.proj_out = nn.Linear(width, pixels)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.class_embed.weight, std=0.02)
        # adaLN-Zero: each block begins as the identity, and the model as zero
        for layer in (*(block.modulation for block in self.blocks), self.modulation_out, self.proj_out):
            assert isinstance(layer, nn.Linear)
            nn.init.zeros_(layer.weight)

    def forward(self, hidden_states: Tensor, timestep: Tensor, class_labels: Tensor) -> Tensor:
        condition = functional.silu(self.time_embed(timestep) + self.class_embed(class_labels))
        x = self.patch_embed(self._patches(hidden_states)) + self.positions
        for block in self.blocks:
            x = block(x, condition)
        shift, scale = self.modulation_out(condition).unsqueeze(1).chunk(2, dim=-1)
        return self._image(self.proj_out(self.norm_out(x) * (1 + scale) + shift))

    def _patches(self, images: Tensor) -> Tensor:
        """[N, C, H, W] → [N, patches, pixels of a patch]."""
        size, patch, channels = self.config.sample_size, self.config.patch_size, self.config.in_channels
        rows = size // patch
        cut = images.reshape(-1, channels, rows, patch, rows, patch).permute(0, 2, 4, 1, 3, 5)
        return cut.reshape(-1, rows * rows, channels * patch * patch)

    def _image(self, patches: Tensor) -> Tensor:
        """The inverse."""
        size, patch, channels = self.config.sample_size, self.config.patch_size, self.config.in_channels
        rows = size // patch
        laid = patches.reshape(-1, rows, rows, channels, patch, patch).permute(0, 3, 1, 4, 2, 5)
        return laid.reshape(-1, channels, size, size)


class TimestepEmbedding(nn.Module):
    """Cosines and sines of the timestep (Vaswani et al. 2017, section 3.5), through two linear layers."""

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        periods = torch.arange(_FREQUENCIES, dtype=torch.float32) / _FREQUENCIES
        self.register_buffer("frequencies", torch.exp(-math.log(_LONGEST) * periods), persistent=False)
        self.linear_1 = nn.Linear(2 * _FREQUENCIES, width)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, timestep: Tensor) -> Tensor:
        """[N] → [N, width]."""
        angles = timestep.unsqueeze(1) * self.frequencies
        waves = torch.cat([angles.cos(), angles.sin()], dim=1)
        embedded: Tensor = self.linear_2(functional.silu(self.linear_1(waves)))
        return embedded


class Block(nn.Module):
    """Attention and feed-forward, each shifted, scaled and gated by the condition."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.norm1 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.attention = Attention(width, config.num_heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.linear_1 = nn.Linear(width, config.mlp_ratio * width)
        self.linear_2 = nn.Linear(config.mlp_ratio * width, width)
        self.modulation = nn.Linear(width, 6 * width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x [N, T, width], condition [N, width] → [N, T, width]."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition).unsqueeze(1).chunk(6, dim=-1)
        x = x + gate1 * self.attention(self.norm1(x) * (1 + scale1) + shift1)
        hidden = functional.gelu(self.linear_1(self.norm2(x) * (1 + scale2) + shift2), approximate="tanh")
        gated: Tensor = x + gate2 * self.linear_2(hidden)
        return gated


class Attention(nn.Module):
    """Every patch looks at every other."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.to_out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[N, T, width] → [N, T, width]."""
        _, tokens, width = x.shape
        heads = (-1, tokens, self.num_heads, width // self.num_heads)
        q, k, v = (layer(x).reshape(heads).transpose(1, 2) for layer in (self.to_q, self.to_k, self.to_v))
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        out: Tensor = self.to_out(mixed.reshape(-1, tokens, width))
        return out
