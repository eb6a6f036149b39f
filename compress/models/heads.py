"""Attention heads as data: which attentions a model has, and a model with some heads fewer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from compress.models.attention import SplitAttention
from compress.models.structure import first_size, set_parameter


@dataclass(frozen=True)
class Heads:
    """An attention whose heads can go.

    name      of its module.
    inputs    its layers for queries, keys and values; one, where a single layer gives all three.
    output    the layer that reads all heads, one after the other.
    heads     of queries; key_heads: of keys and values, each read by the same number of query heads.
    head_dim  the width of one.
    """

    name: str
    inputs: tuple[str, ...]
    output: str
    heads: int
    key_heads: int
    head_dim: int

    @property
    def unit(self) -> int:
        """Query heads that go together: all that share a head of keys and values; one by one where all share one."""
        return 1 if self.key_heads == 1 else self.heads // self.key_heads

    @property
    def num_units(self) -> int:
        return self.heads // self.unit


def attention_heads(model: nn.Module) -> list[Heads]:
    """The attentions of decoders of transformers, of timm's ViTs, and of those that were split (torchvision's).

    Those of T5 are none of them: its bias by distance is given by head to all layers; nor those of M2M100 and Marian,
    whose configs have no width of a head beside the model's.
    """
    return [found for name, module in model.named_modules() if (found := _heads(name, module)) is not None]


def first_heads(model: nn.Module, attention: Heads) -> Heads:
    """The attention as it was before any pass."""
    heads = first_size(model.get_submodule(attention.output), "in_features") // attention.head_dim
    if len(attention.inputs) == 1:
        return replace(attention, heads=heads, key_heads=heads)
    keys = first_size(model.get_submodule(attention.inputs[1]), "out_features") // attention.head_dim
    return replace(attention, heads=heads, key_heads=keys)


def keep_heads(model: nn.Module, attention: Heads, units: Sequence[int]) -> None:
    """Keep these units of an attention, in place."""
    module: Any = model.get_submodule(attention.name)
    queries = _spread(units, attention.unit * attention.head_dim)
    keys = _spread([0], attention.head_dim) if attention.key_heads == 1 else _spread(units, attention.head_dim)
    layers = [model.get_submodule(name) for name in attention.inputs]
    if len(layers) == 1:  # rows of [queries, keys, values]
        width = attention.heads * attention.head_dim
        _cut_rows(layers[0], torch.cat([queries, queries + width, queries + 2 * width]))
    else:
        for layer, rows in zip(layers, (queries, keys, keys), strict=True):
            _cut_rows(layer, rows)
    output: Any = model.get_submodule(attention.output)
    set_parameter(output, "weight", output.weight[:, queries])
    output.in_features = len(queries)
    heads = len(units) * attention.unit
    if hasattr(module, "num_heads"):
        module.num_heads = heads
    if hasattr(module, "attn_dim"):
        module.attn_dim = len(queries)
    if hasattr(module, "num_key_value_groups"):
        module.num_key_value_groups = heads // (1 if attention.key_heads == 1 else len(units))


def tell_heads(model: Any, attention: Heads, num_units: int) -> None:
    """What a translator's config says of its heads, all attentions having the same number."""
    config = model.config
    config.head_dim = attention.head_dim  # which is no longer the model's width over the number of heads
    config.num_attention_heads = num_units * attention.unit
    config.num_key_value_heads = 1 if attention.key_heads == 1 else num_units


def _heads(name: str, module: Any) -> Heads | None:
    if hasattr(module, "num_key_value_groups") and all(hasattr(module, f"{each}_proj") for each in "qkvo"):
        width = int(module.head_dim)
        count, keys = module.q_proj.out_features // width, module.k_proj.out_features // width
        return Heads(name, _below(name, "q_proj", "k_proj", "v_proj"), f"{name}.o_proj", count, keys, width)
    if isinstance(module, SplitAttention):
        count, width = module.num_heads, module.head_dim
        layers = _below(name, "q_proj", "k_proj", "v_proj")
        return Heads(name, layers, f"{name}.out_proj", count, count, width)
    if all(hasattr(module, each) for each in ("qkv", "proj", "num_heads", "head_dim", "attn_dim")):
        plain = isinstance(module.norm, nn.Identity) and module.gate is None
        if plain and isinstance(module.qkv, nn.Linear):
            count, width = module.num_heads, module.head_dim
            return Heads(name, _below(name, "qkv"), f"{name}.proj", count, count, width)
    return None


def _below(name: str, *children: str) -> tuple[str, ...]:
    return tuple(f"{name}.{child}".removeprefix(".") for child in children)


def _spread(units: Sequence[int], width: int) -> Tensor:
    """Every row of these units."""
    return torch.cat([torch.arange(unit * width, (unit + 1) * width) for unit in units])


def _cut_rows(layer: Any, rows: Tensor) -> None:
    set_parameter(layer, "weight", layer.weight[rows])
    if layer.bias is not None:
        set_parameter(layer, "bias", layer.bias[rows])
    layer.out_features = len(rows)
