"""smooth.timesteps: a denoiser's layers read inputs that are as large at every timestep, so that one int8 range is
right at all of them.

Activations change with the timestep (PTQ4DM, Shang et al. 2023, arXiv:2211.15736; Q-Diffusion, Li et al. 2023,
arXiv:2302.04304), and want a range for each group of timesteps.  ONNX Runtime runs no grid in int8 whose scale is
looked up: here the input is scaled before a fixed grid, and the result behind the layer."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Ge

from compress.errors import ModelError, PromiseBroken
from compress.models.selectors import selector_problems
from compress.passes.base import Context, Pass, register

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.models.layers import Layer
    from compress.targets import Target

TASKS = ("denoising", "image_generation")
LARGEST = 1e3  # a factor


@register("smooth.timesteps")
@dataclass(frozen=True)
class SmoothTimesteps(Pass):
    """Scale the inputs of a denoiser's layers by groups of timesteps, so that they share a range; exact in float.

    groups   of neighbouring timesteps, each with as many of those that the model is calibrated at.
    targets  which convolutions and linear layers: names, globs, 're:…' or 'role:…'.
    ignore   which of them not.

    A layer computes layer(x · f) / f + bias, with f of the group, and is called NAME.layer then.  Put it before
    quantize.static, whose ranges are taken of x · f.
    """

    short: ClassVar[str | None] = "groups"

    groups: Annotated[int, Ge(2)] = 4
    targets: tuple[str, ...] = ("*",)
    ignore: tuple[str, ...] = ()

    def selectors(self) -> tuple[str, ...]:
        return (*self.targets, *self.ignore)

    def problems(self, target: Target) -> list[str]:
        return selector_problems(self.selectors())

    def task_problems(self, task: str, languages: tuple[str, ...]) -> list[str]:
        return [] if task in TASKS else [f"it is for models that are told a timestep, and the task is {task}"]

    def requires(self, model: nn.Module, context: Context) -> None:
        from compress.models.quantized import stored
        from compress.models.timesteps import is_scaled_by_timestep, timesteps_of

        if is_scaled_by_timestep(model):
            raise ModelError(f"{self.name}: layers are scaled by timestep already: name it once")
        timesteps_of(model, context.example())
        for name, layer in self.layers(model).items():
            if stored(layer) is not None:
                raise ModelError(f"{self.name}: the weight of {name} is quantized already: put it before that pass")

    def layers(self, model: nn.Module) -> dict[str, Layer]:
        from compress.models.layers import select

        return select(model, self.targets, self.ignore)

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        import torch

        from compress.models.timesteps import scale_by_timestep

        layers = self.layers(model)
        timesteps, heights = heights_of(model, layers, context, self.name)
        order = torch.unique(timesteps)
        if len(order) < self.groups:
            raise ModelError(
                f"{self.name}: the model is calibrated at {len(order)} timesteps, {self.groups} groups are asked for: "
                "ask for fewer, or give more calibration samples"
            )
        parts = order.tensor_split(self.groups)
        boundaries = torch.stack([(before[-1] + after[0]) / 2 for before, after in pairwise(parts)])
        group = (timesteps.unsqueeze(1) > boundaries).sum(1)
        highest = {
            name: torch.stack([each[group == g].max() for g in range(self.groups)]) for name, each in heights.items()
        }
        factors = {name: (each.max() / each.clamp_min(1e-30)).clamp(1, LARGEST) for name, each in highest.items()}
        scale_by_timestep(model, boundaries, factors)
        middle = torch.stack([each.max() for each in factors.values()]).median()
        context.notes.append(f"{len(layers)} layers, the largest factor of the middle one {float(middle):.3g}")
        return model

    def restructure(self, model: nn.Module, context: Context) -> nn.Module:
        import torch

        from compress.models.timesteps import is_scaled_by_timestep, scale_by_timestep

        if not is_scaled_by_timestep(model):  # a forecast from halfway through the passes
            generator = torch.Generator().manual_seed(0)  # no two factors alike: a file holds equal ones once
            factors = {name: 1 + torch.rand(self.groups, generator=generator) for name in self.layers(model)}
            scale_by_timestep(model, torch.arange(1.0, self.groups), factors)
        return model

    def ensures(self, model: nn.Module, context: Context) -> None:
        from compress.models.timesteps import TimestepScaled, is_scaled_by_timestep

        if not is_scaled_by_timestep(model) or not any(isinstance(each, TimestepScaled) for each in model.modules()):
            raise PromiseBroken(f"{self.name}: no layer is scaled by timestep")


def heights_of(
    model: nn.Module, layers: dict[str, Layer], context: Context, who: str
) -> tuple[Tensor, dict[str, Tensor]]:
    """The timestep of each calibration sample, [N], and of each layer the largest magnitude of its inputs, [N].

    Raises ModelError, for the pass `who`, for a layer that did not run, or met values that are not finite.
    """
    import torch

    from compress.models.calls import forward
    from compress.models.hooks import removing
    from compress.models.timesteps import timesteps_of

    seen: dict[str, list[Tensor]] = {name: [] for name in layers}

    def observe(name: str, layer: nn.Module) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            seen[name].append(inputs[0].detach().abs().flatten(1).amax(1))

        return layer.register_forward_pre_hook(hook)

    timesteps, batches = [], list(context.batches())
    with removing(observe(name, layer) for name, layer in layers.items()), torch.no_grad():
        for batch in context.progress(batches, "ranges by timestep", len(batches)):
            forward(model, *batch)
            timesteps.append(timesteps_of(model, batch).reshape(-1).float())
    heights = {name: torch.cat(each) for name, each in seen.items() if each}
    count = sum(map(len, timesteps))
    for name in layers:
        if name not in heights:
            raise ModelError(f"{who}: {name} did not run on the calibration data: put it under 'ignore'")
        if len(heights[name]) != count:
            raise ModelError(f"{who}: {name} does not run once for each sample: put it under 'ignore'")
        if not bool(torch.isfinite(heights[name]).all()):
            raise ModelError(f"{who}: the inputs of {name} are not finite on the calibration data")
    return torch.cat(timesteps), heights
