"""quantize.ternary: weights −s, 0 and s, in 1.6 bits, or, three of every four neighbours ±s, in 1.25.

Scales: BitNet b1.58 (Ma et al. 2024, arXiv:2402.17764), TWN (Li & Liu 2016, arXiv:1605.04711), Sherry (Huang et al.
2026); error compensation by GPTQ (Frantar et al. 2022, arXiv:2210.17323), which for 3:4 chooses as SparseGPT does
(Frantar & Alistarh 2023, arXiv:2301.00774)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from annotated_types import Ge, Interval

from compress.errors import ModelError
from compress.models.selectors import selector_problems
from compress.passes.base import Context, register
from compress.passes.rounding import RoundingPass

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.models.layers import Weighted
    from compress.numerics.weight import Packing, QuantizedWeight
    from compress.targets import Target

Ternary: TypeAlias = Literal[1.25, 1.33, 1.6]  # type: ignore[valid-type]
PACKINGS: dict[float, Packing] = {1.6: "trits", 1.25: "3:4", 1.33: "3:4-words"}
IN_FOURS = (1.25, 1.33)  # bits of which every four neighbours keep three


@register("quantize.ternary")
@dataclass(frozen=True)
class QuantizeTernary(RoundingPass):
    """Store weights as −s, 0 and s, in 1.25 to 1.6 bits and a scale a group.

    num_bits    1.6: any of them anywhere. 1.25: of every four neighbours of a row exactly one is zero. 1.33: likewise,
                stored in words that take 1.15 bytes of memory a weight while a session loads, in place of 1.80.
    targets     which convolutions and linear layers: names, globs, 're:…' or 'role:…'; embeddings, and heads that are
                tied to one, only by a selector that means nothing else ('role:embedding').
    ignore      which of them not; a layer that an earlier pass quantized keeps its codes.
    group_size  inputs that share a scale; null: all of an output channel.
    scales      'absmean': the mean magnitude; 'twn': that of the weights that are not zero; 'least-squares': scales and
                codes in turn, each the best for the other.
    algorithm   'rtn': without data; 'diagonal': least squares of the layer's output, by the diagonal of the Hessian;
                'gptq': from there on, later inputs make up for each rounding error.
    act_order   gptq: the most active inputs first (of 3:4 the most active fours), else in their own order.
    damping     gptq: share of the mean diagonal of the Hessian that is added to it.

    Without training after it only models of far too many weights survive it: put distill.quantized behind.
    """

    num_bits: Ternary = 1.6
    targets: tuple[str, ...] = ("*",)
    ignore: tuple[str, ...] = ()
    group_size: Annotated[int, Ge(2)] | None = None
    scales: Literal["absmean", "twn", "least-squares"] = "least-squares"
    algorithm: Literal["rtn", "diagonal", "gptq"] = "gptq"
    act_order: bool = True
    damping: Annotated[float, Interval(gt=0, le=1)] = 0.01

    @property
    def packing(self) -> Packing:
        return PACKINGS[self.num_bits]

    @property
    def asked(self) -> str:
        return f"{self.num_bits} bits"

    def problems(self, target: Target) -> list[str]:
        problems = selector_problems(self.selectors())
        if 2 not in target.weight_bits:
            known = ", ".join(map(str, target.weight_bits))
            problems.append(f"ternary weights run as 2 bits: target {target.name} takes weights of {known} bits")
        if self.group_size is not None and "group" not in target.granularities:
            known = ", ".join(target.granularities)
            problems.append(f"group_size is {self.group_size}: target {target.name} takes scales per {known}")
        problems += group_problems(self.num_bits, self.group_size)
        if self.algorithm != "rtn" and self.scales != "least-squares":
            problems.append(f"scales '{self.scales}' are found without data: give algorithm 'rtn', or 'least-squares'")
        return problems

    def requires(self, model: nn.Module, context: Context) -> None:
        super().requires(model, context)
        if self.num_bits in IN_FOURS:
            for name, layer in self.layers(model).items():
                require_fours(self.name, name, layer)

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        if self.algorithm == "rtn":
            self.alone(model, context)
        else:
            self.calibrated(model, context, self.weighted if self.algorithm == "diagonal" else self.gptq)
        return model

    def grid(self, weight: Tensor, importance: Tensor | None) -> QuantizedWeight:
        from compress.numerics.ternary import ternary

        return ternary(weight, self.packing, self.group_size, self.scales, importance)


def group_problems(num_bits: float, group_size: int | None) -> list[str]:
    """What is wrong with groups of this size, for weights of `num_bits` bits."""
    if num_bits in IN_FOURS and group_size is not None and group_size % 4:
        return [f"group_size is {group_size}: {num_bits} bits cut groups into fours"]
    return []


def require_fours(who: str, name: str, layer: Weighted) -> None:
    """Raise ModelError, for the pass `who`, unless the layer's rows can be cut into fours that each keep three."""
    from compress.models.masks import mask_of

    columns = layer.weight[0].numel()
    if columns % 4:
        raise ModelError(f"{who}: {name} has {columns} weights a row, no fours: put it under 'ignore'")
    if mask_of(layer) is not None:
        raise ModelError(f"{who}: {name} is pruned, and of fours one weight is: take num_bits 1.6")
