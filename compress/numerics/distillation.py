"""Losses that teach a student what a teacher gives: on logits, on features, on where features are large.

Logits are rows [N, classes]; every divergence gives one value a row, [N], in nats, and its gradient is the student's.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def forward_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(p ‖ q) with p, q the softmax of the teacher's and of the student's logits [N, C] → [N].

    Its gradient with respect to the student's logits is q − p (Hinton et al. 2015, arXiv:1503.02531, eq. 2).
    """
    log_p, log_q = functional.log_softmax(teacher, dim=-1), functional.log_softmax(student, dim=-1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


def reverse_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(q ‖ p), which seeks a mode of the teacher's in place of covering all (MiniLLM, Gu et al. 2023,
    arXiv:2306.08543, eq. 2)."""
    return forward_kl(teacher, student)


def confidence_aware_kl(student: Tensor, teacher: Tensor, confidence: Tensor) -> Tensor:
    """γ·KL(q ‖ p) + (1 − γ)·KL(p ‖ q): CAKLD of BitDistiller (Du et al. 2024, arXiv:2402.10631, eq. 5).

    confidence  γ, a number: the mean probability that the teacher gives to the true classes.
    """
    return confidence * reverse_kl(student, teacher) + (1 - confidence) * forward_kl(student, teacher)


def confidence_of(teacher: Tensor, labels: Tensor) -> Tensor:
    """γ of `confidence_aware_kl`: teacher's logits [N, C], true classes [N] → a number in [0, 1]."""
    return (teacher.gather(-1, labels[:, None])[:, 0] - teacher.logsumexp(dim=-1)).exp().mean()


def squared_difference(student: Tensor, teacher: Tensor) -> Tensor:
    """Half the squared difference of logits that are centred, divided by the classes: what T²·KL becomes as T grows
    (Hinton et al. 2015, arXiv:1503.02531, eq. 4)."""
    difference = (student - student.mean(dim=-1, keepdim=True)) - (teacher - teacher.mean(dim=-1, keepdim=True))
    return 0.5 * difference.square().mean(dim=-1)


def keep_top(student: Tensor, teacher: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Both over the teacher's `k` likeliest classes and one class for all the others: log-probabilities [N, k + 1].

    Merging classes never raises a divergence (data processing): what comes after is a lower bound of the whole one.
    """
    places = teacher.topk(k, dim=-1).indices
    return _merged(student, places), _merged(teacher, places)


def _merged(logits: Tensor, places: Tensor) -> Tensor:
    """log-softmax of [N, C] at `places` [N, k], and of all the others together."""
    log_probabilities = functional.log_softmax(logits, dim=-1)
    kept = log_probabilities.gather(-1, places)
    others = log_probabilities.scatter(-1, places, -torch.inf).logsumexp(dim=-1, keepdim=True)
    # where rounding has left nothing to the others, their share is the smallest that is not zero
    return torch.cat([kept, others.clamp_min(-87.0)], dim=-1)


def feature_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference as a share of the teacher's mean square, a number (hints: FitNets, Romero et al. 2014,
    arXiv:1412.6550, eq. 3).  Both of one shape."""
    return (student - teacher).square().mean() / teacher.square().mean().clamp_min(1e-20)


def attention_map(features: Tensor) -> Tensor:
    """Where features are large: their squares added over the channels, as vectors of length 1, [N, places].

    features  [N, C, H, W] of a convolution, or [N, T, C] of a transformer.
    """
    energy = features.square().sum(dim=1 if features.dim() == 4 else -1).flatten(1)
    return functional.normalize(energy, dim=1)


def attention_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over the samples of ‖A_s − A_t‖² of `attention_map`s (attention transfer, Zagoruyko & Komodakis 2016,
    arXiv:1612.03928, eq. 2): student and teacher may differ in channels, not in places."""
    return (attention_map(student) - attention_map(teacher)).square().sum(dim=1).mean()
