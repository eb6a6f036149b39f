"""What the passes that round weights have in common: which layers, in what order, and what they promise."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from compress.errors import ModelError, PromiseBroken
from compress.passes.base import Context, Pass

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.models.layers import Layer, Weighted
    from compress.models.statistics import Gram
    from compress.numerics.weight import QuantizedWeight

# A layer, the second moments of its inputs → its quantized weight.
Rounder = Callable[["Layer", "Gram"], "QuantizedWeight"]
# A layer → its quantized weight, without data.
Alone = Callable[["Weighted"], "QuantizedWeight"]


class RoundingPass(Pass):
    """Gives the selected layers that are still float a QuantizedWeight each.

    targets  which convolutions and linear layers; embeddings, and heads that are tied to one, only by a selector that
             means nothing else.
    ignore   which of them not.
    act_order, damping  of GPTQ.
    """

    targets: tuple[str, ...]
    ignore: tuple[str, ...]
    act_order: bool
    damping: float

    def selectors(self) -> tuple[str, ...]:
        return (*self.targets, *self.ignore)

    def requires(self, model: nn.Module, context: Context) -> None:
        from compress.models.finite import refuse_infinite

        for name, layer in self.layers(model).items():
            refuse_infinite(self.name, name, layer)

    def layers(self, model: nn.Module) -> dict[str, Weighted]:
        """The selected layers that are still float."""
        from compress.models.quantized import stored

        return {name: layer for name, layer in self.chosen(model).items() if stored(layer) is None}

    def chosen(self, model: nn.Module) -> dict[str, Weighted]:
        """The selected layers, whose weights become codes."""
        from compress.models.layers import select

        return dict(select(model, self.targets, self.ignore, embeddings=True))

    @abstractmethod
    def grid(self, weight: Tensor, importance: Tensor | None) -> QuantizedWeight:
        """The weight rounded to nearest, on scales that lose the least squared error, or, weighed by the importance of
        inputs, of the layer's output."""

    def nearest(self, weight: Tensor) -> QuantizedWeight:
        """The weight rounded without data."""
        return self.grid(weight, None)

    def weighted(self, layer: Layer, gram: Gram) -> QuantizedWeight:
        """The weight rounded to nearest for the inputs that were seen."""
        return self.grid(layer.weight, gram.importance())

    def gptq(self, layer: Layer, gram: Gram) -> QuantizedWeight:
        """The codes by GPTQ, on the scales of `weighted`."""
        from compress.models.masks import mask_of
        from compress.numerics.gptq import gptq

        grid = self.weighted(layer, gram)
        return gptq(layer.weight, grid, gram.hessian(), self.damping, self.act_order, mask_of(layer))

    def alone(self, model: nn.Module, context: Context, rounded: Alone | None = None) -> None:
        """Round each layer without data; `rounded` in place of `nearest`."""
        from compress.models.quantized import set_weight, stored

        layers = self.layers(model)
        rounded = rounded or self.layer_nearest
        for layer in context.progress(layers.values(), "rounding", len(layers)):
            if stored(layer) is None:  # a tied weight has been
                set_weight(layer, rounded(layer), model)

    def layer_nearest(self, layer: Weighted) -> QuantizedWeight:
        return self.nearest(layer.weight)

    def calibrated(self, model: nn.Module, context: Context, rounded: Rounder, alone: Alone | None = None) -> None:
        """Round embeddings as the heads that they also are, then block after block; `alone` those that are no heads."""
        from compress.passes.calibrating import by_block, embeddings_first

        others = embeddings_first(model, self.layers(model), context, rounded, alone or self.layer_nearest)
        by_block(model, others, context, rounded)

    def ensures(self, model: nn.Module, context: Context) -> None:
        from compress.models.quantized import stored

        for name, layer in self.chosen(model).items():
            if stored(layer) is None:
                raise PromiseBroken(f"{self.name}: the weight of {name} is float, {self.asked} were asked for")

    @property
    @abstractmethod
    def asked(self) -> str:
        """What the weights shall be, in words: '4 bits'."""


def refuse_masked(who: str, name: str, layer: Weighted) -> None:
    """Raise ModelError, for the pass `who`, for a pruned layer, which no mid-rise grid takes."""
    from compress.models.masks import mask_of

    if mask_of(layer) is not None:
        raise ModelError(f"{who}: {name} is pruned, and a mid-rise grid has no zero: take midrise out")
