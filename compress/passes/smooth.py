"""smooth: outliers of activations move into weights, which bear them better (SmoothQuant, Xiao et al. 2022,
arXiv:2211.10438, eq. 4): s = max|X|^α / max|W|^(1−α) for each input channel, X/s · (W·s) = X · W."""

from __future__ import annotations

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
        for site, height in zip(sites, input_ranges(model, sites, context), strict=True):
            fold(model, site, self.scale(model, site, height))
        context.notes.append(f"{sum(len(site.layers) for site in sites)} layers behind {len(sites)} tensors")
        return model

    def scale(self, model: nn.Module, site: Site, height: Tensor) -> Tensor:
        """s for each channel [K]; height: the largest magnitude of each on the calibration data."""
        import torch

        weights = torch.cat([model.get_submodule(name).weight for name in site.layers])  # type: ignore[misc]
        width = weights.detach().abs().amax(0).clamp_min(SMALLEST)
        scale = height.clamp_min(SMALLEST) ** self.alpha / width ** (1 - self.alpha)
        return (scale / scale.log().mean().exp()).clamp(1e-3, 1e3)  # of geometric mean 1: ranges stay where they were


def input_ranges(model: nn.Module, sites: list[Site], context: Context) -> list[Tensor]:
    """The largest magnitude of every input channel of each site on the calibration data, [K]."""
    import torch

    from compress.models.calls import forward
    from compress.models.folding import in_features
    from compress.models.hooks import removing

    layers = [model.get_submodule(site.layers[0]) for site in sites]
    found = [torch.zeros(in_features(model, site.layers[0])) for site in sites]

    def observe(height: Tensor) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            torch.maximum(height, inputs[0].detach().abs().reshape(-1, len(height)).amax(0), out=height)

        return hook

    hooks = (layer.register_forward_pre_hook(observe(height)) for layer, height in zip(layers, found, strict=True))
    batches = list(context.batches())
    with removing(hooks), torch.no_grad():
        for batch in context.progress(batches, "ranges of channels", len(batches)):
            forward(model, *batch)
    for site, height in zip(sites, found, strict=True):
        if not bool(torch.isfinite(height).all()):
            raise ModelError(f"smooth: the inputs of {site.layers[0]} are not finite on the calibration data")
    return found
