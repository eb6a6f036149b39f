"""Encoders and decoders of Marian, M2M100 (NLLB) and T5 (MADLAD) as data: the same parts under the same names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from compress.errors import ModelError, unknown

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Attention:
    """inputs: the layers of queries, keys and values."""

    inputs: tuple[nn.Module, nn.Module, nn.Module]
    output: nn.Module


@dataclass(frozen=True)
class Block:
    """feed_in: one layer, or the gated one and the one it is multiplied with.  cross: of decoders alone."""

    attention: Attention
    attention_norm: nn.Module
    feed_in: tuple[nn.Module, ...]
    feed_out: nn.Module
    feed_norm: nn.Module
    cross: Attention | None = None
    cross_norm: nn.Module | None = None


@dataclass(frozen=True)
class Stack:
    """An encoder or a decoder.

    norm_first     norms come before a sublayer, not after the sum.
    rms_norm       norms divide by the root mean square, with no mean taken off and no bias.
    embed_scale    that embeddings are multiplied with.
    output_scale   that the hidden states are multiplied with before the head.
    scaling        of attention scores.
    frequencies    [width / 2] of sinusoidal positions, or None.
    padding        token that counts as no position, where positions are counted so.
    distance_bias  [2·reach + 1, heads], added to the scores of keys −reach … reach tokens after a query, or None.
    """

    blocks: tuple[Block, ...]
    embedding: nn.Module
    final_norm: nn.Module | None
    heads: int
    head_dim: int
    activation: str
    norm_first: bool
    rms_norm: bool = False
    embed_scale: float = 1.0
    output_scale: float = 1.0
    scaling: float = 1.0
    frequencies: Tensor | None = None
    padding: int | None = None
    distance_bias: Tensor | None = None


Part = Literal["encoder", "decoder"]


def stack_of(model: Any, part: Part) -> Stack:
    """Raises ModelError for an architecture that is not known here."""
    kind = model.config.model_type
    if kind not in _STACKS:
        raise ModelError(unknown("encoder–decoder architecture", kind, _STACKS))
    return _STACKS[kind](model, part)


def _marian(model: Any, part: Part) -> Stack:
    config, stack = model.config, getattr(model.model, part)
    if not getattr(config, "is_encoder_decoder", True) or getattr(config, "normalize_before", False):
        raise ModelError("marian: normalize_before is not supported: only norms after the sum")
    width = int(config.d_model)
    # as transformers fills its table: both halves have the frequencies of the even columns
    frequencies = 1.0 / 10000 ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    return _bart_like(
        config, stack, part, norm_first=False, frequencies=frequencies, embed_scale=float(stack.embed_scale)
    )


def _m2m_100(model: Any, part: Part) -> Stack:
    config, stack = model.config, getattr(model.model, part)
    half = int(config.d_model) // 2
    step = torch.log(torch.tensor(10000.0, dtype=torch.float64)) / (half - 1)
    frequencies = torch.exp(torch.arange(half, dtype=torch.float64) * -step)
    return _bart_like(
        config,
        stack,
        part,
        norm_first=True,
        frequencies=frequencies,
        embed_scale=float(stack.embed_tokens.embed_scale),
        padding=int(config.pad_token_id),
        final_norm=stack.layer_norm,
    )


def _bart_like(config: Any, stack: Any, part: Part, **others: Any) -> Stack:
    heads = int(getattr(config, f"{part}_attention_heads"))
    head_dim = int(config.d_model) // heads

    def block(layer: Any) -> Block:
        decoder = part == "decoder"
        return Block(
            attention=_projections(layer.self_attn, "q_proj", "k_proj", "v_proj", "out_proj"),
            attention_norm=layer.self_attn_layer_norm,
            cross=_projections(layer.encoder_attn, "q_proj", "k_proj", "v_proj", "out_proj") if decoder else None,
            cross_norm=layer.encoder_attn_layer_norm if decoder else None,
            feed_in=(layer.fc1,),
            feed_out=layer.fc2,
            feed_norm=layer.final_layer_norm,
        )

    return Stack(
        **{
            "blocks": tuple(map(block, stack.layers)),
            "embedding": stack.embed_tokens,
            "final_norm": None,
            "heads": heads,
            "head_dim": head_dim,
            "activation": config.activation_function,
            "scaling": head_dim**-0.5,
            **others,
        }
    )


def _t5(model: Any, part: Part) -> Stack:
    config, stack = model.config, getattr(model, part)

    def block(module: Any) -> Block:
        own, *cross, feed = module.layer
        dense = feed.DenseReluDense
        return Block(
            attention=_projections(own.SelfAttention, "q", "k", "v", "o"),
            attention_norm=own.layer_norm,
            cross=_projections(cross[0].EncDecAttention, "q", "k", "v", "o") if cross else None,
            cross_norm=cross[0].layer_norm if cross else None,
            feed_in=(dense.wi_0, dense.wi_1) if config.is_gated_act else (dense.wi,),
            feed_out=dense.wo,
            feed_norm=feed.layer_norm,
        )

    return Stack(
        blocks=tuple(map(block, stack.block)),
        embedding=stack.embed_tokens,
        final_norm=stack.final_layer_norm,
        heads=int(config.num_heads),
        head_dim=int(config.d_kv),
        activation=config.dense_act_fn,
        norm_first=True,
        rms_norm=True,
        output_scale=float(config.d_model) ** -0.5 if part == "decoder" and config.scale_decoder_outputs else 1.0,
        distance_bias=_distance_bias(stack.block[0].layer[0].SelfAttention, bidirectional=part == "encoder"),
    )


def _distance_bias(attention: Any, bidirectional: bool) -> Tensor:
    """What the first layer's buckets, shared by all layers, give at each distance; beyond the reach it stays."""
    reach = int(attention.relative_attention_max_distance)
    buckets = attention._relative_position_bucket(
        torch.arange(-reach, reach + 1),
        bidirectional=bidirectional,
        num_buckets=attention.relative_attention_num_buckets,
        max_distance=reach,
    )
    weight: Tensor = attention.relative_attention_bias.weight
    return weight.detach()[buckets]


def _projections(attention: Any, query: str, key: str, value: str, output: str) -> Attention:
    return Attention(
        inputs=(getattr(attention, query), getattr(attention, key), getattr(attention, value)),
        output=getattr(attention, output),
    )


_STACKS: dict[str, Callable[[Any, Part], Stack]] = {"m2m_100": _m2m_100, "marian": _marian, "t5": _t5}
