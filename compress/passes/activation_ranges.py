"""The grids of activations, by two passes over the calibration data: what is seen, and how often."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from compress.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.models.activations import QuantizedActivation
    from compress.passes.base import Context


def find_grids(
    model: nn.Module,
    bits: Mapping[str, int],
    context: Context,
    name: str,
    observer: str = "mse",
    percentile: float = 99.99,
) -> dict[str, QuantizedActivation]:
    """The grid of each tensor in `bits`, by the key of its call, or of a layer's input, and its number of bits.

    name      of the pass, for messages.
    observer  one of numerics.ranges.FINDERS; `percentile` is read by that of this name.

    Weights are as they are stored, activations float.  Where the target wants zero in the middle of the grid, the range
    is that of magnitudes, in the levels of one side.  Raises ModelError for a tensor that is not finite.
    """
    import torch

    from compress.models.activations import QuantizedActivation
    from compress.models.observe import Observer
    from compress.models.quantized import as_float
    from compress.numerics.ranges import FINDERS, Histogram, affine_grid, symmetric_grid

    symmetric = context.target.is_symmetric
    histograms = {key: Histogram() for key in bits}

    def seen(observe: Callable[[Tensor], None]) -> Callable[[Tensor], None]:
        return (lambda x: observe(x.abs())) if symmetric else observe

    batches = list(context.batches())
    with torch.no_grad(), as_float(model, weights=False):
        with Observer(model, {key: seen(h.observe_range) for key, h in histograms.items()}):
            for batch in context.progress(batches, "ranges of activations", len(batches)):
                model(*batch)
        for key, histogram in histograms.items():
            if not (-float("inf") < histogram.low <= histogram.high < float("inf")):
                raise ModelError(f"{name}: {key} is not finite on the calibration data")
        if observer != "minmax":
            with Observer(model, {key: seen(h.observe_counts) for key, h in histograms.items()}):
                for batch in context.progress(batches, "histograms of activations", len(batches)):
                    model(*batch)
    find = FINDERS[observer]
    grids = {}
    for key, histogram in histograms.items():
        low, high = find(histogram, bits[key] - symmetric, percentile)
        grid = symmetric_grid(high, bits[key]) if symmetric else affine_grid(low, high, bits[key])
        grids[key] = QuantizedActivation(*grid, bits[key])
    return grids
