"""Low-rank adapters: LoRA (Hu et al. 2021, arXiv:2106.09685), merged into the weights when the training ends."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from compress.errors import ModelError
from compress.models.layers import select
from compress.training.phase import Phase


class Adapter(nn.Module):
    """A parametrization: weight + up · down, of the weight laid out as [out, in]."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = weight.shape[0], weight[0].numel()
        self.down = nn.Parameter(weight.new_empty(rank, columns))
        self.up = nn.Parameter(weight.new_zeros(rows, rank))  # the model begins as it was
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).reshape(weight.shape)


class Adapters(Phase):
    """Adapters on the layers that `targets` names are trained, and nothing else of the model.

    Raises ModelError for a layer that is quantized or pruned already.
    """

    def __init__(self, model: nn.Module, rank: int, targets: Sequence[str] = ("*",)) -> None:
        super().__init__()
        self.layers = [select(model, targets)]  # in a list: they are the model's
        self.order = [list(layer._parameters) for layer in self.layers[0].values()]
        self.frozen = [list(model.parameters())]
        for name, layer in self.layers[0].items():
            if parametrize.is_parametrized(layer, "weight"):
                raise ModelError(f"lora: '{name}' is quantized or pruned already: train before that, or without lora")
            weight = layer.weight
            assert isinstance(weight, Tensor)
            adapter = Adapter(weight.detach(), min(rank, weight.shape[0], weight[0].numel()))
            parametrize.register_parametrization(layer, "weight", adapter)

    def held(self) -> Sequence[nn.Parameter]:
        return self.frozen[0]

    @torch.no_grad()
    def finish(self) -> None:
        for layer, names in zip(self.layers[0].values(), self.order, strict=True):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
            for name in names:  # optimizers know parameters by their place
                layer._parameters[name] = layer._parameters.pop(name)
