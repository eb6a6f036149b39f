"""A matrix as the product of two thin ones, so that what is lost counts by what a layer's inputs are (SVD-LLM, Wang et
al. 2024, arXiv:2403.07378, sec. 3.1; the optimum of ‖(W − Ŵ)·X‖ by rank is Eckart and Young's on the whitened W)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

OVERSAMPLING = 16  # columns of a random range beyond the rank


@dataclass(frozen=True)
class Spectrum:
    """W = left · diag(values) · right, in the order of what each rank gives to the layer's output.

    left    [out, n], orthonormal columns.
    values  [n], falling; the squared output error of the first r ranks is the sum of the other values' squares.
    right   [n, in]; its rows are orthonormal in the inputs' moments: right · H · rightᵀ = 1.
    """

    left: Tensor
    values: Tensor
    right: Tensor

    def factors(self, rank: int) -> tuple[Tensor, Tensor]:
        """(down [rank, in], up [out, rank]) whose product up · down is the best of its rank; each takes the root of
        the values, so that both have ranges alike."""
        root = self.values[:rank].sqrt()
        return root[:, None] * self.right[:rank], self.left[:, :rank] * root

    def rank_of(self, energy: float) -> int:
        """The smallest rank that keeps a share of the output's energy, Σ values² over the first ranks."""
        kept = self.values.square().cumsum(0)
        if not bool(kept[-1] > 0):
            return 1
        return min(int((kept < energy * kept[-1]).count_nonzero()) + 1, len(kept))


def whitened_svd(weight: Tensor, hessian: Tensor, damping: float = 0.01) -> Spectrum:
    """The spectrum of a layer, in float64.

    weight [out, in]; hessian [in, in] = E[x xᵀ] = L Lᵀ, which makes E‖(W − Ŵ)x‖² = ‖(W − Ŵ)L‖²: with
    W L = U Σ Vᵀ, left is U and right is Vᵀ L⁻¹.  `damping`: share of the mean diagonal added to the diagonal.
    """
    moments = hessian.double().clone()
    mean = moments.diagonal().mean()
    moments.diagonal().add_(damping * mean if mean > 0 else 1.0)
    root = torch.linalg.cholesky(moments)
    left, values, right = torch.linalg.svd(weight.detach().double() @ root, full_matrices=False)
    return Spectrum(left, values, torch.linalg.solve_triangular(root, right, upper=False, left=False))


def randomized_svd(weight: Tensor, rank: int, seed: int) -> tuple[Tensor, Tensor]:
    """(down [rank, in], up [out, rank]): up · down is nearly the best approximation of weight [out, in] by its rank,
    each with the root of the singular values.

    A random range of `rank` + 16 columns and two power iterations (Halko, Martinsson & Tropp 2011,
    doi:10.1137/090771806, alg. 4.4 and 5.1); the same for the same seed, and torch's random state stays as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        columns = min(rank + OVERSAMPLING, *weight.shape)
        left, values, right = torch.svd_lowrank(weight.detach().float(), columns, niter=2)
    root = values[:rank].sqrt()
    return root[:, None] * right[:, :rank].T, left[:, :rank] * root


def num_parameters(outputs: int, inputs: int, rank: int) -> int:
    """Of the two factors together."""
    return rank * (outputs + inputs)


def rank_of_share(outputs: int, inputs: int, ratio: float) -> int:
    """The largest rank, at least 1, whose factors have no more than a share of the matrix's parameters."""
    return max(1, int(ratio * outputs * inputs / (outputs + inputs) + 1e-9))
