"""GivenGridsPass: what the passes have in common that train a model whose weights are quantized already."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Gt

from compress.errors import ModelError, PromiseBroken
from compress.models.selectors import selector_problems
from compress.passes.base import Context
from compress.passes.training import TaughtPass
from compress.training.settings import AdamW, LogitsLoss

if TYPE_CHECKING:
    from torch import nn

    from compress.models.layers import Weighted
    from compress.targets import Target
    from compress.training.given_grids import TrainGivenGrids
    from compress.training.phase import Phase


@dataclass(frozen=True)
class GivenGridsPass(AdamW, TaughtPass):
    """A TaughtPass of quantized weights, on the grids that earlier passes gave them.

    targets      whose grids are trained, of the layers that are quantized: names, globs, 're:…' or 'role:…'; embeddings
                 and heads that are tied to one only by a selector that means nothing else ('role:embedding').
    ignore       which of them not.
    scale_rate   learning rate of the scales at its highest; with adamw about the share of itself by which a step
                 changes a scale.
    task_weight  of the task's own loss, on the true labels; with 0 the teacher's word is all.
    logits       teach the teacher's answers; null: do not.
    """

    targets: tuple[str, ...] = ("*",)
    ignore: tuple[str, ...] = ()
    scale_rate: Annotated[float, Gt(0)] = 5e-4
    task_weight: Annotated[float, Ge(0)] = 0.0
    logits: LogitsLoss | None = field(default_factory=LogitsLoss)
    batch_size: Annotated[int, Ge(1)] = 16
    learning_rate: Annotated[float, Gt(0)] = 5e-5

    @property
    def rate_of_scales(self) -> float:
        return self.scale_rate

    def selectors(self) -> tuple[str, ...]:
        return (*super().selectors(), *self.targets, *self.ignore)

    def problems(self, target: Target) -> list[str]:
        found = [*super().problems(target), *selector_problems((*self.targets, *self.ignore))]
        if not self.teaches and self.task_weight == 0:
            found.append(
                "nothing is learned: give logits, features or attention, or task_weight 1 for the labels alone"
            )
        return found

    def requires(self, model: nn.Module, context: Context) -> None:
        if not self.layers(model):
            raise ModelError(f"{self.name}: no weight that is selected is quantized: put quantize.weights before")

    def layers(self, model: nn.Module) -> dict[str, Weighted]:
        """The selected layers that are quantized."""
        from compress.models.layers import select
        from compress.models.quantized import stored

        chosen = select(model, self.targets, self.ignore, embeddings=True)
        return {name: layer for name, layer in chosen.items() if stored(layer) is not None}

    @abstractmethod
    def grids(self, model: nn.Module, layers: dict[str, Weighted]) -> TrainGivenGrids:
        """The phase that trains the grids of these layers."""

    def phases(self, model: nn.Module, context: Context) -> list[Phase]:
        taught = self.taught(model, context)  # whose teacher is met before the student's grids
        return [*taught, self.grids(model, self.layers(model))]

    def ensures(self, model: nn.Module, context: Context) -> None:
        if not self.layers(model):
            raise PromiseBroken(f"{self.name}: no weight is quantized any more")
