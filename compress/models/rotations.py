"""Orthogonal matrices folded into the weights of layers, one weight at a time, in float64 chunk by chunk.

Convention: rows.  A tensor x becomes x·Q; what writes it has its outputs rotated, what reads it its inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from compress.models.folding import in_features, out_features
from compress.models.layers import raw_weight
from compress.models.low_rank import LowRank
from compress.models.residual import Norm, Residual
from compress.numerics.hadamard import Rotation

CHUNK = 1 << 22  # numbers of a weight that are in float64 at a time

# The layers of an attention that make values and that read them, and where the width of a head is said.
_NAMES = (("v_proj", "o_proj", "head_dim"), ("v_proj", "out_proj", "head_dim"), ("v", "o", "key_value_proj_dim"))


@dataclass(frozen=True)
class Values:
    """An attention's values between two layers: out = Σₖ pₖ·vₖ for each head, which Q on every vₖ turns by Q.

    value      the layer that writes `key_heads` heads of `head_dim` numbers.
    output     the layer that reads `heads` of them: as many queries, one after the other, share each of the values.
    """

    value: str
    output: str
    heads: int
    key_heads: int
    head_dim: int


def attention_values(model: nn.Module) -> list[Values]:
    """Of all attentions, of encoders and decoders, self and cross; of layers of low rank the factor at the values."""
    found = []
    for name, module in model.named_modules():
        for value, output, width_name in _NAMES:
            width, ends = (
                getattr(module, width_name, None),
                (getattr(module, value, None), getattr(module, output, None)),
            )
            if isinstance(width, int) and all(isinstance(end, nn.Linear | LowRank) for end in ends):
                prefix = f"{name}." if name else ""
                found += _values(model, f"{prefix}{value}", f"{prefix}{output}", width)
    return found


def rotate_values(model: nn.Module, values: Values, rotation: Rotation) -> None:
    """rotation: a block for each head of values."""
    rotate_outputs(model.get_submodule(values.value), rotation)
    rotate_inputs(model.get_submodule(values.output), rotation.repeated(values.heads // values.key_heads))


def rotate_residual(model: nn.Module, residual: Residual, rotation: Rotation) -> None:
    """Rotate the stream, and fold the weights of its norms into what reads them.

    A norm before a head that is tied to the embedding stays: its weight must be the same for all numbers.
    """
    table = model.get_submodule(residual.table)
    for norm in residual.norms:
        layers = [model.get_submodule(name) for name in norm.readers]
        own = [layer for layer in layers if raw_weight(layer) is not raw_weight(table)]
        module: Any = model.get_submodule(norm.name)
        gain = module.weight.detach().double() + norm.offset if len(own) == len(layers) else None
        for layer in own:
            rotate_inputs(layer, rotation, gain)
        if gain is not None:
            module.weight.data.fill_(1.0 - norm.offset)
    rotate_inputs(table, rotation)
    for name in residual.writers:
        rotate_outputs(model.get_submodule(name), rotation)


def tied_norm(model: nn.Module, residual: Residual) -> Norm | None:
    """The norm before a head that is tied to the embedding, if it keeps the stream from being rotated: its weights are
    not all the same, so that no rotation passes it, and the head cannot take them without the embedding."""
    table = raw_weight(model.get_submodule(residual.table))
    for norm in residual.norms:
        weight = raw_weight(model.get_submodule(norm.name))
        assert weight is not None
        tied = any(raw_weight(model.get_submodule(name)) is table for name in norm.readers)
        if tied and not bool((weight == weight[0]).all()):
            return norm
    return None


def rotate_inputs(layer: nn.Module, rotation: Rotation, gain: Tensor | None = None) -> None:
    """W·diag(gain)·Q in the place of W [out, in]; so for the rows of an embedding."""
    weight = _weight(layer)
    for rows in torch.split(weight, max(1, CHUNK // weight.shape[1])):
        rows.copy_(rotation(rows if gain is None else rows.double() * gain))


def rotate_outputs(layer: nn.Module, rotation: Rotation) -> None:
    """Qᵀ·W in the place of W [out, in], and b·Q in that of a bias."""
    weight = _weight(layer)
    for columns in torch.split(weight, max(1, CHUNK // weight.shape[0]), dim=1):
        columns.copy_(rotation(columns.T).T)
    bias = getattr(layer, "bias", None)
    if isinstance(bias, Tensor):
        bias.data.copy_(rotation(bias.data))


def _values(model: nn.Module, value: str, output: str, head_dim: int) -> list[Values]:
    """One, if the layers consist of heads of this width, each of the values' for as many of the output's."""
    if isinstance(model.get_submodule(value), LowRank):
        value = f"{value}.1"
    if isinstance(model.get_submodule(output), LowRank):
        output = f"{output}.0"
    written, read = out_features(model, value), in_features(model, output)
    fits = written % head_dim == 0 and read % written == 0
    return [Values(value, output, read // head_dim, written // head_dim, head_dim)] if fits else []


def _weight(layer: nn.Module) -> Tensor:
    weight = raw_weight(layer)
    assert weight is not None
    return weight.data
