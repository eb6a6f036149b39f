"""distill.quantized: quantization-aware distillation, end to end, of a model whose weights are quantized already.

Weights straight through to their codes, scales learned (LSQ, Esser et al. 2020, arXiv:1902.08153); the float model
teaches (LLM-QAT, Liu et al. 2023, arXiv:2305.17888; BitDistiller, Du et al. 2024, arXiv:2402.10631); 3:4-sparse ternary
codes and the residual: Sherry (Huang et al. 2026, arXiv:2601.07892)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge

from compress.errors import ModelError
from compress.passes.base import Context, register
from compress.passes.training_grids import GivenGridsPass

if TYPE_CHECKING:
    from torch import nn

    from compress.models.layers import Weighted
    from compress.training.given_grids import TrainGivenGrids


@register("distill.quantized")
@dataclass(frozen=True)
class DistillQuantized(GivenGridsPass):
    """Train quantized weights, with their scales, on the grids that they have, under the float model.

    residual  the largest ε of a term ε·W·x that ternary layers add with their float weight W while they are trained; it
              rises over the first tenth of the steps and falls by cosine to 0 (Arenas). 0: none.

    It begins at the very codes that earlier passes decided, and ends in codes of the same kind: 2 to 8 bits, symmetric
    or not, by tensor, channel or group, with integer multipliers, ternary, 3:4-sparse. Zero points and multipliers
    stay. Normalisations, biases and float layers are trained too; embeddings, and layers that are quantized but not in
    targets, are not. Logits of many tokens take much memory: give gradient_accumulation the size of the batch.
    """

    residual: Annotated[float, Ge(0)] = 0.0

    def requires(self, model: nn.Module, context: Context) -> None:
        from compress.models.quantized import stored

        super().requires(model, context)
        if self.residual:
            found = [stored(layer) for layer in self.layers(model).values()]
            if not any(part is not None and part.quantized.is_ternary for part in found):
                raise ModelError(f"{self.name}: residual is of ternary weights, and there are none: take it out")

    def grids(self, model: nn.Module, layers: dict[str, Weighted]) -> TrainGivenGrids:
        from torch import nn

        from compress.models.layers import raw_weight, weighted_layers
        from compress.models.learned_grids import grid_of
        from compress.training.given_grids import TrainGivenGrids

        trained = {id(raw_weight(layer)) for layer in layers.values()}
        weights = [
            raw_weight(layer)
            for layer in weighted_layers(model, embeddings=True).values()
            if isinstance(layer, nn.Embedding)
        ]
        held = [weight for weight in weights if isinstance(weight, nn.Parameter) and id(weight) not in trained]
        return TrainGivenGrids(model, layers, grid_of, held, self.residual)
