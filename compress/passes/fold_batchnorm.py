"""fold.batchnorm: a batch normalisation after a convolution or linear layer becomes part of it (Jacob et al. 2018,
arXiv:1712.05877, sec. 3.2): γ·(W·x + b − μ)/σ + β = (γ/σ)·W·x + (b − μ)·γ/σ + β."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compress.errors import ModelError, PromiseBroken
from compress.passes.base import Context, Pass, register

if TYPE_CHECKING:
    from torch import nn


@register("fold.batchnorm")
@dataclass(frozen=True)
class FoldBatchNorm(Pass):
    """Fold every batch normalisation into the convolution or linear layer before it; exact in float.

    A normalisation is folded where its input is one layer's result, which nothing else reads.  One that comes before
    its layer, or follows a sum, stays.
    """

    def requires(self, model: nn.Module, context: Context) -> None:
        from compress.models.quantized import stored

        for layer, norm in foldable(model, context):
            gamma: Any = model.get_submodule(norm).weight
            if stored(model.get_submodule(layer)) is not None and gamma is not None and bool((gamma <= 0).any()):
                raise ModelError(
                    f"{self.name}: the weight of {layer} is quantized already, and {norm} turns the sign of its "
                    "channels: put it before the quantize passes"
                )

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        for layer, norm in foldable(model, context):
            fold(model.get_submodule(layer), model.get_submodule(norm))
            model.set_submodule(norm, what_remains(model.get_submodule(norm)))
        return model

    def restructure(self, model: nn.Module, context: Context) -> nn.Module:
        return self.apply(model, context)

    def ensures(self, model: nn.Module, context: Context) -> None:
        left = foldable(model, context)
        if left:
            raise PromiseBroken(f"{self.name}: {left[0][1]} still follows {left[0][0]} unfolded")


def foldable(model: nn.Module, context: Context) -> list[tuple[str, str]]:
    """(layer, batch normalisation) by name, for each pair that can be one layer."""
    from compress.models.calls import record

    if all(getattr(module, "running_mean", None) is None for module in model.modules()):
        return []  # without a forward, for which a training of weights alone may have no inputs
    graph = record(model, *context.example())
    ran = [call.module for call in graph if call.function in ("conv1d", "conv2d", "linear", "batch_norm")]
    pairs = []
    for call in graph:
        producer = graph.calls.get(call.inputs[0]) if call.function == "batch_norm" and call.inputs else None
        if producer is None or producer.function not in ("conv1d", "conv2d", "linear"):
            continue
        once = ran.count(producer.module) == ran.count(call.module) == len(graph.consumers(producer.key)) == 1
        # behind a linear layer of a sequence the norm counts axis 1, and the layer's outputs are the last
        same_axis = producer.function != "linear" or len(producer.shape) == 2
        known = same_axis and has_statistics(model, producer.module, call.module)
        if once and known and producer.key not in graph.outputs:
            pairs.append((producer.module, call.module))
    return pairs


def has_statistics(model: nn.Module, layer: str, norm: str) -> bool:
    """Whether both are modules that own what folding needs: a weight, and running mean and variance."""
    norm_module = model.get_submodule(norm)
    return hasattr(model.get_submodule(layer), "weight") and getattr(norm_module, "running_mean", None) is not None


def fold(layer: Any, norm: Any) -> None:
    """Give `layer` the weight and bias of both, computed in float64; a quantized one keeps its codes."""
    import torch

    from compress.models.layers import raw_weight
    from compress.models.quantized import stored

    with torch.no_grad():
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * norm.weight.double()
        bias = torch.zeros_like(norm.running_mean, dtype=torch.float64) if layer.bias is None else layer.bias.double()
        bias = (bias - norm.running_mean.double()) * scale
        if norm.bias is not None:
            bias = bias + norm.bias.double()
        weight = raw_weight(layer)  # a mask of what is pruned stays over it
        assert weight is not None
        weight.copy_((weight.double() * scale.reshape(-1, *[1] * (weight.dim() - 1))).to(weight.dtype))
        part = stored(layer)
        if part is not None:
            part.scales = (part.scales.double() * scale[:, None]).float()
        layer.bias = torch.nn.Parameter(bias.to(weight.dtype))


def what_remains(norm: Any) -> nn.Module:
    """What a folded normalisation still does: nothing, or (timm's BatchNormAct2d) its activation."""
    from torch import nn

    children = [child for child in norm.children() if not isinstance(child, nn.Identity)]
    if not children:
        return nn.Identity()
    return children[0] if len(children) == 1 else nn.Sequential(*children)
