"""smooth: outliers of activations move into weights, which bear them better (SmoothQuant, Xiao et al. 2022,
arXiv:2211.10438, eq. 4): s = max|X|^α / max|W|^(1−α) for each input channel, X/s · (W·s) = X · W."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Interval

from compress.errors import ModelError
from compress.models.selectors import selector_problems
from compress.passes.base import Context, Pass, register

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.models.folding import Site
    from compress.targets import Target

SMALLEST = 1e-5  # of a channel's range: what never differs from zero is not scaled up without end


@register("smooth")
@dataclass(frozen=True)
class Smooth(Pass):
    """Scale the input channels of linear layers so that activations and weights share the range; exact in float.

    Only layers are touched whose input's scale can be folded into the normalisation or layer before them.

    alpha    how much of the activations' range goes into the weights: 0 none, 1 all.
    targets  which linear layers: names, globs, 're:…' or 'role:…'.
    ignore   which of them not.
    """

    alpha: Annotated[float, Interval(ge=0, le=1)] = 0.5
    targets: tuple[str, ...] = ("*",)
    ignore: tuple[str, ...] = ()

    def selectors(self) -> tuple[str, ...]:
        return (*self.targets, *self.ignore)

    def problems(self, target: Target) -> list[str]:
        return selector_problems(self.selectors())

    def requires(self, model: nn.Module, context: Context) -> None:
        from compress.models.layers import select
        from compress.models.quantized import stored

        for name, layer in select(model, self.targets, self.ignore).items():
            if stored(layer) is not None:
                raise ModelError(
                    f"{self.name}: the weight of {name} is quantized already: put it before the quantize passes"
                )

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        from compress.models.folding import find_sites, fold
        from compress.models.layers import select

        sites = find_sites(model, select(model, self.targets, self.ignore), context.example())
        heights = channel_ranges(model, [site.layers[0] for site in sites], context, self.name)
        for site in sites:
            fold(model, site, self.scale(model, site, heights[site.layers[0]]))
        context.notes.append(f"{sum(len(site.layers) for site in sites)} layers behind {len(sites)} tensors")
        return model

    def scale(self, model: nn.Module, site: Site, height: Tensor) -> Tensor:
        """s for each channel [K]; height: the largest magnitude of each on the calibration data."""
        import torch

        weights = torch.cat([model.get_submodule(name).weight for name in site.layers])  # type: ignore[misc]
        return balanced(height, weights.detach().abs().amax(0), self.alpha)


def balanced(height: Tensor, width: Tensor, alpha: float) -> Tensor:
    """s = height^α / width^(1−α) of each channel [K], of geometric mean 1, so that ranges stay where they were.

    height, width  the largest magnitudes of the inputs and of the weights, [K].
    """
    scale = height.clamp_min(SMALLEST) ** alpha / width.clamp_min(SMALLEST) ** (1 - alpha)
    return (scale / scale.log().mean().exp()).clamp(1e-3, 1e3)


def channel_ranges(model: nn.Module, layers: Sequence[str], context: Context, who: str) -> dict[str, Tensor]:
    """The largest magnitude of every input channel of each layer on the calibration data, [K].

    Raises ModelError, for the pass `who`, for a layer that did not run, or met values that are not finite.
    """
    import torch
    from torch import nn

    from compress.models.calls import forward
    from compress.models.hooks import removing

    found: dict[str, Tensor] = {}

    def observe(name: str, layer: nn.Module) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            x = inputs[0].detach().abs()
            x = x.movedim(1, -1) if isinstance(layer, nn.Conv2d) else x
            height = x.reshape(-1, x.shape[-1]).amax(0)
            found[name] = torch.maximum(found[name], height) if name in found else height

        return layer.register_forward_pre_hook(hook)

    batches = list(context.batches())
    with removing(observe(name, model.get_submodule(name)) for name in layers), torch.no_grad():
        for batch in context.progress(batches, "ranges of channels", len(batches)):
            forward(model, *batch)
    for name in layers:
        if name not in found:
            raise ModelError(f"{who}: {name} did not run on the calibration data: put it under 'ignore'")
        if not bool(torch.isfinite(found[name]).all()):
            raise ModelError(f"{who}: the inputs of {name} are not finite on the calibration data")
    return found
