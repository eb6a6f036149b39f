"""tune.norms_and_scales: what is not a code is trained for a few minutes after quantization: normalisations (Norm
Tweaking, Li et al. 2023, arXiv:2309.02784), biases, and scales (the second phase of EfficientQAT, Chen et al. 2024,
arXiv:2407.11062)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Gt

from compress.passes.base import register
from compress.passes.training_grids import GivenGridsPass

if TYPE_CHECKING:
    from torch import nn

    from compress.models.layers import Weighted
    from compress.training.given_grids import TrainGivenGrids


@register("tune.norms_and_scales")
@dataclass(frozen=True)
class TuneNormsAndScales(GivenGridsPass):
    """Train normalisations, biases and scales alone, under the float model: no code moves.

    targets  whose scales are trained, of the layers that are quantized; embeddings are among them.

    All that has one axis is trained (normalisations, biases), and no other weight, quantized or float.
    """

    targets: tuple[str, ...] = ("*", "role:embedding")
    learning_rate: Annotated[float, Gt(0)] = 1e-4

    def grids(self, model: nn.Module, layers: dict[str, Weighted]) -> TrainGivenGrids:
        from compress.models.learned_grids import FixedCodes
        from compress.training.given_grids import TrainGivenGrids

        held = [parameter for parameter in model.parameters() if parameter.dim() > 1]
        return TrainGivenGrids(model, layers, FixedCodes, held)
