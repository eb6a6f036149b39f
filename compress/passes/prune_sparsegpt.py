"""prune.sparsegpt: weights become zero column by column, and those after them make up for it (Frantar & Alistarh 2023,
arXiv:2301.00774)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Interval

from compress.passes.base import register
from compress.passes.pruning import CalibratedPrune

if TYPE_CHECKING:
    from torch import Tensor

    from compress.models.layers import Layer
    from compress.models.statistics import Gram


@register("prune.sparsegpt")
@dataclass(frozen=True)
class PruneSparseGPT(CalibratedPrune):
    """Zero weights column by column, each loss made up for by the columns after it (SparseGPT); a mask holds the zeros.

    The runtime's kernels are dense: zeros make a download smaller, not an inference faster.

    scope     the share holds of each layer (in blocks of 128 inputs), as in the paper, or of each output's row.
    damping   share of the mean diagonal of the Hessian that is added to it.

    Layers go block by block, each on the inputs that the pruned layers before it give.
    """

    scope: Literal["row", "layer"] = "layer"
    damping: Annotated[float, Interval(gt=0, le=1)] = 0.01

    def decide(self, layer: Layer, gram: Gram) -> tuple[Tensor, Tensor]:
        import torch

        from compress.models.masks import mask_of
        from compress.numerics.sparsegpt import BLOCK, of_groups, of_layer, of_rows, sparsegpt
        from compress.numerics.sparsity import channels_innermost

        weight, before, hessian = layer.weight, mask_of(layer), gram.hessian()
        rows = weight.reshape(len(weight), -1)
        kept = None if before is None else before.reshape(rows.shape)
        groups = self.groups()
        if groups is None:
            assert self.sparsity is not None  # as `problems` has seen
            choose = (of_rows if self.scope == "row" else of_layer)(self.sparsity)
            rows, mask = sparsegpt(rows, hessian, choose, BLOCK, self.damping, kept)
            return rows.reshape(weight.shape), mask.reshape(weight.shape)
        order = channels_innermost(weight.shape)  # groups are neighbours in it
        back = torch.argsort(order)
        rows, mask = sparsegpt(
            rows[:, order],
            hessian[:, order][:, :, order],
            of_groups(groups[0]),
            groups[1],
            self.damping,
            None if kept is None else kept[:, order],
        )
        return rows[:, back].reshape(weight.shape), mask[:, back].reshape(weight.shape)
