"""A block whose quantization is being learned: roundings or whole weights, scales, biases and ranges.

It starts where the block computes what it computed before."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from compress.models.activations import FakeQuantizing, QuantizedActivation, quantized_activations, set_activations
from compress.models.blocks import Arguments, inside
from compress.models.calls import tensors
from compress.models.layers import Layer, parametrizations, weighted_layers
from compress.models.learned_grids import grid_of
from compress.models.masks import mask_of
from compress.models.quantized import StoredWeight, keep_float_bias, original_weight, stored
from compress.numerics.grid import steps, zeros
from compress.numerics.lsq import quantize_learned
from compress.numerics.rounding import clamp_through, straight_through
from compress.numerics.weight import QuantizedWeight, storable_scales


class LearnedWeight(nn.Module, ABC):
    """Parametrization in the place of a StoredWeight.

    before    what was stored.
    original  the float weight.
    mask      of the weights that are kept, of the weight's shape: the others stay on the code of zero.
    """

    before: QuantizedWeight

    @abstractmethod
    def settled(self) -> QuantizedWeight:
        """What was learned, as codes and storable scales."""

    @abstractmethod
    def scales(self) -> nn.Parameter:
        """What the scales are learned by: shares of themselves."""

    def weights(self) -> tuple[nn.Parameter, float] | None:
        """What is trained of the weights by Adam, and how long a step of their grid is; None if nothing is."""
        return None

    def step_offsets(self, rate: float) -> None:
        """A step of what is not learned by Adam; rate: in steps of the grid."""
        return


class LearnedRounding(LearnedWeight):
    """Codes round(ideal + offsets), the offsets within half a step of the grid; scales · exp(factors).

    Of ternary '3:4' weights the scales alone are learned.
    """

    def __init__(self, before: QuantizedWeight, original: Tensor, mask: Tensor | None = None) -> None:
        super().__init__()
        self.before, self.shape = before, original.shape
        rows = original.detach().reshape(original.shape[0], -1)
        codes = before.codes.reshape(rows.shape).float()
        self.step, self.zero = steps(before, rows.shape[1]), zeros(before, rows.shape[1])
        self.low, self.high = before.code_range
        remainder = rows / self.step + self.zero - codes
        # a code that GPTQ put further than half a step from the weight makes up for others: it begins as decided
        self.ideal = codes + torch.where(remainder.abs() <= 0.5, remainder.clamp(-0.499, 0.499), 0.0)
        self.offsets = nn.Parameter(torch.zeros_like(rows))
        self.kept = None if mask is None else mask.reshape(rows.shape)
        if before.keeps_three_of_four:  # which of four is zero was decided by the four, not by its weights alone
            self.kept = torch.zeros(rows.shape, dtype=torch.bool)
        self.factors = nn.Parameter(torch.zeros_like(before.scales))

    def codes(self) -> Tensor:
        ideal = self.ideal + (self.offsets if self.kept is None else torch.where(self.kept, self.offsets, 0.0))
        return clamp_through(straight_through(ideal.round(), ideal), self.low, self.high)

    def forward(self, original: Tensor) -> Tensor:
        factor = self.factors.exp()
        if factor.shape[1] > 1:
            factor = factor.repeat_interleave(self.before.group_size or 1, dim=1)[:, : self.ideal.shape[1]]
        return ((self.codes() - self.zero) * (self.step * factor)).reshape(self.shape)

    def settled(self) -> QuantizedWeight:
        with torch.no_grad():
            codes = self.codes().to(torch.int8).reshape(self.shape)
            scales = storable_scales(self.before.scales * self.factors.exp())
        return replace(self.before, codes=codes, scales=scales)

    def scales(self) -> nn.Parameter:
        return self.factors

    def step_offsets(self, rate: float) -> None:
        """One step of signed gradient descent."""
        if self.offsets.grad is not None:
            with torch.no_grad():
                self.offsets.sub_(rate * self.offsets.grad.sign()).clamp_(-0.5, 0.5)


class LearnedCodes(LearnedWeight):
    """Codes follow a weight that is trained, straight through, as far as it goes; the float weight stays as it is."""

    def __init__(self, before: QuantizedWeight, original: Tensor, mask: Tensor | None = None) -> None:
        super().__init__()
        self.before, self.grid, self.mask = before, grid_of(before), mask
        latent = self.grid.begun(original.detach(), before.codes)
        self.latent = nn.Parameter(latent if mask is None else torch.where(mask, latent, 0.0))

    def forward(self, original: Tensor) -> Tensor:
        weight: Tensor = self.grid(self._kept())
        return weight

    def _kept(self) -> Tensor:
        return self.latent if self.mask is None else torch.where(self.mask, self.latent, 0.0)

    def settled(self) -> QuantizedWeight:
        return self.grid.settled(self._kept())

    def scales(self) -> nn.Parameter:
        return self.grid.scales

    def weights(self) -> tuple[nn.Parameter, float]:
        return self.latent, float(self.before.scales.mean())


KINDS: dict[str, Callable[[QuantizedWeight, Tensor, Tensor | None], LearnedWeight]] = {
    "rounding": LearnedRounding,
    "weights": LearnedCodes,
}


class LearnedActivation(nn.Module):
    """A grid whose range may shrink, not grow: a clipping operator that the grid replaces stays replaced."""

    def __init__(self, before: QuantizedActivation, drop_probability: float, generator: torch.Generator) -> None:
        super().__init__()
        self.before, self.drop_probability, self.generator = before, drop_probability, generator
        self.factor = nn.Parameter(torch.zeros(()))

    def fake_quantize(self, x: Tensor) -> Tensor:
        scale = self.before.scale * clamp_through(self.factor, -1.0, 0.0).exp()
        quantized = quantize_learned(x, scale, self.before.zero_point, 0, 2**self.before.num_bits - 1)
        if self.drop_probability == 0:
            return quantized
        return torch.where(torch.rand(x.shape, generator=self.generator) < self.drop_probability, x, quantized)

    def settled(self) -> QuantizedActivation:
        scale = self.before.scale * float(self.factor.detach().clamp(-1.0, 0.0).exp())
        return QuantizedActivation(float(torch.tensor(scale)), self.before.zero_point, self.before.num_bits)


class LearnedBlock:
    """Scope: the block's weights, biases and ranges can be learned; leaves codes and scales behind, no graph.

    kind  of what is learned of a weight, by its name in `KINDS`.
    """

    def __init__(
        self, model: nn.Module, block: str, drop_probability: float, generator: torch.Generator, kind: str = "rounding"
    ) -> None:
        self.model, self.block, self.kind = model, model.get_submodule(block), kind
        found = {layer: stored(layer) for layer in weighted_layers(self.block).values()}
        self.layers = {layer: weight for layer, weight in found.items() if weight is not None}
        self.table = quantized_activations(model)
        self.grids = {
            key: LearnedActivation(grid, drop_probability, generator)
            for key, grid in self.table.items()
            if inside(key.split(":")[0], block)
        }
        self.weights: dict[Layer, LearnedWeight] = {}
        self.biases = {layer: layer.bias for layer in self.layers if layer.bias is not None}
        self.biases_before = {layer: bias.detach().clone() for layer, bias in self.biases.items()}
        self.float_biases = {layer: weight.float_bias for layer, weight in self.layers.items()}
        self.shifts = {layer: nn.Parameter(torch.zeros_like(bias)) for layer, bias in self.biases.items()}

    def __enter__(self) -> LearnedBlock:
        self.required = [p for p in self.model.parameters() if p.requires_grad]
        for parameter in self.required:
            parameter.requires_grad_(False)
        for layer, weight in self.layers.items():
            self.weights[layer] = KINDS[self.kind](weight.quantized, original_weight(layer), mask_of(layer))
            _put(layer, self.weights[layer])
        return self

    def __exit__(self, *error: Any) -> None:
        for layer, weight in self.layers.items():
            _put(layer, weight)
        for parameter in self.required:
            parameter.requires_grad_(True)

    @property
    def magnitudes(self) -> list[nn.Parameter]:
        """What is learned by Adam as shares of its size: scales, ranges, shifts of biases."""
        scales = [weight.scales() for weight in self.weights.values()]
        return [*scales, *self.shifts.values(), *(grid.factor for grid in self.grids.values())]

    def groups(self, rate: float, weight_rate: float) -> list[dict[str, Any]]:
        """Groups for Adam, each with its rate: of magnitudes, and of weights in steps of their grid."""
        trained = [found for weight in self.weights.values() if (found := weight.weights()) is not None]
        weights = [{"params": [weight], "lr": weight_rate * step} for weight, step in trained]
        return [{"params": self.magnitudes, "lr": rate}, *weights]

    def __call__(self, arguments: Arguments) -> Tensor:
        for layer, bias in self.biases.items():
            del layer.bias  # a parameter, whose place only a parameter may take
            layer.bias = bias + self.shift(layer)
        try:
            with FakeQuantizing(self.model, {**self.table, **self.grids}, self.block):
                return tensors(self.block(*arguments.args, **arguments.keywords))[0]
        finally:
            for layer, bias in self.biases.items():
                del layer.bias
                layer.bias = bias

    def shift(self, layer: Layer) -> Tensor:
        """What is added to the layer's bias: learned as shares of the size of its biases."""
        return self.shifts[layer] * self.biases_before[layer].square().mean().sqrt()

    def zero_grad(self) -> None:
        for module in (*self.weights.values(), *self.grids.values()):
            module.zero_grad()
        for shift in self.shifts.values():
            shift.grad = None

    def step_offsets(self, rate: float) -> None:
        """A step of the roundings; rate: in steps of the grid."""
        for weight in self.weights.values():
            weight.step_offsets(rate)

    def settle(self) -> None:
        """The model now computes what was learned, from codes and storable scales."""
        for layer, weight in self.weights.items():
            _fill(self.layers[layer], weight.settled())
            _put(layer, self.layers[layer])
        with torch.no_grad():
            for layer, bias in self.biases.items():
                keep_float_bias(layer)
                bias.add_(self.shift(layer))
        set_activations(self.model, self.table | {key: grid.settled() for key, grid in self.grids.items()})

    def undo(self) -> None:
        """The model computes what it did before."""
        for layer, weight in self.weights.items():
            _fill(self.layers[layer], weight.before)
        with torch.no_grad():
            for layer, bias in self.biases.items():
                bias.copy_(self.biases_before[layer])
                self.layers[layer].float_bias = self.float_biases[layer]
        set_activations(self.model, self.table)


def _put(layer: nn.Module, parametrization: nn.Module) -> None:
    chain = parametrizations(layer)
    for number, item in enumerate(chain):
        if isinstance(item, StoredWeight | LearnedWeight):
            chain[number] = parametrization


def _fill(weight: StoredWeight, quantized: QuantizedWeight) -> None:
    weight.codes, weight.scales = quantized.codes, quantized.scales
