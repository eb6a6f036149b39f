"""AWQ: the weights of active input channels are made larger before rounding, so that they lose less (Lin et al. 2023,
arXiv:2306.00978): s = (activation's size)^α, W·s rounded, 1/s folded into what comes before; α by search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from compress.passes.calibrating import grams_by_block, torch_no_grad

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.models.layers import Layer
    from compress.models.statistics import Gram
    from compress.numerics.weight import QuantizedWeight
    from compress.passes.base import Context

EXPONENTS = tuple(number / 10 for number in range(11))


def awq(
    model: nn.Module,
    layers: Mapping[str, Layer],
    context: Context,
    rounded: Callable[[Layer, Gram], QuantizedWeight],
) -> None:
    """Quantize block after block, with the scales of each group of layers that lose the least of its outputs.

    Where a scale cannot be folded exactly the layers are rounded as they are.
    """
    from compress.models.folding import find_sites, fold
    from compress.models.quantized import set_weight

    sites = {site.layers: site for site in find_sites(model, layers, context.example())}
    for names, gram in grams_by_block(model, layers, context):
        site = sites.get(tuple(names))
        with torch_no_grad():
            if site is not None:
                scale = search(layers, names, gram, rounded)
                fold(model, site, scale)
                assert gram.total is not None
                gram.total = gram.total / (scale[:, None] * scale)
            for name in names:
                set_weight(layers[name], rounded(layers[name], gram), model)
    context.notes.append(f"scaled the inputs of {sum(map(len, sites))} of {len(layers)} layers")


def search(
    layers: Mapping[str, Layer],
    names: list[str],
    gram: Gram,
    rounded: Callable[[Layer, Gram], QuantizedWeight],
) -> Tensor:
    """The scale of each input channel, [K], among powers of the channels' root mean squares."""
    import torch
    from torch import nn

    from compress.models.statistics import Gram

    hessian, total = gram.hessian()[0], gram.total
    assert total is not None
    size = gram.importance()[0].sqrt()
    best, best_error = torch.ones_like(size), float("inf")
    for exponent in EXPONENTS:
        scale = size**exponent
        scale = (scale / (scale.max() * scale.min()).sqrt()).clamp(1e-4, 1e4)
        error = 0.0
        for name in names:
            weight = layers[name].weight
            scaled = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
            scaled.weight = nn.Parameter(weight * scale, requires_grad=False)
            moments = Gram(name, scaled)
            moments.total, moments.count = total / (scale[:, None] * scale), gram.count
            off = rounded(scaled, moments).dequantize() / scale - weight
            error += float(((off @ hessian) * off).sum())
        if error < best_error:
            best, best_error = scale, error
    return best
