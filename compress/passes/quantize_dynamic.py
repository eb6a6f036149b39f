"""quantize.dynamic: W8A8 whose activations are quantized as they come, each token on a grid of its own (Yao et al.
2022, ZeroQuant, arXiv:2206.01861): no calibration, and no range that a later input could leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compress.errors import ModelError, PromiseBroken
from compress.models.selectors import selector_problems
from compress.passes.base import Context, Pass, register

if TYPE_CHECKING:
    from torch import nn

    from compress.targets import Target


@register("quantize.dynamic")
@dataclass(frozen=True)
class QuantizeDynamic(Pass):
    """W8A8 of translators: int8 symmetric weights per channel, uint8 activations with a range for every token.

    Weights that an earlier pass quantized keep their codes, if an int8 kernel can run them.

    targets  which linear layers run in int8: names, globs, 're:…' or 'role:…'.
    ignore   which of them do not.
    """

    targets: tuple[str, ...] = ("role:linear",)
    ignore: tuple[str, ...] = ()

    def selectors(self) -> tuple[str, ...]:
        return (*self.targets, *self.ignore)

    def problems(self, target: Target) -> list[str]:
        problems = selector_problems(self.selectors())
        if 8 not in target.activation_bits or 8 not in target.weight_bits or "channel" not in target.granularities:
            problems.append(f"target {target.name} runs no 8-bit weights per channel with 8-bit activations")
        return problems

    def task_problems(self, task: str, languages: tuple[str, ...]) -> list[str]:
        return [] if task == "translation" else ["graphs of translators alone scale activations: write quantize.static"]

    def layers(self, model: nn.Module) -> dict[str, nn.Linear]:
        """The selected layers.  Raises ModelError for one that is no linear layer."""
        from torch import nn

        from compress.models.layers import select

        chosen = {}
        for name, layer in select(model, self.targets, self.ignore).items():
            if not isinstance(layer, nn.Linear):
                raise ModelError(
                    f"{self.name}: {name} is a convolution, and those take ranges from data: use quantize.static, or "
                    "'targets: [role:linear]'"
                )
            chosen[name] = layer
        return chosen

    def requires(self, model: nn.Module, context: Context) -> None:
        from compress.models.activations import quantized_activations
        from compress.models.finite import refuse_infinite
        from compress.models.quantized import stored

        if quantized_activations(model):
            raise ModelError(f"{self.name}: activations are quantized already: leave quantize.static or this out")
        for name, layer in self.layers(model).items():
            part = stored(layer)
            if part is None:
                refuse_infinite(self.name, name, layer)
            elif part.quantized.zero_points is not None or part.quantized.scales.shape[1] != 1:
                raise ModelError(
                    f"{self.name}: the weight of {name} has a float scale or a zero point for each group, and no int8 "
                    "kernel runs that: give its quantize.weights 'group_scales: integer', or put it under 'ignore'"
                )

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        from compress.models.dynamic import add_dynamic_layers
        from compress.models.quantized import set_weight, stored
        from compress.numerics.grid import nearest

        layers = self.layers(model)
        for layer in layers.values():
            if stored(layer) is None:
                set_weight(layer, nearest(layer.weight, 8, limit=context.target.int8_range))
        add_dynamic_layers(model, layers)
        return model

    def ensures(self, model: nn.Module, context: Context) -> None:
        from compress.models.dynamic import DynamicInput, dynamic_layers
        from compress.models.quantized import stored

        marked = dynamic_layers(model)
        for name, layer in self.layers(model).items():
            if stored(layer) is None:
                raise PromiseBroken(f"{self.name}: the weight of {name} is float, int8 was asked for")
            hooked = any(isinstance(hook, DynamicInput) for hook in layer._forward_pre_hooks.values())
            if name not in marked or not hooked:
                raise PromiseBroken(f"{self.name}: the inputs of {name} are float, 8 bits were asked for")
