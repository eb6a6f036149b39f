"""quantize.weights: weights in 2 to 8 bits, per tensor, channel or group; activations stay as they are.

Rounding: to nearest with searched scales; GPTQ (Frantar et al. 2022, arXiv:2210.17323); AdaRound (Nagel et al. 2020,
arXiv:2004.10568), layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Interval

from compress.errors import ModelError, PromiseBroken
from compress.models.selectors import selector_problems
from compress.passes.base import Context, Pass, register

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.models.layers import Layer
    from compress.models.statistics import Gram
    from compress.numerics.weight import QuantizedWeight
    from compress.targets import Target


@register("quantize.weights")
@dataclass(frozen=True)
class QuantizeWeights(Pass):
    """Store weights in 2 to 8 bits, per tensor, channel or group.

    num_bits      bits of a weight.
    targets       which convolutions and linear layers: names, globs, 're:…' or 'role:…'.
    ignore        which of them not; a layer that an earlier pass quantized keeps its codes.
    strategy      one scale a tensor, an output channel, or a group of neighbouring inputs of a channel.
    group_size    inputs that share a scale, with strategy 'group'.
    symmetric     no zero points.
    group_scales  'float16', or 'integer': a group's scale is its channel's times 1 … 16. It takes 4 bits instead of
                  16, and int8 kernels can run it (quantize.static after it).
    algorithm     'rtn' rounds to nearest; 'gptq' lets later inputs make up for each rounding error; 'adaround' learns
                  to round up or down against the layer's own output.
    damping       gptq: share of the mean diagonal of the Hessian that is added to it.
    iterations    adaround: optimizer steps a layer.
    """

    num_bits: Annotated[int, Interval(ge=2, le=8)]
    targets: tuple[str, ...] = ("*",)
    ignore: tuple[str, ...] = ()
    strategy: Literal["tensor", "channel", "group"] = "channel"
    group_size: Annotated[int, Ge(2)] | None = None
    symmetric: bool = True
    group_scales: Literal["float16", "integer"] = "float16"
    algorithm: Literal["rtn", "gptq", "adaround"] = "rtn"
    damping: Annotated[float, Interval(gt=0, le=1)] = 0.01
    iterations: Annotated[int, Ge(1)] = 500

    def selectors(self) -> tuple[str, ...]:
        return (*self.targets, *self.ignore)

    def problems(self, target: Target) -> list[str]:
        problems = selector_problems(self.selectors())
        if self.num_bits not in target.weight_bits:
            known = ", ".join(map(str, target.weight_bits))
            problems.append(f"num_bits is {self.num_bits}: target {target.name} takes weights of {known} bits")
        if self.strategy not in target.granularities:
            known = ", ".join(target.granularities)
            problems.append(f"strategy is '{self.strategy}': target {target.name} takes scales per {known}")
        if (self.strategy == "group") != (self.group_size is not None):
            problems.append("strategy 'group' and group_size go together: give both, or neither")
        if self.group_scales == "integer" and (self.strategy != "group" or self.num_bits > 4 or not self.symmetric):
            # 16 · 2^(b−1) must not leave int8
            problems.append("group_scales 'integer' is for strategy 'group', symmetric, and at most 4 bits")
        return problems

    def requires(self, model: nn.Module, context: Context) -> None:
        import torch

        for name, layer in self.layers(model).items():
            if not bool(torch.isfinite(layer.weight).all()):
                raise ModelError(f"{self.name}: the weight of {name} is not finite")

    def layers(self, model: nn.Module) -> dict[str, Layer]:
        """The selected layers that are still float."""
        from compress.models.layers import select
        from compress.models.quantized import stored

        chosen = select(model, self.targets, self.ignore)
        return {name: layer for name, layer in chosen.items() if stored(layer) is None}

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        from compress.models.quantized import set_weight

        layers = self.layers(model)
        if self.algorithm == "rtn":
            for layer in context.progress(layers.values(), "rounding", len(layers)):
                set_weight(layer, self.grid(layer.weight, None))
            return model
        rounders: dict[str, Callable[[Layer, Gram, Context], QuantizedWeight]] = {
            "gptq": self.gptq,
            "adaround": self.adaround,
        }
        by_block(model, layers, context, rounders[self.algorithm])
        return model

    def grid(self, weight: Tensor, importance: Tensor | None) -> QuantizedWeight:
        """The weight rounded to nearest, on scales that lose the least of the output's squared error."""
        from compress.numerics.grid import nearest

        return nearest(
            weight,
            self.num_bits,
            self.group_size,
            per_tensor=self.strategy == "tensor",
            symmetric=self.symmetric,
            integer_scales=self.group_scales == "integer",
            importance=importance,
        )

    def gptq(self, layer: Layer, gram: Gram, context: Context) -> QuantizedWeight:
        from compress.numerics.gptq import gptq

        return gptq(layer.weight, self.grid(layer.weight, gram.importance()), gram.hessian(), self.damping)

    def adaround(self, layer: Layer, gram: Gram, context: Context) -> QuantizedWeight:
        from compress.numerics.adaround import adaround

        grid = self.grid(layer.weight, gram.importance())
        return adaround(layer.weight, grid, gram.hessian(), self.iterations)

    def ensures(self, model: nn.Module, context: Context) -> None:
        from compress.models.layers import select
        from compress.models.quantized import stored

        for name, layer in select(model, self.targets, self.ignore).items():
            if stored(layer) is None:
                raise PromiseBroken(f"{self.name}: the weight of {name} is float, {self.num_bits} bits were asked for")


def by_block(
    model: nn.Module,
    layers: dict[str, Layer],
    context: Context,
    rounded: Callable[[Layer, Gram, Context], QuantizedWeight],
) -> None:
    """Quantize block after block, each layer on the inputs that the quantized layers before it give."""
    import torch

    from compress.models.blocks import BlockWalk, find_blocks, inside, run_block
    from compress.models.quantized import set_weight
    from compress.models.statistics import collect

    blocks = find_blocks(model, *context.example())
    for name in layers:
        if not any(inside(name, block) for block in blocks):
            raise ModelError(f"{name} did not run on the calibration data: put it under 'ignore'")
    walk = BlockWalk(model, blocks, list(context.batches()))
    last = max((number for number, block in enumerate(blocks) if any(inside(n, block) for n in layers)), default=-1)
    for block in context.progress(blocks[: last + 1], "rounding by blocks", last + 1):
        inputs = walk.inputs(block)
        for name, layer in layers.items():
            if inside(name, block):
                with collect({name: layer}) as grams:
                    run_block(model, block, inputs)
                with torch.no_grad():
                    quantized = rounded(layer, grams[name], context)
                set_weight(layer, quantized)
        walk.done(block, run_block(model, block, inputs))
