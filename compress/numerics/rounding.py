"""Learned rounding: every weight goes up or down as the layer's output wants it (AdaRound, Nagel et al. 2020,
arXiv:2004.10568), and gradients that pass through it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# The rectified sigmoid reaches 0 and 1 at finite arguments (AdaRound, eq. 23).
ZETA, GAMMA = 1.1, -0.1


def rectified_sigmoid(logits: Tensor) -> Tensor:
    """clip(σ(v)·(ζ − γ) + γ, 0, 1): how far a weight is rounded up, between 0 and 1."""
    return (torch.sigmoid(logits) * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def logits_of(fraction: Tensor) -> Tensor:
    """The inverse: logits whose rectified sigmoid is `fraction`, in [0, 1)."""
    return -torch.log((ZETA - GAMMA) / (fraction - GAMMA) - 1)


def rounding_regularizer(logits: Tensor, exponent: float) -> Tensor:
    """Σ 1 − |2h − 1|^β: zero when every h is 0 or 1 (AdaRound, eq. 24)."""
    return (1 - (2 * rectified_sigmoid(logits) - 1).abs().pow(exponent)).sum()


def annealed_exponent(progress: float, warm_up: float = 0.2, start: float = 20.0, end: float = 2.0) -> float:
    """β of the regularizer at `progress` in [0, 1]: `start` until the warm-up ends, then falling to `end` by cosine."""
    if progress < warm_up:
        return start
    falling = (progress - warm_up) / (1 - warm_up)
    return end + 0.5 * (start - end) * (1 + math.cos(falling * math.pi))


def straight_through(rounded: Tensor, original: Tensor) -> Tensor:
    """`rounded` in the forward, the gradient of `original` in the backward."""
    return original + (rounded - original).detach()


def clamp_through(x: Tensor, low: float, high: float) -> Tensor:
    """x.clamp(low, high) whose gradient passes at both ends too, where torch's (from 2.14 on) is zero."""
    return torch.where((x >= low) & (x <= high), x, x.detach().clamp(low, high))
