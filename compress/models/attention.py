"""split_attention: torch's MultiheadAttention as four linear layers, so that its weights are layers like any other.

`nn.MultiheadAttention` keeps the projections of queries, keys and values in one bare parameter, which no selector
names and no pass meets: in a ViT-B/16 a third of all weights would stay float.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class SplitAttention(nn.Module):
    """The function of an `nn.MultiheadAttention`, its projections linear layers named q_proj, k_proj, v_proj, out_proj.

    Called and answering as the original (Vaswani et al. 2017, eq. 1; PyTorch's layout of inputs and masks).
    """

    def __init__(self, original: nn.MultiheadAttention) -> None:
        super().__init__()
        self.embed_dim, self.num_heads = original.embed_dim, original.num_heads
        self.head_dim, self.dropout = original.head_dim, original.dropout
        self.batch_first = original.batch_first
        # What nn.TransformerEncoderLayer asks before it takes a fused path that would need the one bare parameter.
        self._qkv_same_embed_dim, self.in_proj_bias = False, None
        weights = (
            original.in_proj_weight.chunk(3)
            if original.in_proj_weight is not None
            else (original.q_proj_weight, original.k_proj_weight, original.v_proj_weight)
        )
        biases = (None, None, None) if original.in_proj_bias is None else original.in_proj_bias.chunk(3)
        self.q_proj, self.k_proj, self.v_proj = map(_linear, weights, biases)
        self.out_proj = _linear(original.out_proj.weight, original.out_proj.bias)
        self.train(original.training)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """query [N, L, E], key and value [N, S, E], or as `batch_first` says, or without N → ([N, L, E], weights).

        weights is None unless need_weights: [N, L, S], or [N, heads, L, S] where they are not averaged.
        """
        batched = query.dim() == 3
        if not batched:
            query, key, value = (tensor.unsqueeze(0) for tensor in (query, key, value))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            query, key, value = (tensor.transpose(0, 1) for tensor in (query, key, value))
        q, k, v = self._heads(self.q_proj(query)), self._heads(self.k_proj(key)), self._heads(self.v_proj(value))
        mask = self._mask(attn_mask, key_padding_mask, q)
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = q @ k.transpose(-2, -1) * self.head_dim**-0.5
            weights = (scores if mask is None else scores + mask).softmax(-1)
            weights = functional.dropout(weights, dropout, self.training)
            context = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
        else:
            context = functional.scaled_dot_product_attention(q, k, v, mask, dropout)
        output = self.out_proj(context.transpose(1, 2).flatten(2))
        if not batched:
            return output.squeeze(0), None if weights is None else weights.squeeze(0)
        return output if self.batch_first else output.transpose(0, 1), weights

    def _heads(self, tensor: Tensor) -> Tensor:
        """[N, L, E] → [N, heads, L, E / heads]."""
        return tensor.reshape(*tensor.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)

    def _mask(self, attn_mask: Tensor | None, padding: Tensor | None, q: Tensor) -> Tensor | None:
        """Both masks as one that is added to the scores: [1 or N, 1 or heads, 1 or L, S]."""
        mask = None if attn_mask is None else _added(attn_mask, q)
        if mask is not None:
            mask = mask.reshape(-1, self.num_heads, *mask.shape[1:]) if mask.dim() == 3 else mask[None, None]
        if padding is None:
            return mask
        padded = _added(padding, q)[:, None, None]
        return padded if mask is None else mask + padded


def split_attention(model: nn.Module) -> nn.Module:
    """Put a SplitAttention in the place of every `nn.MultiheadAttention` that has one, and return the model.

    Those with a learned or zero key beside the given ones (`add_bias_kv`, `add_zero_attn`) stay as they are.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.MultiheadAttention) and child.bias_k is None and not child.add_zero_attn:
                setattr(module, name, SplitAttention(child))
    return model


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone())
    return layer


def _added(mask: Tensor, like: Tensor) -> Tensor:
    """A mask of truths (True: not looked at) as numbers to add to the scores."""
    if mask.dtype != torch.bool:
        return mask.to(like.dtype)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, float("-inf"))
