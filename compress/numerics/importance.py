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


def row_energy(weight: Tensor) -> Tensor:
    """‖W_i‖² of each row.  weight [channels, …] → [channels].  The square of the L2 norm of Li et al. 2017,
    arXiv:1608.08710, who take L1; summed over all layers of a group it is Fang et al. 2023, arXiv:2301.12900, eq. 5."""
    return weight.double().flatten(1).square().sum(1)


def distance_to_others(weight: Tensor) -> Tensor:
    """Σ_j ‖W_i − W_j‖ of each row: little where others can stand for it.  weight [channels, …] → [channels].

    He et al. 2019, FPGM, arXiv:1811.00250, eq. 4.
    """
    rows = weight.double().flatten(1)
    return torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").sum(1)


def first_order(weight: Tensor, gradient: Tensor) -> Tensor:
    """Σ W·∂L/∂W over what reads each input: minus the change of the loss, to first order, without that input.

    weight, gradient [out, in, …] → [in].  Its square is the importance of Molchanov et al. 2019, arXiv:1906.10771,
    eq. 8, of a gate at the input.
    """
    return (weight.double() * gradient.double()).transpose(0, 1).flatten(1).sum(1)
