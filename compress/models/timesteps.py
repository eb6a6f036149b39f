"""Layers of a denoiser that read their inputs larger at some timesteps and give their results back as much smaller, so
that one range of activations is right at all of them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from compress.errors import ModelError
from compress.models.layers import Layer

BOUNDARIES = (
    "timestep_boundaries"  # a buffer of the model's root: where one group of timesteps ends and the next begins
)
_TIMESTEP = "timestep"  # what models call that input


class Running:
    """The group of timesteps that each sample of the running forward is in, [N]; one for all layers of a model."""

    def __init__(self) -> None:
        self.groups: Tensor | None = None

    def begin(self, model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Hook before the model's forward."""
        timesteps = timesteps_of(model, args, kwargs)
        self.groups = (timesteps.reshape(-1, 1) > getattr(model, BOUNDARIES)).sum(1)

    def end(self, model: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        """Hook behind it: what is kept no longer can be copied with the model."""
        self.groups = None


class TimestepScaled(nn.Module):
    """layer(x · f) / f + bias, with f of the timestep: in the place of a layer with that bias, and the same function.

    factors  [groups].
    """

    bias: nn.Parameter | None
    weight = None  # transformers asks some layers for the dtype of theirs: there is none

    def __init__(self, layer: Layer, factors: Tensor, running: Running) -> None:
        super().__init__()
        self.layer, self.running = layer, running
        assert isinstance(layer.bias, nn.Parameter | None)
        self.register_parameter("bias", layer.bias)
        layer.register_parameter("bias", None)
        self.register_buffer("factors", factors)

    def forward(self, x: Tensor) -> Tensor:
        groups = self.running.groups
        if groups is None:
            raise ModelError("a layer that is scaled by timestep runs inside its model alone")
        factors: Tensor = self.get_buffer("factors")[groups]
        out: Tensor = self.layer(x * _against(factors, x)) / _against(factors, x)
        if self.bias is None:
            return out
        return out + (self.bias if isinstance(self.layer, nn.Linear) else self.bias.reshape(-1, 1, 1))


def timesteps_of(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None) -> Tensor:
    """The timesteps [N] among what a denoiser is called with.  Raises ModelError for a model that takes none."""
    names = list(inspect.signature(model.forward).parameters)
    if _TIMESTEP not in names:
        raise ModelError(f"{type(model).__name__} takes no timestep: only a denoiser's layers are scaled by it")
    given: Tensor = {**dict(zip(names, args, strict=False)), **(kwargs or {})}[_TIMESTEP]
    return given


def scale_by_timestep(model: nn.Module, boundaries: Tensor, factors: Mapping[str, Tensor]) -> None:
    """Put a TimestepScaled in the place of each layer of `factors` ([groups] each), for groups of timesteps between
    `boundaries` [groups − 1], which rise."""
    running = Running()
    for name, each in factors.items():
        layer = model.get_submodule(name)
        assert isinstance(layer, Layer)
        model.set_submodule(name, TimestepScaled(layer, each, running).train(layer.training))
    model.register_buffer(BOUNDARIES, boundaries)
    model.register_forward_pre_hook(running.begin, with_kwargs=True)
    model.register_forward_hook(running.end)


def is_scaled_by_timestep(model: nn.Module) -> bool:
    return hasattr(model, BOUNDARIES)


def _against(factors: Tensor, x: Tensor) -> Tensor:
    """[N] as [N, 1, …], against x [N, …]."""
    return factors.reshape(-1, *(1 for _ in x.shape[1:]))
