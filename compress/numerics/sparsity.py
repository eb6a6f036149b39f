"""Which weights to prune: scores of single weights, and masks that prune exactly as many as was asked for.

A mask is bool of the weight's shape, true where it is kept.  The smallest scores go; of equal ones the first do, so
that the same weights always give the same mask.  Scores are not negative, but for `FIRST`, of what is to go before all
else because it is pruned already.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

FIRST = -1.0
ROWS = 8192  # that are sorted together


def magnitude(weight: Tensor) -> Tensor:
    """|W|, of any shape (Han et al. 2015, arXiv:1506.02626)."""
    return weight.detach().abs()


def wanda(weight: Tensor, input_norm: Tensor) -> Tensor:
    """|W| · ‖X‖.  weight [out, …] seen as [out, K], input_norm [K] (or [out, K]: of convolution groups) → [out, …].

    ‖X‖ is the 2-norm of an input over all calibration vectors.  Sun et al. 2023, arXiv:2306.11695, eq. 1.
    """
    rows = weight.detach().reshape(weight.shape[0], -1)
    return (rows.abs() * input_norm).reshape(weight.shape)


def num_to_prune(sparsity: float, count: int) -> int:
    """How many of `count` weights a sparsity means: the nearest whole number, of two equally near the even one."""
    return round(sparsity * count)


def row_mask(scores: Tensor, sparsity: float) -> Tensor:
    """The same number of weights pruned in every row (output) of [out, …]."""
    rows = scores.reshape(scores.shape[0], -1)
    return _smallest_of_each(rows, num_to_prune(sparsity, rows.shape[1])).reshape(scores.shape)


def layer_mask(scores: Tensor, sparsity: float) -> Tensor:
    """The smallest scores of a whole weight pruned, wherever they are."""
    return global_masks([scores], sparsity)[0]


def global_masks(scores: Sequence[Tensor], sparsity: float) -> list[Tensor]:
    """The smallest scores of all weights together pruned: exactly as many as the sparsity says of their sum."""
    return masks_of(scores, num_to_prune(sparsity, sum(score.numel() for score in scores)))


def masks_of(scores: Sequence[Tensor], count: int) -> list[Tensor]:
    """The `count` smallest scores of all tensors together pruned.

    The threshold is found by halving the range of float32's bit patterns, which are in the order of their numbers: 32
    counts over the scores, and no memory beside them, whatever their number.
    """
    bits = [_ordered_bits(score) for score in scores]
    low, high = -(1 << 31), (1 << 31) - 1  # the smallest pattern at or below which there are `count` scores
    while low < high:
        middle = (low + high) // 2
        if sum(int((each <= middle).count_nonzero()) for each in bits) >= count:
            high = middle
        else:
            low = middle + 1
    left = count - sum(int((each < low).count_nonzero()) for each in bits)  # of those at the threshold, the first
    found = []
    for each in bits:
        pruned, equal = each < low, each == low
        if left > 0:
            pruned |= equal & (equal.flatten().cumsum(0).reshape(equal.shape) <= left)
            left -= int(equal.count_nonzero())
        found.append(~pruned)
    return found


def group_mask(scores: Tensor, kept: int, size: int) -> Tensor:
    """N:M sparsity: of every `size` neighbours in a row of [out, K], the `kept` largest scores are kept.

    K is a multiple of `size`.  Zhou et al. 2021, arXiv:2102.04010; 2:4 is what NVIDIA's sparse tensor cores run
    (Mishra et al. 2021, arXiv:2104.08378).
    """
    if scores.shape[1] % size:
        raise ValueError(f"{scores.shape[1]} columns cannot be cut into groups of {size}")
    return _smallest_of_each(scores.reshape(-1, size), size - kept).reshape(scores.shape)


def channels_innermost(shape: Sequence[int]) -> Tensor:
    """The columns of a weight [out, in, …] seen as [out, K], in the order in which input channels are neighbours, [K].

    Of a linear layer that is its own order; of a convolution (kh, kw, in), the K of an implicit matrix product over
    images whose channels lie innermost (NHWC, weights KRSC): N:M kernels for convolutions take their groups along it.
    """
    columns = torch.arange(int(torch.Size(shape[1:]).numel()))
    return columns.reshape(shape[1], -1).T.reshape(-1)


def in_groups(scores: Tensor, kept: int, size: int) -> Tensor:
    """`group_mask` of scores [out, in, …] along their input channels, at each place of a kernel; [out, in, …]."""
    if scores.shape[1] % size:
        raise ValueError(f"{scores.shape[1]} input channels cannot be cut into groups of {size}")
    order = channels_innermost(scores.shape)
    rows = scores.reshape(scores.shape[0], -1)
    mask = torch.empty(rows.shape, dtype=torch.bool)
    mask[:, order] = group_mask(rows[:, order], kept, size)
    return mask.reshape(scores.shape)


def _smallest_of_each(rows: Tensor, count: int) -> Tensor:
    """The `count` smallest of every row pruned, [rows, columns]."""
    mask = torch.ones(rows.shape, dtype=torch.bool)
    for start in range(0, len(rows), ROWS):
        smallest = rows[start : start + ROWS].argsort(dim=1, stable=True)[:, :count]
        mask[start : start + ROWS].scatter_(1, smallest, False)
    return mask


def _ordered_bits(scores: Tensor) -> Tensor:
    """float32 as int32 in the same order, for numbers from zero on, and one negative number."""
    # + 0.0: of the two zeros only the positive one is in order
    return (scores.detach().float() + 0.0).contiguous().view(torch.int32)
