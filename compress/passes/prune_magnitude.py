"""prune.magnitude: the smallest weights become zero (Han et al. 2015, arXiv:1506.02626)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from compress.passes.base import Context, register
from compress.passes.pruning import Prune, prune, scores_to_go

if TYPE_CHECKING:
    from torch import Tensor, nn


@register("prune.magnitude")
@dataclass(frozen=True)
class PruneMagnitude(Prune):
    """Zero the smallest weights, without data; a mask holds the zeros through quantization and training.

    The runtime's kernels are dense: zeros make a download smaller, not an inference faster.

    targets   which convolutions and linear layers: names, globs, 're:…' or 'role:…'; embeddings, and heads that are
              tied to one, only by a selector that means nothing else ('role:embedding').
    scope     the smallest of each output's row, of each layer, or of all layers together.
    """

    scope: Literal["row", "layer", "global"] = "layer"

    takes_embeddings = True

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        from compress.numerics.sparsity import global_masks

        layers = self.layers(model)
        if self.sparsity is not None and self.scope == "global":
            masks = global_masks([scores(layer) for layer in layers.values()], self.sparsity)
            for layer, mask in zip(layers.values(), masks, strict=True):
                prune(layer, mask, model)
        else:
            for layer in context.progress(layers.values(), "pruning", len(layers)):
                prune(layer, self.mask(scores(layer)), model)
        self.note(model, context)
        return model


def scores(layer: nn.Module) -> Tensor:
    from compress.models.quantized import original_weight
    from compress.numerics.sparsity import magnitude

    return scores_to_go(magnitude(original_weight(layer)), layer)
