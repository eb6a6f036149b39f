"""Grids of activations that are trained with a model, or follow what it sees, in the model's table."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compress.models.activations import QuantizedActivation
from compress.numerics.lsq import quantize_learned
from compress.numerics.weight import SMALLEST_SCALE


class LearnedStepActivation(nn.Module):
    """A tensor's grid whose scale is a parameter (LSQ); the zero point stays where calibration found it."""

    zero_point: Tensor
    held: Tensor  # the scale from when it was frozen on; 0: it is not

    def __init__(self, first: QuantizedActivation) -> None:
        super().__init__()
        self.num_bits = first.num_bits
        self.register_buffer("zero_point", torch.tensor(float(first.zero_point)))
        self.scale = nn.Parameter(torch.tensor([first.scale]))
        self.register_buffer("held", torch.zeros(1))

    def used(self) -> Tensor:
        """The scale.  The parameter has a gradient all along, as DDP wants it; once the scale is held it is zero."""
        return torch.where(self.held > 0, self.held, self.scale.abs().clamp_min(SMALLEST_SCALE))

    def fake_quantize(self, x: Tensor) -> Tensor:
        return quantize_learned(x, self.used(), self.zero_point, 0, 2**self.num_bits - 1)

    def settled(self) -> QuantizedActivation:
        return QuantizedActivation(float(self.used().detach()), int(self.zero_point), self.num_bits)

    @torch.no_grad()
    def freeze(self) -> None:
        self.held.copy_(self.used())


class ObservedActivation(nn.Module):
    """A tensor's grid whose ends follow what training shows, as exponential moving averages of batches' least and
    largest values (Jacob et al. 2018, arXiv:1712.05877, sec. 3.1)."""

    ends: Tensor

    def __init__(self, first: QuantizedActivation, momentum: float = 0.99) -> None:
        super().__init__()
        self.num_bits, self.momentum, self.frozen = first.num_bits, momentum, False
        self.register_buffer("ends", torch.tensor([first.low, first.high]))

    def fake_quantize(self, x: Tensor) -> Tensor:
        if self.training and not self.frozen:
            seen = torch.stack([x.detach().amin(), x.detach().amax()]).to(self.ends)
            self.ends.lerp_(seen, 1 - self.momentum)
        return torch.fake_quantize_per_tensor_affine(x, *self.grid(), 0, 2**self.num_bits - 1)

    def grid(self) -> tuple[Tensor, Tensor]:
        """Scale and zero point, as `affine_grid` has them: tensors, so that no forward waits for a device."""
        limit = 2**self.num_bits - 1
        low, high = self.ends[0].clamp_max(0.0), self.ends[1].clamp_min(0.0)
        scale = (high - low) / limit
        usable = scale >= torch.finfo(torch.float32).tiny  # else all is zero, or too near to it
        scale = torch.where(usable, scale, 1.0)
        return scale, torch.where(usable, (-low / scale).round().clamp(0, limit), 0.0).to(torch.int32)

    def settled(self) -> QuantizedActivation:
        scale, zero_point = self.grid()
        return QuantizedActivation(float(scale), int(zero_point), self.num_bits)

    def freeze(self) -> None:
        self.frozen = True
