"""quantize.svd: a thin float branch takes what low bits hold worst of each weight (SVDQuant, Li et al. 2024,
arXiv:2411.05007): x · Wᵀ = x̂ · R̂ᵀ + x · (up · down)ᵀ, with x̂ = x / s, W · s = R + up · down · s, and R in few bits.

s moves outliers of activations into the weight (eq. 4 of SmoothQuant, Xiao et al. 2022, arXiv:2211.10438), and the
largest singular directions of the weight, where they then lie, stay float.  The paper multiplies 4-bit activations with
4-bit weights.  ONNX Runtime has no such kernel: activations stay float here, or become int8 by a later pass, and what
is gained is the error of the weights, not the speed of W4A4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Interval

from compress.errors import ModelError, PromiseBroken
from compress.models.selectors import selector_problems
from compress.passes.base import Context, register
from compress.passes.quantize_weights import Bits, QuantizeWeights
from compress.passes.rounding import RoundingPass

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.models.layers import Weighted
    from compress.numerics.weight import QuantizedWeight
    from compress.targets import Target


@register("quantize.svd")
@dataclass(frozen=True)
class QuantizeSvd(RoundingPass):
    """Store linear layers in few bits, with a thin branch in 16 bits beside each for what these hold worst.

    rank          of the branch: it takes 16 · rank · (inputs + outputs) bits a layer.
    num_bits      of the rest of the weight.
    alpha         how much of the activations' range goes into the weight, 0 to 1, before it is taken apart; null:
                  inputs are not scaled, and no data is needed for it.
    targets       which linear layers and 1×1 convolutions of one group: names, globs, 're:…' or 'role:…'.
    ignore        which of them not.
    group_size    inputs that share a scale; null: all of an output channel.
    symmetric     no zero points.
    group_scales  'float16', or 'integer', which int8 kernels can run: see quantize.weights.
    algorithm     of rounding the rest: 'rtn' to nearest, or 'gptq'.
    act_order     gptq: the most active inputs first, else in their own order.
    damping       gptq: share of the mean diagonal of the Hessian that is added to it.

    Weights alone are quantized: for activations put quantize.static or quantize.dynamic behind it, with targets such as
    're:residual$'.  The three layers in the place of each are named NAME.residual, NAME.branch.0 and NAME.branch.1;
    quantize.weights behind it may store the branches in 8 bits.
    """

    rank: Annotated[int, Ge(1)] = 32
    num_bits: Bits = 4
    alpha: Annotated[float, Interval(ge=0, le=1)] | None = 0.5
    targets: tuple[str, ...] = ("role:linear",)
    ignore: tuple[str, ...] = ()
    group_size: Annotated[int, Ge(2)] | None = 64
    symmetric: bool = True
    group_scales: Literal["float16", "integer"] = "float16"
    algorithm: Literal["rtn", "gptq"] = "gptq"
    act_order: bool = True
    damping: Annotated[float, Interval(gt=0, le=1)] = 0.01

    def problems(self, target: Target) -> list[str]:
        return selector_problems(self.selectors()) + self.rounding.problems(target)

    @property
    def rounding(self) -> QuantizeWeights:
        """How the rest is rounded."""
        return QuantizeWeights(
            self.num_bits,
            strategy="channel" if self.group_size is None else "group",
            group_size=self.group_size,
            symmetric=self.symmetric,
            group_scales=self.group_scales,
        )

    def grid(self, weight: Tensor, importance: Tensor | None) -> QuantizedWeight:
        return self.rounding.grid(weight, importance)

    def chosen(self, model: nn.Module) -> dict[str, Weighted]:
        """The layers whose weights become codes: those that have a branch already by their names behind it."""
        from compress.models.low_rank import Branched, select_whole

        return {
            f"{name}.residual" if isinstance(model.get_submodule(name), Branched) else name: layer
            for name, layer in select_whole(model, self.targets, self.ignore).items()
        }

    def requires(self, model: nn.Module, context: Context) -> None:
        from compress.models.low_rank import select_whole
        from compress.passes.matrices import check_matrices

        layers = select_whole(model, self.targets, self.ignore)
        check_matrices(self.name, model, layers)
        for name, layer in layers.items():
            smaller = min(layer.weight.shape[:2])
            if self.rank >= smaller:
                told = f"{self.name}: a branch of rank {self.rank} is all of {name}, of rank {smaller}"
                raise ModelError(f"{told}: give a smaller rank, or put it under 'ignore'")

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        from compress.models.low_rank import select_whole, split
        from compress.numerics.low_rank import randomized_svd
        from compress.passes.calibrating import torch_no_grad

        layers = select_whole(model, self.targets, self.ignore)
        scales = {} if self.alpha is None else self.scales(model, layers, context)
        with torch_no_grad():
            for name, layer in context.progress(layers.items(), "branches", len(layers)):
                scale = scales.get(name)
                matrix = layer.weight.reshape(layer.weight.shape[:2])
                factors = randomized_svd(matrix if scale is None else matrix * scale, self.rank, context.seed)
                split(model, name, *factors, scale)
        if self.algorithm == "rtn":
            self.alone(model, context)
        else:
            self.calibrated(model, context, self.gptq)
        return model

    def scales(self, model: nn.Module, layers: dict[str, Weighted], context: Context) -> dict[str, Tensor]:
        """s of each layer [in], one for those that read the same tensor."""
        import torch

        from compress.models.blocks import WEIGHTED
        from compress.models.calls import record
        from compress.passes.smooth import balanced, channel_ranges

        assert self.alpha is not None
        reading: dict[str, dict[str, None]] = {}
        seen = set[str]()
        for call in record(model, *context.example()):
            if call.function in WEIGHTED and call.module in layers and call.module not in seen:
                seen.add(call.module)
                reading.setdefault(call.inputs[0] if call.inputs else call.key, {})[call.module] = None
        heights = channel_ranges(model, list(layers), context, self.name)
        found: dict[str, Tensor] = {}
        for names in reading.values():
            height = torch.stack([heights[name] for name in names]).amax(0)
            width = torch.cat([layers[name].weight.detach().flatten(1) for name in names]).abs().amax(0)
            found |= dict.fromkeys(names, balanced(height, width, self.alpha))
        return found

    def branch_bytes(self, model: nn.Module) -> dict[str, int]:
        """Of the branch of each layer that has none yet, with what its inputs are divided by."""
        from compress.models.low_rank import Branched, select_whole
        from compress.numerics.low_rank import num_parameters

        found: dict[str, int] = {}
        for name, layer in select_whole(model, self.targets, self.ignore).items():
            if not isinstance(model.get_submodule(name), Branched):
                outputs, inputs = layer.weight.shape[:2]
                scale = 0 if self.alpha is None else 4 * inputs
                found[name] = 2 * num_parameters(outputs, inputs, self.rank) + scale
        return found

    def restructure(self, model: nn.Module, context: Context) -> nn.Module:
        import torch

        from compress.models.low_rank import Branched, branched, select_whole

        generator = torch.Generator().manual_seed(0)
        for name in select_whole(model, self.targets, self.ignore):
            if isinstance(model.get_submodule(name), Branched):  # a forecast from halfway through the passes
                continue
            module = branched(model, name, self.rank, scaled=self.alpha is not None)
            for value in (*module.branch.parameters(), *module.buffers(recurse=False)):
                # no two alike, as in life: a file holds equal ones once, and its bytes are forecast from this
                value.data.copy_(torch.rand(value.shape, generator=generator).half())
        return model

    def ensures(self, model: nn.Module, context: Context) -> None:
        from compress.models.low_rank import Branched, select_whole
        from compress.models.quantized import stored

        for name, layer in select_whole(model, self.targets, self.ignore).items():
            module = model.get_submodule(name)
            rank = module.branch.sizes[2] if isinstance(module, Branched) else 0
            if rank != self.rank:
                told = f"has a branch of rank {rank}" if rank else "has no branch"
                raise PromiseBroken(f"{self.name}: {name} {told}, one of rank {self.rank} was asked for")
            if stored(layer) is None:
                raise PromiseBroken(f"{self.name}: the weight of {name} is float, {self.asked} were asked for")

    @property
    def asked(self) -> str:
        return f"{self.num_bits} bits"
