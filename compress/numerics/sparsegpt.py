"""SparseGPT: prune column by column, and let the columns after it make up for what each loses (Frantar & Alistarh
2023, arXiv:2301.00774, algorithm 1; the update is Optimal Brain Surgeon's in a fixed order of columns)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from compress.numerics.gptq import SMALL, inverse_factor
from compress.numerics.sparsity import FIRST, group_mask, masks_of, num_to_prune

BLOCK = 128  # columns whose masks are chosen together, and whose updates are gathered; the paper's choice
# Scores [rows, columns] of some columns, the number of the first, of all, and of the rows above → their mask.
Choice = Callable[[Tensor, int, int, int], Tensor]


def sparsegpt(
    weight: Tensor,
    hessian: Tensor,
    choose: Choice,
    width: int = BLOCK,
    damping: float = 0.01,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The pruned weight, what is kept of it changed so that the layer's output loses little, and its mask.

    weight [out, K]; hessian [groups, K, K] = E[x xᵀ] for each convolution group.
    choose   the mask of some columns by their scores: `of_layer`, `of_rows` or `of_groups`.
    width    columns that are chosen together, once those before them are decided; of N:M groups M.
    damping  share of the mean diagonal added to the diagonal.
    mask     of what is kept so far: what is pruned already goes first.
    """
    size = len(weight) // len(hessian)
    parts = []
    for start, moments in zip(range(0, len(weight), size), hessian, strict=True):
        part = weight.detach()[start : start + size]
        kept = torch.ones_like(part, dtype=torch.bool) if mask is None else mask[start : start + size]
        parts.append(_prune(part, moments, choose, width, damping, kept, start))
    return torch.cat([rows for rows, _ in parts]), torch.cat([kept for _, kept in parts])


def of_layer(sparsity: float) -> Choice:
    """The smallest scores of each block of columns, wherever they are in it: of the whole layer the exact number."""

    def choose(scores: Tensor, start: int, columns: int, above: int) -> Tensor:
        # the number up to here, less the number up to the block before: rounding adds up to nothing
        before = above * columns + start * len(scores)
        count = num_to_prune(sparsity, before + scores.numel()) - num_to_prune(sparsity, before)
        return masks_of([scores], count)[0]

    return choose


def of_rows(sparsity: float) -> Choice:
    """The smallest scores of each row in each block of columns: of every whole row the exact number."""

    def choose(scores: Tensor, start: int, columns: int, above: int) -> Tensor:
        end = start + scores.shape[1]
        count = num_to_prune(sparsity, end) - num_to_prune(sparsity, start)
        mask = torch.ones(scores.shape, dtype=torch.bool)
        return mask.scatter_(1, scores.argsort(dim=1, stable=True)[:, :count], False)

    return choose


def of_groups(kept: int) -> Choice:
    """N:M: the columns of a choice are one group, of which each row keeps the `kept` largest scores."""

    def choose(scores: Tensor, start: int, columns: int, above: int) -> Tensor:
        return group_mask(scores, kept, scores.shape[1])

    return choose


def _prune(
    weight: Tensor, hessian: Tensor, choose: Choice, width: int, damping: float, mask: Tensor, above: int
) -> tuple[Tensor, Tensor]:
    """One convolution group.  Inside, a column is one piece of memory."""
    out, columns = weight.shape
    _, inverse = inverse_factor(hessian, damping, act_order=False)
    inverse = inverse.to(torch.float64 if weight.numel() <= SMALL else torch.float32)
    left = weight.T.to(inverse.dtype).contiguous()
    kept = mask.T.contiguous()
    step = max(BLOCK // width, 1) * width
    for start in range(0, columns, step):
        end = min(start + step, columns)
        errors = torch.empty(end - start, out, dtype=left.dtype)
        for column in range(start, end):
            if (column - start) % width == 0:
                some = slice(column, min(column + width, end))
                # what pruning w costs, w² / [H⁻¹] with H of the columns not yet decided
                loss = (left[some] / inverse.diagonal()[some, None]).square()
                loss = torch.where(kept[some], loss, FIRST).T.float()
                kept[some] &= choose(loss, column, columns, above).T
            error = torch.where(kept[column], 0.0, left[column]) / inverse[column, column]
            left[column + 1 : end].addr_(inverse[column, column + 1 : end], error, alpha=-1)
            left[column].masked_fill_(~kept[column], 0.0)
            errors[column - start] = error
        left[end:].addmm_(inverse[start:end, end:].T, errors, alpha=-1)
    return left.T.to(weight.dtype).contiguous(), kept.T.contiguous()
