"""What each unit of a linear layer's inputs (a head, a number of the hidden width) adds to its output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from compress.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.passes.base import Context


def contributions(model: nn.Module, units: Mapping[str, int], context: Context) -> dict[str, Tensor]:
    """√E‖W_S x_S‖² on the calibration data, [units] for each layer; units: how many neighbouring inputs are one.

    Raises ModelError for a layer that met no data, or values that are not finite.
    """
    import torch

    from compress.models.calls import forward
    from compress.models.hooks import removing
    from compress.numerics.importance import contribution

    moments: dict[str, Tensor] = {}
    counts = dict.fromkeys(units, 0)

    def observe(name: str, size: int) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            parts = inputs[0].detach().reshape(-1, inputs[0].shape[-1] // size, size)
            found = torch.einsum("nus,nut->ust", parts, parts).double()
            moments[name] = moments[name] + found if name in moments else found
            counts[name] += len(parts)

        return hook

    layers: dict[str, Any] = {name: model.get_submodule(name) for name in units}
    hooks = (layer.register_forward_pre_hook(observe(name, units[name])) for name, layer in layers.items())
    batches = list(context.batches())
    with removing(hooks), torch.no_grad():
        for batch in context.progress(batches, "what is added", len(batches)):
            forward(model, *batch)
    for name in units:
        if name not in moments or not bool(torch.isfinite(moments[name]).all()):
            raise ModelError(f"{name} met no calibration data, or values that are not finite")
    return {name: contribution(layer.weight.detach(), moments[name] / counts[name]) for name, layer in layers.items()}
