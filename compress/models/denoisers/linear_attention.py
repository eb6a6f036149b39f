"""Attention that is linear in the number of places, as SANA has it: Xie et al. 2024, arXiv:2410.10629, section 2.2,
after Katharopoulos et al. 2020, arXiv:2006.16236, with relu as its kernel.

Diffusers adds 1e-15 to the sums that it divides by; PyTorch's exporter takes that for 0 and leaves it out, so that a
head whose keys or queries are all negative gives 0 / 0.  A lower bound of the sums says the same, and stays.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_SMALLEST_SUM = 1e-15


class LinearAttention:
    """A processor of diffusers' `Attention`: relu(q) · (relu(k)ᵀ v) over its sums.  [N, L, D] → the same."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        read = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = attn.to_q(hidden_states), attn.to_k(read), attn.to_v(read)
        query = query if attn.norm_q is None else attn.norm_q(query)
        key = key if attn.norm_k is None else attn.norm_k(key)
        query, key = (torch.relu(_by_head(each, attn.heads)) for each in (query, key))
        mixed = query @ (key.transpose(-1, -2) @ _by_head(value, attn.heads))
        sums = query @ key.sum(-2, keepdim=True).transpose(-1, -2)
        out = (mixed / sums.clamp(min=_SMALLEST_SUM)).transpose(1, 2).flatten(2)
        for layer in attn.to_out:
            out = layer(out)
        return out


def _by_head(states: Tensor, heads: int) -> Tensor:
    """[N, L, D] → [N, heads, L, D / heads]."""
    return states.reshape(*states.shape[:2], heads, -1).transpose(1, 2)
