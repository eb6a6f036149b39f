"""LearnGrids: the phase in which weights and activations are trained on their grids, and which ends in what is stored.

Normalisations stay beside their layers while training, where their statistics follow the weights, and are folded when
it ends: with one scale a channel that multiplies scales and biases, and leaves every code as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from compress.models.activations import QuantizedActivation, keep_quantizing, quantized_activations, set_activations
from compress.models.layers import Weighted, raw_weight, weighted_layers
from compress.models.learned_grids import (
    LearnedGrid,
    RangedWeight,
    begin_learning,
    end_learning,
    grid_of,
    learned_grid,
)
from compress.models.learned_steps import LearnedStepActivation, ObservedActivation
from compress.numerics.weight import QuantizedWeight
from compress.training.phase import Phase

GRIDS = "learned_activations"  # the submodule that holds activations' grids while they are trained
_LEARNED = 4  # bits: steps of finer grids are so small that the rate of weights throws their scales about
_LEAST_GAMMA = 1e-3  # of a normalisation that will be folded: a scale is positive


class Grid(Protocol):
    """The grid of an activation while it is trained."""

    def fake_quantize(self, x: Tensor) -> Tensor: ...

    def settled(self) -> QuantizedActivation: ...

    def freeze(self) -> None: ...


class LearnGrids(Phase):
    """Weights of `layers` and the tensors of `table` are on grids that are trained.

    layers   by name, with the grid that each begins on; weights that are tied share theirs.
    table    first grids of activations by their keys in the model as it is, unfolded.
    pairs    (layer, normalisation) by name: what will be folded.
    keys     the table's keys → those of the folded model.
    observe  the activations' ranges follow averages of what is seen; else their scales are learned.
    freeze   share of the training after which ranges and normalisations' statistics stay.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Mapping[str, tuple[Weighted, QuantizedWeight]],
        table: Mapping[str, QuantizedActivation],
        pairs: list[tuple[str, str]],
        keys: Mapping[str, str],
        observe: bool,
        freeze: float | None,
    ) -> None:
        super().__init__()
        self._model = [model]
        self.keys, self.pairs, self.freeze, self.frozen = dict(keys), pairs, freeze, False
        self.before = quantized_activations(model)
        self.norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        self.holding = None if freeze is None else model.register_forward_pre_hook(self._hold_norms)
        for name, norm in pairs:
            positive_gamma(model.get_submodule(name), model.get_submodule(norm))
        self.weights: list[tuple[Weighted, LearnedGrid]] = []
        for layer, first in layers.values():
            if learned_grid(layer) is not None:  # it is tied to one that was before
                continue
            part = grid_of(first, relative=False) if first.num_bits <= _LEARNED else RangedWeight(first, relative=False)
            begin_learning(model, layer, part)
            self.weights.append((layer, part))
        self.grids: dict[str, Grid] = {
            key: ObservedActivation(first) if observe else LearnedStepActivation(first) for key, first in table.items()
        }
        if self.grids:
            modules = nn.ModuleList(grid for grid in self.grids.values() if isinstance(grid, nn.Module))
            _holder(model).add_module(GRIDS, modules.to(next(model.parameters()).device))
            set_activations(model, {**self.before, **self.grids})
            keep_quantizing(model, True)

    @property
    def model(self) -> nn.Module:
        return self._model[0]

    def step(self, done: float) -> None:
        with torch.no_grad():
            for _, name in self.pairs:
                gamma = getattr(self.model.get_submodule(name), "weight", None)
                if isinstance(gamma, Tensor):
                    gamma.clamp_min_(_LEAST_GAMMA)
        if self.freeze is not None and done >= self.freeze and not self.frozen:
            self.frozen = True
            for grid in self.grids.values():
                grid.freeze()

    def _hold_norms(self, model: nn.Module, inputs: Any) -> None:
        """Before a forward: loops call `model.train()` whenever they like."""
        if self.frozen:
            for norm in self.norms:
                norm.eval()

    def finish(self) -> None:
        """Codes, scales and ranges take the place of what was trained, and normalisations are folded."""
        model = self.model
        if self.holding is not None:
            self.holding.remove()
        for layer, part in self.weights:
            end_learning(model, layer, part, None)
        if self.grids:
            settled = {self.keys.get(key, key): grid.settled() for key, grid in self.grids.items()}
            delattr(_holder(model), GRIDS)
            keep_quantizing(model, False)
            set_activations(model, {**self.before, **settled})


def trains_activations(model: nn.Module) -> bool:
    """Whether activations of the model are on grids that are trained now."""
    return hasattr(_holder(model), GRIDS)


def _holder(model: nn.Module) -> nn.Module:
    """The module of which grids are a part: the model itself, unless that calls whatever is a part of it."""
    return next(iter(weighted_layers(model).values())) if isinstance(model, nn.Sequential) else model


def positive_gamma(layer: Any, norm: Any) -> None:
    """The same function with no negative γ: −γ·(W·x − μ)/σ is γ·(−W·x + μ)/σ."""
    if norm.weight is None:
        return
    with torch.no_grad():
        sign = torch.where(norm.weight < 0, -1.0, 1.0)
        norm.weight.mul_(sign)
        norm.running_mean.mul_(sign)
        if layer.bias is not None:
            layer.bias.mul_(sign)
        own = raw_weight(layer)
        assert own is not None
        own.mul_(sign.reshape(-1, *[1] * (own.dim() - 1)))
