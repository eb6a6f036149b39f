"""How far a block's output is from what it should be, as a share of that."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_LEAST = 1e-20


class SquaredError:
    """Squared errors over the variance of the goals: 1 for a block that gives their mean."""

    def __init__(self, goals: Sequence[Tensor]) -> None:
        flat = torch.cat([goal.flatten() for goal in goals])
        self.variance = (flat - flat.mean()).square().mean().clamp_min(_LEAST)

    def __call__(self, given: Tensor, goal: Tensor) -> Tensor:
        """Scalar, the mean over all elements."""
        return (given - goal).square().mean() / self.variance


class FisherError:
    """Squared errors, each over the mean square of its token or image, times Fisher's information of its channel: 1 for
    a block that gives nothing (BRECQ, Li et al. 2021, arXiv:2102.05426, eq. 10, with the mean of each channel's term).

    A normalisation behind the block divides by a token's size: a token that is a hundred times as large as others, as
    the first of a text is in many language models, counts no more than they do.

    information  [C], not negative, of the channels: dimension 1 of [N, C, H, W], else the last.
    """

    def __init__(self, goals: Sequence[Tensor], information: Tensor) -> None:
        self.information = information
        total = sum(float(self._weighted(goal, goal).sum()) for goal in goals)
        self.mean = max(total / sum(goal.numel() for goal in goals), _LEAST)

    def __call__(self, given: Tensor, goal: Tensor) -> Tensor:
        """Scalar, the mean over all elements."""
        return self._weighted(given - goal, goal).mean() / self.mean

    def _weighted(self, error: Tensor, goal: Tensor) -> Tensor:
        images = goal.dim() == 4
        weight = self.information[:, None, None] if images else self.information
        return weight * error.square() / row_sizes(goal)


def row_sizes(output: Tensor) -> Tensor:
    """The mean square of each image [N, 1, 1, 1] of [N, C, H, W], or of each token or row [..., 1] of [..., C]."""
    places = (1, 2, 3) if output.dim() == 4 else (-1,)
    return output.square().mean(places, keepdim=True).clamp_min(_LEAST)
