"""TrainGivenGrids: the phase in which a quantized model is trained on the grids that it has, and which ends on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from torch import nn

from compress.models.layers import Weighted
from compress.models.learned_grids import LearnedGrid, begin_learning, end_learning
from compress.models.quantized import StoredWeight, stored
from compress.numerics.weight import QuantizedWeight
from compress.training.phase import Phase

RISING = 0.1  # share of a training in which the residual grows to its largest


class TrainGivenGrids(Phase):
    """The quantized weights of `layers` are trained from where earlier passes left them.

    layers    by name, each with a StoredWeight; weights that are tied share their grid.
    grid      makes the grid of a weight.
    held      parameters of the model that stay as they are.
    residual  the largest ε: the forward of a ternary layer adds ε·W·x with its float weight W, so that gradients find
              more than three values to tell weights apart by ('Arenas', Sherry, Huang et al. 2026, arXiv:2601.07892).
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Mapping[str, Weighted],
        grid: Callable[[QuantizedWeight], LearnedGrid],
        held: Iterable[nn.Parameter] = (),
        residual: float = 0.0,
    ) -> None:
        super().__init__()
        self._model = [model]
        self.residual = residual
        self._held = list(held)
        self._required = [parameter for parameter in self._held if parameter.requires_grad]
        self.weights: list[tuple[Weighted, LearnedGrid, StoredWeight]] = []
        self.adding: list[LearnedGrid] = []
        for layer in layers.values():
            before = stored(layer)
            if before is None:  # it is tied to one that was before
                continue
            part = grid(before.quantized)
            begin_learning(model, layer, part)
            self.weights.append((layer, part, before))
            if residual and before.quantized.is_ternary:
                self.adding.append(part)
        for parameter in self._held:
            parameter.requires_grad_(False)

    def held(self) -> list[nn.Parameter]:
        return self._held

    def step(self, done: float) -> None:
        for part in self.adding:
            part.residual = self.residual * residual_at(done)

    def finish(self) -> None:
        """Codes and scales take the place of what was trained."""
        for layer, part, before in self.weights:
            end_learning(self._model[0], layer, part, before)
        for parameter in self._required:
            parameter.requires_grad_(True)


def residual_at(done: float) -> float:
    """The residual's share of its largest, where `done` of a training lies behind: it rises in a line over the first
    tenth and falls by cosine to 0."""
    if done < RISING:
        return done / RISING
    return 0.5 * (1.0 + math.cos(math.pi * (done - RISING) / (1.0 - RISING)))
