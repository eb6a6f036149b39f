"""How much a part of a network matters: blocks, channels, and inputs of linear layers."""

from __future__ import annotations

import torch
from torch import Tensor


def block_influence(given: Tensor, made: Tensor) -> Tensor:
    """1 − cos(x, y), the mean over all vectors.  given, made [..., width] → [].

    What a block changes of the direction of what it is given; zero for the identity.  Men et al. 2024, ShortGPT,
    arXiv:2403.03853, eq. 1.
    """
    x, y = given.double().flatten(0, -2), made.double().flatten(0, -2)
    norms = x.norm(dim=1) * y.norm(dim=1)
    alike = torch.where(norms > 0, (x * y).sum(1) / norms.clamp_min(torch.finfo(torch.float64).tiny), 1.0)
    return (1 - alike).mean()


def divergence(reference: Tensor, logits: Tensor) -> Tensor:
    """KL(softmax(reference) ‖ softmax(logits)) in nats, the mean over all rows.  [..., classes] twice → []."""
    p, q = reference.double().log_softmax(-1), logits.double().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1).mean()


def next_token_nll(logits: Tensor, ids: Tensor) -> Tensor:
    """−log p of each token after the first, the sum of them.  logits [N, T, V], ids [N, T] → []."""
    told = logits[:, :-1].double().log_softmax(-1)
    return -told.gather(-1, ids[:, 1:, None]).sum()


def contribution(weight: Tensor, moments: Tensor) -> Tensor:
    """√E‖W_S x_S‖² for each set S of neighbouring inputs of a linear layer.

    weight [out, units·size], moments E[x_S x_Sᵀ] [units, size, size] → [units].

    What a unit adds to the layer's output on average: with one input a unit it is ‖W_j‖·‖x_j‖ (Sun et al. 2023,
    arXiv:2306.11695, eq. 1, summed over rows; as Muralidharan et al. 2024, arXiv:2407.14679, sec. 2.2, who rank by
    activations alone), with a head's inputs the norm of what the head writes.
    """
    units, size, _ = moments.shape
    parts = weight.double().reshape(weight.shape[0], units, size)
    energy = torch.einsum("ous,ust,out->u", parts, moments.double(), parts)
    return energy.clamp_min(0).sqrt()
