"""prune.wanda: the weights that matter least to an output, by their size and their inputs', become zero (Sun et al.
2023, arXiv:2306.11695): |W| · ‖X‖, the smallest of each output's row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from compress.passes.base import register
from compress.passes.pruning import CalibratedPrune, scores_to_go

if TYPE_CHECKING:
    from torch import Tensor

    from compress.models.layers import Layer
    from compress.models.statistics import Gram


@register("prune.wanda")
@dataclass(frozen=True)
class PruneWanda(CalibratedPrune):
    """Zero the weights of least |W|·‖X‖ (Wanda); weights that stay are as they were, and a mask holds the zeros.

    The runtime's kernels are dense: zeros make a download smaller, not an inference faster.

    scope     the smallest scores of each output's row, as in the paper, or of each layer.

    Layers go block by block, each on the inputs that the pruned layers before it give.
    """

    scope: Literal["row", "layer"] = "row"

    def decide(self, layer: Layer, gram: Gram) -> tuple[Tensor, Tensor]:
        from compress.numerics.sparsity import wanda

        scores = wanda(layer.weight, input_norms(layer, gram))
        return layer.weight, self.mask(scores_to_go(scores, layer))


def input_norms(layer: Layer, gram: Gram) -> Tensor:
    """The 2-norm of every input over all calibration vectors, for each row of the layer's weight: [out, K]."""
    norms = (gram.hessian().diagonal(dim1=1, dim2=2) * gram.count).sqrt()
    return norms.repeat_interleave(len(layer.weight) // len(norms), dim=0)
