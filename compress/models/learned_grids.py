"""Grids of weights that are trained with a model, as parametrizations: scales are learned, codes follow the weights.

Training sees exactly what will be stored: codes are rounded and scales are what float16 holds, both straight through.
A grid begins as a QuantizedWeight says, whose zero points and multipliers stay, and settles to one again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from compress.models.layers import Weighted, parametrizations, raw_weight, sharing
from compress.models.masks import mask_of
from compress.models.quantized import StoredWeight, original_weight, set_weight, stored
from compress.numerics.grid import grouped
from compress.numerics.lsq import damped, largest_code, quantize_through, scale_through
from compress.numerics.rounding import straight_through
from compress.numerics.ternary import kept_of_four, signs
from compress.numerics.weight import FOUR, LARGEST_SCALE, SMALLEST_SCALE, QuantizedWeight, storable_scales

_NEAR = 0.499  # steps from a code that a weight may begin at: further off, rounding may take it to the next
_NONE = torch.empty(0)
_LEAST = 1e-3  # steps from zero that a weight whose sign is stored begins at


class LearnedGrid(nn.Module, ABC):
    """Parametrization: the weight [out, …] on a grid whose scales are learned.

    scales    what is trained: the grid's scales are these times `unit`.
    unit      1: an optimizer's step is of a scale itself, as LSQ has it; the first scales: it is a share of each, as
              optimizers want it whose steps have a size of their own (Adam).
    residual  ε: the forward adds so much of the float weight (`training.given_grids`).
    """

    unit: Tensor
    least: Tensor
    zero_points: Tensor | None
    multipliers: Tensor | None

    def __init__(self, first: QuantizedWeight, relative: bool = True) -> None:
        super().__init__()
        # of what stays as it is; tensors that move with the module are buffers
        self.kind = replace(first, codes=_NONE, scales=_NONE, zero_points=None, multipliers=None)
        self.low, self.high = first.code_range
        self.residual = 0.0
        positive = first.scales > 0
        self.register_buffer("unit", torch.where(positive, first.scales, 1.0) if relative else torch.ones(1, 1))
        # a scale that float16 cannot hold may begin so, and no other gets there
        self.register_buffer("least", torch.where(positive, first.scales.clamp_max(SMALLEST_SCALE), SMALLEST_SCALE))
        self.register_buffer("zero_points", first.zero_points)
        self.register_buffer("multipliers", first.multipliers)
        self.begin_scales(first.scales / self.unit)

    @abstractmethod
    def quantized(self, groups: Tensor, step: Tensor, zero: Tensor | float) -> Tensor:
        """The weight [out, groups, size] on the grid, with its gradients; step and zero are [out, groups, 1]."""

    @abstractmethod
    def codes(self, groups: Tensor, step: Tensor, zero: Tensor | float) -> Tensor:
        """The codes of the same, as float."""

    @abstractmethod
    def latent(self, groups: Tensor, codes: Tensor, step: Tensor, zero: Tensor | float) -> Tensor:
        """Weights near to those given, whose codes are these."""

    def begin_scales(self, scales: Tensor) -> None:
        """Make `scales` what is trained."""
        self.scales = nn.Parameter(scales)

    def stored_scales(self, groups: Tensor) -> Tensor:
        """The grid's scales as a file holds them, [out, groups], of a weight [out, groups, size]."""
        positive = torch.maximum((self.unit * self.scales).abs().clamp_max(LARGEST_SCALE), self.least)
        return straight_through(storable_scales(positive.detach()), positive)

    def forward(self, original: Tensor) -> Tensor:
        groups = self._groups(original)
        step = self._steps(damped(self.stored_scales(groups), original.numel(), largest_code(self.low, self.high)))
        weight = self._whole(self.quantized(groups, step, self._zero()), original)
        return weight + self.residual * original if self.residual else weight

    @torch.no_grad()
    def settled(self, original: Tensor) -> QuantizedWeight:
        """What training arrived at, from the weight that the parametrization is given."""
        groups = self._groups(original)
        scales = self.stored_scales(groups).detach()
        codes = self._whole(self.codes(groups, self._steps(scales), self._zero()), original)
        zero_points, multipliers = self.zero_points, self.multipliers
        return replace(
            self.kind, codes=codes.to(torch.int8), scales=scales, zero_points=zero_points, multipliers=multipliers
        )

    @torch.no_grad()
    def begun(self, original: Tensor, codes: Tensor) -> Tensor:
        """The weight to train, near to `original`, that begins on the given codes, int8 of its shape.

        Where an earlier pass put a code further off than rounding would, it makes up for others: it is kept.
        """
        groups, decided = self._groups(original), self._groups(codes.to(original.dtype))
        steps = self._steps(self.stored_scales(groups).detach())
        latent = self.latent(groups, decided, steps, self._zero())
        return self._whole(latent, original)

    def _groups(self, weight: Tensor) -> Tensor:
        """[out, …] → [out, groups, size]."""
        rows = weight.reshape(weight.shape[0], -1)
        size = min(self.kind.group_size or rows.shape[1], rows.shape[1])
        return grouped(rows, size)

    def _whole(self, groups: Tensor, like: Tensor) -> Tensor:
        """The inverse."""
        columns = like[0].numel()
        return groups.reshape(len(like), -1)[:, :columns].reshape(like.shape)

    def _steps(self, scales: Tensor) -> Tensor:
        return (scales if self.multipliers is None else scales * self.multipliers)[..., None]

    def _zero(self) -> Tensor | float:
        if self.zero_points is not None:
            return self.zero_points.float()[..., None]
        return -0.5 if self.kind.midrise else 0.0


class LearnedStepWeight(LearnedGrid):
    """Codes are the nearest (LSQ); weights beyond the last code have the gradient that leads them back."""

    def quantized(self, groups: Tensor, step: Tensor, zero: Tensor | float) -> Tensor:
        return quantize_through(groups, step, zero, self.low, self.high, returning=True)

    def codes(self, groups: Tensor, step: Tensor, zero: Tensor | float) -> Tensor:
        return (groups / step + zero).round().clamp(self.low, self.high)

    def latent(self, groups: Tensor, codes: Tensor, step: Tensor, zero: Tensor | float) -> Tensor:
        """The given ones where they are near to their code, else the code's own value: also of what is clipped, from
        where a way back is short."""
        off = groups / step + zero - codes
        near = torch.where(off.abs() <= 0.5, off.clamp(-_NEAR, _NEAR), 0.0)
        return torch.where(off.abs() <= _NEAR, groups, (codes + near - zero) * step)


class RangedWeight(LearnedStepWeight):
    """Scales are not learned: the largest weight of each group lies on the last code, wherever training takes it (Jacob
    et al. 2018, arXiv:1712.05877, sec. 3.1).  For symmetric grids of many levels, which have no use for clipping."""

    def begin_scales(self, scales: Tensor) -> None:
        """Nothing of them is trained."""

    def stored_scales(self, groups: Tensor) -> Tensor:
        largest = groups.detach().abs().amax(-1)
        return storable_scales((largest / (self.high - self._zero())).clamp(SMALLEST_SCALE, LARGEST_SCALE))

    def quantized(self, groups: Tensor, step: Tensor, zero: Tensor | float) -> Tensor:
        return scale_through(groups, self.codes(groups.detach(), step, zero) - zero, step)


class SparseTernaryWeight(LearnedGrid):
    """3:4-sparse ternary codes (Sherry, Huang et al. 2026, arXiv:2601.07892): of four neighbouring columns the smallest
    weight is zero, and the others' codes are their signs, that of zero being +.  The gradient passes to all."""

    def quantized(self, groups: Tensor, step: Tensor, zero: Tensor | float) -> Tensor:
        return scale_through(groups, self.codes(groups.detach(), step, zero).to(torch.int8), step)

    def codes(self, groups: Tensor, step: Tensor, zero: Tensor | float) -> Tensor:
        return signs(groups, kept_of_four(groups.abs()))

    def latent(self, groups: Tensor, codes: Tensor, step: Tensor, zero: Tensor | float) -> Tensor:
        """Of the sign of their code, or the code's own value; where the code is zero, smaller than the other three."""
        kept = codes * torch.where(groups * codes > 0, groups.abs(), step).maximum(_LEAST * step)
        others = kept.abs().masked_fill(codes == 0, torch.inf).reshape(-1, FOUR).amin(-1, keepdim=True)
        least = (0.99 * others).expand(-1, FOUR).reshape(groups.shape)
        return torch.where(codes == 0, groups.clamp(-least, least), kept)


class FixedCodes(LearnedGrid):
    """The codes stay as they are: only the scales are learned, and the float weight has no part in it."""

    decided: Tensor

    def __init__(self, first: QuantizedWeight) -> None:
        super().__init__(first)
        self.register_buffer("decided", first.codes)

    def quantized(self, groups: Tensor, step: Tensor, zero: Tensor | float) -> Tensor:
        codes = self._groups(self.decided)
        if self.kind.midrise:
            return scale_through(None, 2 * codes + 1, step / 2)
        if self.zero_points is not None:
            codes = codes.to(torch.int16) - self.zero_points[..., None]
        return scale_through(None, codes, step)

    def codes(self, groups: Tensor, step: Tensor, zero: Tensor | float) -> Tensor:
        return self._groups(self.decided)

    def latent(self, groups: Tensor, codes: Tensor, step: Tensor, zero: Tensor | float) -> Tensor:
        return groups


def grid_of(first: QuantizedWeight, relative: bool = True) -> LearnedGrid:
    """The grid whose codes follow the weights, and stay of the kind of the given ones."""
    return SparseTernaryWeight(first, relative) if first.keeps_three_of_four else LearnedStepWeight(first, relative)


def learned_grid(layer: nn.Module) -> LearnedGrid | None:
    """The grid on which the layer's weight is trained now, or None."""
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    return next((part for part in parametrizations(layer) if isinstance(part, LearnedGrid)), None)


def begin_learning(model: nn.Module, layer: Weighted, grid: LearnedGrid) -> None:
    """Put the layer's weight on `grid`, in place of the codes that it had, and with it all that share the weight.

    The float weight is moved to where it begins on those codes.
    """
    before = stored(layer)
    if before is not None:
        weight = raw_weight(layer)
        assert weight is not None
        latent, mask = grid.begun(original_weight(layer), before.codes), mask_of(layer)
        weight.data.copy_(latent if mask is None else torch.where(mask, latent, 0.0))
    for each in sharing(model, layer):
        if before is None:
            parametrize.register_parametrization(each, "weight", grid, unsafe=True)
        else:
            _exchange(each, before, grid)


def end_learning(model: nn.Module, layer: Weighted, grid: LearnedGrid, before: StoredWeight | None) -> None:
    """The layer's weight, and all that share it, is stored as what was learned.

    before  what stored it until it was learned, whose place is taken again.
    """
    quantized = grid.settled(original_weight(layer))
    for each in sharing(model, layer):
        if before is None:
            # the weight stays parametrized: `remove_parametrizations` would change the class, which copies share
            chain = parametrizations(each)
            del chain[list(chain).index(grid)]
        else:
            _exchange(each, grid, before)
    set_weight(layer, quantized, model)


def _exchange(layer: nn.Module, old: nn.Module, new: nn.Module) -> None:
    chain = parametrizations(layer)
    chain[list(chain).index(old)] = new
