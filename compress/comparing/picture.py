"""The error of each layer's weight as a picture: the layers in the order of the graph, so that a depth shows itself."""

from __future__ import annotations

import math
from pathlib import Path

from compress.comparing import Comparison
from compress.errors import ArtefactError, require
from compress.files import appearing
from compress.report.plot import FORMATS, undated
from compress.runtime.weights import weights_of

_LONGEST = 60  # names of layers that a picture has room for; of more, every second, third, …


def check_picture(path: Path) -> None:
    """Raises MissingExtra without matplotlib, and ArtefactError for an ending that is none of `FORMATS`."""
    require("matplotlib", "pictures need matplotlib", "plot")
    if path.suffix not in FORMATS:
        raise ArtefactError(f"{path}: pictures end in {', '.join(FORMATS)}")


def draw(comparison: Comparison, path: Path) -> None:
    """A line of dots a pair; layers that are the same in both have no dot.  The same figures give the same bytes."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    order = list(weights_of(comparison.artefacts[0]))
    layers = [layer for layer in order if any(_finite(comparison, pair, layer) for pair in comparison.layers)]
    figure = Figure(figsize=(max(6.0, 0.16 * min(len(layers), _LONGEST) + 2), 5.0), layout="constrained")
    place = figure.subplots()
    for pair, marker in zip(comparison.layers, ("o", "s"), strict=False):
        label = " against ".join(comparison.names[number] for number in pair)
        values = [_finite(comparison, pair, layer) for layer in layers]
        heights = [math.nan if value is None else value for value in values]
        place.plot(heights, marker=marker, markersize=4, linewidth=0.7, label=label)
    step = max(1, -(-len(layers) // _LONGEST))
    place.set_xticks(range(0, len(layers), step), layers[::step], rotation=90, fontsize=6)
    place.set_ylabel("signal to noise of the weight, dB")
    place.grid(axis="y", alpha=0.25)
    place.legend(fontsize=8)
    with appearing(path) as partial, rc_context({"svg.hashsalt": "compress"}):
        figure.savefig(partial, format=path.suffix[1:], dpi=160, metadata=undated(path.suffix))


def _finite(comparison: Comparison, pair: tuple[int, int], layer: str) -> float | None:
    found = next((each.sqnr_db for each in comparison.layers[pair].errors if each.layer == layer), math.inf)
    return found if math.isfinite(found) else None
