"""equalize: neighbouring layers share their channels' ranges (cross-layer equalization, Nagel et al. 2019,
arXiv:1906.04721, sec. 4.1): W₁/s, b₁/s and W₂·s compute the same through a ReLU, and with s = √(r₁/r₂) both have the
range √(r₁·r₂) in every channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge

from compress.errors import ModelError
from compress.passes.base import Context, Pass, register

if TYPE_CHECKING:
    from torch import Tensor, nn

TOLERANCE = 1e-3  # a sweep that changes no channel by more ends the iteration


@register("equalize")
@dataclass(frozen=True)
class Equalize(Pass):
    """Even out the channel ranges of neighbouring layers; exact in float.

    Two layers are neighbours where nothing else reads the first one's result and only a ReLU, or nothing, lies between.
    A ReLU6 clips at a fixed height and is not passed.

    iterations  sweeps over all pairs; a chain of several layers needs more than one.
    """

    iterations: Annotated[int, Ge(1)] = 20

    def requires(self, model: nn.Module, context: Context) -> None:
        from compress.models.quantized import quantized_weights

        if quantized_weights(model):
            raise ModelError(f"{self.name}: weights are quantized already: put it before the quantize passes")

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        pairs = [(model.get_submodule(a), model.get_submodule(b)) for a, b in neighbours(model, context)]
        for _ in range(self.iterations):
            changes = [equalize(first, second) for first, second in pairs]
            if max(changes, default=0.0) < TOLERANCE:
                break
        context.notes.append(f"{len(pairs)} pairs of layers")
        return model


def neighbours(model: nn.Module, context: Context) -> list[tuple[str, str]]:
    """(first, second) layers by name whose ranges can be traded."""
    from compress.models.calls import record
    from compress.models.sites import WEIGHTED

    graph = record(model, *context.example())
    ran = [call.module for call in graph if call.function in WEIGHTED]
    pairs = []
    for call in graph:
        if call.function not in WEIGHTED:
            continue
        consumers = graph.consumers(call.key)
        if len(consumers) == 1 and consumers[0].function == "relu":
            consumers = graph.consumers(consumers[0].key)
        if len(consumers) != 1 or consumers[0].function not in WEIGHTED or call.key in graph.outputs:
            continue
        first, second = call.module, consumers[0].module
        once = ran.count(first) == 1 and ran.count(second) == 1
        if once and same_channels(model.get_submodule(first), model.get_submodule(second)):
            pairs.append((first, second))
    return pairs


def same_channels(first: Any, second: Any) -> bool:
    """Whether the second's inputs are the first's outputs one by one, seen from the weights."""
    from torch import nn

    from compress.models.layers import WEIGHTED, is_depthwise

    if not (isinstance(first, WEIGHTED) and isinstance(second, WEIGHTED)):
        return False
    if isinstance(first, nn.Linear) or isinstance(second, nn.Linear):
        return isinstance(first, nn.Linear) and isinstance(second, nn.Linear)
    # a depthwise layer may give several outputs a channel
    return second.groups == 1 or (is_depthwise(second) and second.out_channels == second.in_channels)


def equalize(first: Any, second: Any) -> float:
    """Equalize one pair in place; returns the largest relative change of a channel."""
    import torch

    from compress.models.layers import is_depthwise, raw_weight

    depthwise = is_depthwise(second)
    with torch.no_grad():
        before = _ranges(first.weight, 0)
        after = _ranges(second.weight, 0 if depthwise else 1)
        usable = (before > 0) & (after > 0)
        factor = torch.where(usable, (before / after.clamp_min(1e-30)).sqrt(), torch.ones_like(before))
        producer, consumer = raw_weight(first), raw_weight(second)  # a mask of what is pruned stays over them
        assert producer is not None
        assert consumer is not None
        producer.div_(_along(factor, producer, 0))
        if first.bias is not None:
            first.bias.div_(factor)
        consumer.mul_(_along(factor, consumer, 0 if depthwise else 1))
        return float((factor - 1).abs().max())


def _ranges(weight: Tensor, axis: int) -> Tensor:
    return weight.abs().transpose(0, axis).reshape(weight.shape[axis], -1).amax(1)


def _along(factor: Tensor, weight: Tensor, axis: int) -> Tensor:
    shape = [1] * weight.dim()
    shape[axis] = -1
    return factor.reshape(shape)
