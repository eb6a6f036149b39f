"""quantize.weights: weights in 2 to 8 bits, per tensor, channel or group; activations stay as they are.

Rounding: to nearest with searched scales; HQQ (Badri & Shaji 2023, https://mobiusml.github.io/hqq_blog/); AWQ (Lin et
al. 2023, arXiv:2306.00978); GPTQ (Frantar et al. 2022, arXiv:2210.17323); AdaRound (Nagel et al. 2020,
arXiv:2004.10568), layer by layer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeAlias

from annotated_types import Ge, Interval

from compress.errors import ModelError
from compress.models.selectors import selector_problems
from compress.passes.base import Context, register
from compress.passes.rounding import RoundingPass, refuse_masked

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.models.layers import Layer, Weighted
    from compress.models.statistics import Gram
    from compress.numerics.weight import QuantizedWeight
    from compress.targets import Target


Bits: TypeAlias = Annotated[int, Interval(ge=2, le=8)]
CHOICES = (
    2,
    3,
    4,
    8,
)  # of num_bits auto, where a recipe gives none: those with a kernel, and 3, which runs in that of 4


@dataclass(frozen=True)
class Choice:
    """What a layer may be given.

    num_bits    bits of a weight.
    group_size  inputs that share a scale; null: as the pass says.
    """

    num_bits: Bits
    group_size: Annotated[int, Ge(2)] | None = None


@register("quantize.weights")
@dataclass(frozen=True)
class QuantizeWeights(RoundingPass):
    """Store weights in 2 to 8 bits, per tensor, channel or group.

    num_bits      bits of a weight; auto: of each layer those of `choices` that together fit the recipe's budget of
                  bytes and lose the least, by the divergence of the outputs on the calibration data.
    choices       of auto: numbers of bits, or of bits with a group size; empty: 2, 3, 4 and 8.
    targets       which convolutions and linear layers: names, globs, 're:…' or 'role:…'; embeddings, and heads that
                  are tied to one, only by a selector that means nothing else ('role:embedding').
    ignore        which of them not; a layer that an earlier pass quantized keeps its codes.
    strategy      one scale a tensor, an output channel, or a group of neighbouring inputs of a channel.
    group_size    inputs that share a scale, with strategy 'group'.
    symmetric     no zero points.
    midrise       levels at ±½, ±1½, … steps, none of them zero: the better grid of 2 bits; symmetric.
    group_scales  'float16', or 'integer': a group's scale is its channel's times 1 … 16. It takes 4 bits instead of
                  16, and int8 kernels can run it (quantize.static after it).
    algorithm     'rtn' rounds to nearest; 'hqq' does with zero points that a sparse error likes best; 'awq' scales
                  input channels by their activations first, where that can be folded; 'gptq' lets later inputs make
                  up for each rounding error; 'adaround' learns to round up or down against the layer's own output.
    act_order     gptq: the most active inputs first, else in their own order.
    damping       gptq: share of the mean diagonal of the Hessian that is added to it.
    iterations    adaround: optimizer steps a layer.

    An embedding that is also the head is calibrated as the head, on the last hidden states; any other embedding is
    rounded to nearest, since every row is met as it is.
    """

    short: ClassVar[str | None] = "num_bits"

    num_bits: Bits | Literal["auto"]
    choices: tuple[Bits | Choice, ...] = ()
    targets: tuple[str, ...] = ("*",)
    ignore: tuple[str, ...] = ()
    strategy: Literal["tensor", "channel", "group"] = "channel"
    group_size: Annotated[int, Ge(2)] | None = None
    symmetric: bool = True
    midrise: bool = False
    group_scales: Literal["float16", "integer"] = "float16"
    algorithm: Literal["rtn", "hqq", "awq", "gptq", "adaround"] = "rtn"
    act_order: bool = True
    damping: Annotated[float, Interval(gt=0, le=1)] = 0.01
    iterations: Annotated[int, Ge(1)] = 500

    def problems(self, target: Target) -> list[str]:
        if self.num_bits == "auto":
            if len(self.choices) == 1:
                return ["choices: there is one: give more, such as [2, 3, 4, 8], or write it as num_bits"]
            if self.algorithm == "awq":
                return ["algorithm 'awq' tries layers together in one number of bits: of 'auto' take gptq or rtn"]
            found = [problem for step in self.steps() for problem in step.problems(target)]
            return [problem.replace("num_bits is", "choices: num_bits is") for problem in dict.fromkeys(found)]
        problems = selector_problems(self.selectors())
        if self.choices:
            problems.append("choices are of 'num_bits: auto': write that, or take them out")
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
        if self.midrise and (not self.symmetric or self.num_bits == 8):
            problems.append("midrise is for symmetric weights of at most 7 bits")
        if self.algorithm == "hqq" and (self.symmetric or self.strategy == "tensor"):
            problems.append("algorithm 'hqq' seeks zero points of channels or groups: give 'symmetric: false'")
        return problems

    def requires(self, model: nn.Module, context: Context) -> None:
        from torch import nn

        super().requires(model, context)
        for name, layer in self.layers(model).items():
            if self.midrise:
                refuse_masked(self.name, name, layer)
            if self.algorithm == "adaround" and isinstance(layer, nn.Embedding):
                raise ModelError(f"{self.name}: {name} is an embedding, too large for 'adaround': take gptq or rtn")

    def steps(self) -> list[QuantizeWeights]:
        """What each layer may be given, or is: passes of plain bits."""
        if self.num_bits != "auto":
            return [self]
        choices = [each if isinstance(each, Choice) else Choice(each) for each in self.choices or CHOICES]
        return [
            replace(self, num_bits=each.num_bits, choices=(), group_size=each.group_size or self.group_size)
            for each in choices
        ]

    def shares_budget(self) -> bool:
        return self.num_bits == "auto"

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        layers = self.layers(model)
        if self.num_bits == "auto":
            from compress.passes.auto_bits import allocated

            by_name = allocated(model, layers, self.steps(), context)
            steps: dict[nn.Module, QuantizeWeights] = {layers[name]: step for name, step in by_name.items()}
        else:
            steps = dict.fromkeys(layers.values(), self)

        def alone(layer: Weighted) -> QuantizedWeight:
            return steps[layer].layer_nearest(layer)

        def rounded(layer: Layer, gram: Gram) -> QuantizedWeight:
            step = steps[layer]
            return step.gptq(layer, gram) if self.algorithm == "gptq" else step.adaround(layer, gram)

        if self.algorithm in ("rtn", "hqq"):
            self.alone(model, context, alone)
        elif self.algorithm == "awq":
            from compress.passes.awq import awq
            from compress.passes.calibrating import embeddings_first

            awq(model, embeddings_first(model, layers, context, self.weighted, alone), context, self.weighted)
        else:
            self.calibrated(model, context, rounded, alone)
        return model

    def nearest(self, weight: Tensor) -> QuantizedWeight:
        """The weight rounded without data."""
        if self.algorithm == "hqq":
            from compress.numerics.hqq import hqq

            assert self.num_bits != "auto"  # `steps` are asked
            return hqq(weight, self.num_bits, self.group_size)
        return super().nearest(weight)

    def grid(self, weight: Tensor, importance: Tensor | None) -> QuantizedWeight:
        """The weight rounded to nearest, on scales that lose the least of the output's squared error."""
        from compress.numerics.grid import nearest

        assert self.num_bits != "auto"
        return nearest(
            weight,
            self.num_bits,
            self.group_size,
            per_tensor=self.strategy == "tensor",
            symmetric=self.symmetric,
            integer_scales=self.group_scales == "integer",
            importance=importance,
            midrise=self.midrise,
        )

    def adaround(self, layer: Layer, gram: Gram) -> QuantizedWeight:
        from compress.models.masks import mask_of
        from compress.numerics.adaround import adaround

        grid = self.weighted(layer, gram)
        return adaround(layer.weight, grid, gram.hessian(), self.iterations, mask_of(layer))

    @property
    def asked(self) -> str:
        return f"{self.num_bits} bits"

    @property
    def choice(self) -> str:
        """What of it choices may say."""
        return self.asked if self.group_size is None else f"{self.asked} by {self.group_size}"
