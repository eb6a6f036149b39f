"""quantize.static: W8A8 with activation ranges from calibration data (Jacob et al. 2018, arXiv:1712.05877; ranges by
entropy: Migacz 2017; by squared error: Banner et al. 2019, arXiv:1810.05723)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Interval

from compress.errors import ModelError, PromiseBroken
from compress.models.selectors import selector_problems
from compress.passes.base import Context, Pass, register

if TYPE_CHECKING:
    from torch import nn

    from compress.models.activations import QuantizedActivation
    from compress.targets import Target


@register("quantize.static")
@dataclass(frozen=True)
class QuantizeStatic(Pass):
    """W8A8: int8 symmetric weights per channel, uint8 affine activations with ranges from calibration data.

    Where a target runs no zero points (TensorRT), activations are int8 and symmetric.

    Weights that an earlier pass quantized keep their codes, if an int8 kernel can run them.

    num_bits    bits of the activations; weights take 8.
    observer    how a range is found: all that was seen, a percentile, the least KL divergence or squared error.
    percentile  share of values, in %, that the observer 'percentile' keeps inside.
    targets     which convolutions and linear layers run in int8: names, globs, 're:…' or 'role:…'.
    ignore      which of them do not.
    """

    num_bits: Annotated[int, Interval(ge=4, le=8)] = 8
    observer: Literal["minmax", "percentile", "entropy", "mse"] = "mse"
    percentile: Annotated[float, Interval(gt=50, le=100)] = 99.99
    targets: tuple[str, ...] = ("*",)
    ignore: tuple[str, ...] = ()

    def selectors(self) -> tuple[str, ...]:
        return (*self.targets, *self.ignore)

    def task_problems(self, task: str, languages: tuple[str, ...]) -> list[str]:
        if task == "text_to_image":
            return ["the parts of a pipeline are graphs with float between them: write quantize.weights"]
        return super().task_problems(task, languages)

    def problems(self, target: Target) -> list[str]:
        problems = selector_problems(self.selectors())
        refused = target.refuses_activations(self.num_bits)
        if refused:
            problems.append(f"num_bits is {self.num_bits}: {refused}")
        if 8 not in target.weight_bits or "channel" not in target.granularities:
            problems.append(f"target {target.name} runs no 8-bit weights per channel: choose another target")
        return problems

    def requires(self, model: nn.Module, context: Context) -> None:
        from compress.models.layers import select
        from compress.models.quantized import stored
        from compress.numerics.weight import odd
        from compress.passes.fold_batchnorm import foldable

        left = foldable(model, context)
        if left:
            raise ModelError(
                f"{self.name}: {left[0][1]} follows {left[0][0]} and would run in float: put fold.batchnorm before"
            )
        for name, layer in select(model, self.targets, self.ignore).items():
            weight = stored(layer)
            if weight is None:
                continue
            if weight.quantized.zero_points is not None or weight.quantized.scales.shape[1] != 1:
                raise ModelError(
                    f"{self.name}: the weight of {name} has a float scale or a zero point for each group, and no int8 "
                    "kernel runs that: give its quantize.weights 'group_scales: integer', or put it under 'ignore'"
                )
            largest = int(odd(weight.quantized).int8().int().abs().max())
            if largest > context.target.int8_range + 1:  # −128 beside 127 is fine
                raise ModelError(
                    f"{self.name}: the weight of {name} reaches {largest}, and target {context.target.name} takes int8 "
                    f"weights up to {context.target.int8_range}: put it under 'ignore', or choose another target"
                )

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        from compress.models.activations import quantized_activations, set_activations
        from compress.models.layers import select
        from compress.models.quantized import set_weight, stored
        from compress.numerics.grid import nearest

        layers = select(model, self.targets, self.ignore)
        for layer in layers.values():
            if stored(layer) is None:
                set_weight(layer, nearest(layer.weight, 8, limit=context.target.int8_range))
        table = quantized_activations(model)
        set_activations(model, table | self.ranges(model, set(layers), context))
        return model

    def ranges(self, model: nn.Module, layers: set[str], context: Context) -> dict[str, QuantizedActivation]:
        """The grid of every tensor that int8 kernels meet."""
        from compress.models.calls import record
        from compress.models.sites import quantized_calls
        from compress.passes.activation_ranges import find_grids

        keys = quantized_calls(record(model, *context.example()), layers)
        bits = dict.fromkeys(keys, self.num_bits)
        return find_grids(model, bits, context, self.name, self.observer, self.percentile)

    def ensures(self, model: nn.Module, context: Context) -> None:
        from compress.models.activations import quantized_activations
        from compress.models.calls import record
        from compress.models.layers import select
        from compress.models.quantized import stored
        from compress.models.sites import quantized_calls

        layers = select(model, self.targets, self.ignore)
        for name, layer in layers.items():
            if stored(layer) is None:
                raise PromiseBroken(f"{self.name}: the weight of {name} is float, int8 was asked for")
        missing = set(quantized_calls(record(model, *context.example()), set(layers))) - set(
            quantized_activations(model)
        )
        if missing:
            raise PromiseBroken(f"{self.name}: {min(missing)} is float, {self.num_bits} bits were asked for")
