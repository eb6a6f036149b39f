"""Rotary positions: cosines and sines of this call's positions alone, so that no table is stored or made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from compress.errors import ModelError
from compress.exporter.text.builder import FLOAT, MICROSOFT, Builder

if TYPE_CHECKING:
    from torch import Tensor


class Rotary:
    """cos and sin [batch·sequence, dim/2] for frequencies [dim/2]; token (b, s) has the row b·sequence + s."""

    def __init__(self, builder: Builder, positions: ir.Value, inv_freq: Tensor, scaling: float, name: str) -> None:
        self.builder, self.dim = builder, 2 * inv_freq.numel()
        frequencies = builder.shared_constant(inv_freq.detach().float().cpu().numpy()[None])
        flat = builder.once("Reshape", builder.once("Cast", positions, to=FLOAT), builder.integers(-1, 1))
        angles = builder.op("Mul", flat, frequencies, name=name)
        self.cos, self.sin = builder.op("Cos", angles), builder.op("Sin", angles)
        if scaling != 1.0:
            factor = builder.scalar(scaling)
            self.cos, self.sin = builder.op("Mul", self.cos, factor), builder.op("Mul", self.sin, factor)
        count = builder.once("Squeeze", builder.once("Shape", flat, start=0, end=1))
        zero, one = builder.scalar(0, np.int64), builder.scalar(1, np.int64)
        rows = builder.once("Range", zero, count, one)
        self.rows = builder.once("Reshape", rows, builder.once("Shape", positions))

    def __call__(self, x: ir.Value, num_heads: int, head_dim: int) -> ir.Value:
        """x [batch, sequence, heads·head_dim], the first `dim` of each head turned, halves paired."""
        partial: dict[str, Any] = (
            {} if self.dim == head_dim else {"rotary_embedding_dim": self.dim, "num_heads": num_heads}
        )
        inputs = (x, self.rows, self.cos, self.sin)
        # interleaved is the default, spelt out: OpenVINO's reader asks for it
        return self.builder.op("RotaryEmbedding", *inputs, domain=MICROSOFT, interleaved=0, **partial)


def rotaries(builder: Builder, model: Any, positions: ir.Value) -> dict[str, Rotary]:
    """By layer type, or by '' where all layers share one.

    Raises ModelError for frequencies that depend on the length of the text.
    """
    module = model.rotary_emb
    kinds = module.rope_type if isinstance(module.rope_type, dict) else {"": module.rope_type}
    found = {}
    for layer_type, kind in kinds.items():
        if kind == "longrope":
            raise ModelError(f"rope_type '{kind}': its frequencies depend on the length of the text: not supported")
        prefix = f"{layer_type}_" if layer_type else ""
        inv_freq = getattr(module, f"{prefix}inv_freq")
        scaling = float(getattr(module, f"{prefix}attention_scaling"))
        found[layer_type] = Rotary(builder, positions, inv_freq, scaling, f"rotary{layer_type and '.'}{layer_type}")
    return found
