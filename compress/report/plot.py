"""Rows as a picture: quality over size, a point with its 95 % interval a row, a panel a task."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.errors import ArtefactError, require
from compress.files import appearing
from compress.report.row import Row
from compress.report.table import sort

FORMATS = (".png", ".svg", ".pdf")
_LONGEST = 80  # letters of a model's name in a legend
_BESIDE = 1.5  # how many times the smallest and the largest size the frame reaches at least


@dataclass(frozen=True)
class Axis:
    """The score that a task's panel shows, with its label; values times `scale` are drawn."""

    score: str
    label: str
    scale: float = 1.0


AXES = {
    "image_classification": Axis("top1", "top-1, %", 100.0),
    "translation": Axis("nll_per_token_lost", "likelihood lost, nats a token"),
    "image_generation": Axis("frechet_digits_mlp", "Fréchet distance (digits-mlp)"),
    "denoising": Axis("sqnr_db", "signal over noise, dB"),
    "text_to_image": Axis("psnr_db", "PSNR to float, dB"),
}


def plot(rows: Sequence[Row], path: Path, curve: Sequence[Row] = ()) -> None:
    """Draw the rows to `path`, by its ending, those of `curve` joined; the same rows give the same bytes.

    Left out are random weights, whose scores mean nothing, and rows without the score (the float one of translators,
    which loses nothing).

    Raises MissingExtra without matplotlib, and ArtefactError for an ending that is none of `FORMATS`, or rows of which
    nothing can be drawn.
    """
    require("matplotlib", "pictures need matplotlib", "plot")
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    if path.suffix not in FORMATS:
        raise ArtefactError(f"{path}: pictures end in {', '.join(FORMATS)}")
    panels = {task: [row for row in sort(rows) if _is_drawn(row, task, axis)] for task, axis in AXES.items()}
    panels = {task: found for task, found in panels.items() if found}
    if not panels:
        raise ArtefactError("no row of true weights has a score that can be drawn")
    figure = Figure(figsize=(8.0, 4.6 * len(panels)), layout="constrained")
    for place, (task, found) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels.items(), strict=True):
        joined = [row for row in found if row in curve]
        place.plot(*_points(joined, AXES[task]), color="tab:gray", linewidth=1)
        _panel(place, found, AXES[task])
    with appearing(path) as partial, rc_context({"svg.hashsalt": "compress"}):
        figure.savefig(partial, format=path.suffix[1:], dpi=160, metadata=undated(path.suffix))


def _is_drawn(row: Row, task: str, axis: Axis) -> bool:
    return row.task == task and not row.random_weights and axis.score in row.scores


def _panel(place: Any, rows: Sequence[Row], axis: Axis) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    place.set_xscale("log")
    place.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    place.xaxis.set_major_formatter("{x:g}")
    place.xaxis.set_minor_formatter(NullFormatter())
    for model in dict.fromkeys(row.model for row in rows):
        own = [row for row in rows if row.model == model]
        figures = [row.scores[axis.score] for row in own]
        sizes, values = _points(own, axis)
        below = [_length(value, figure.low, axis.scale) for value, figure in zip(values, figures, strict=True)]
        above = [_length(value, figure.high, axis.scale) for value, figure in zip(values, figures, strict=True)]
        name = textwrap.shorten(model, _LONGEST, placeholder=" …")
        place.errorbar(sizes, values, yerr=[below, above], fmt="o", markersize=5, capsize=2, linewidth=1, label=name)
    sizes, _ = _points(rows, axis)
    beside = max(_BESIDE, (max(sizes) / min(sizes)) ** 0.15)
    place.set_xlim(min(sizes) / beside, max(sizes) * beside)
    place.margins(y=0.2)
    _name_points(place, rows, axis)
    place.set_xlabel("model file, MB")
    place.set_ylabel(axis.label)
    place.tick_params(which="both", labelsize=8)
    place.grid(which="both", alpha=0.25)
    place.legend(fontsize=8)


def _name_points(place: Any, rows: Sequence[Row], axis: Axis) -> None:
    """Names towards the middle, so that none leaves the frame; of two neighbours in size the upper's above, the other's
    below, so that they do not meet and none stands at the other's point."""
    first, last = place.get_xlim()
    ordered = sorted(zip(*_points(rows, axis), [row.name for row in rows], strict=True))
    for number, (size, value, name) in enumerate(ordered):
        pair = ordered[number - number % 2 :][:2]
        is_above = (value, size) == max((each[1], each[0]) for each in pair)
        is_left = size * size < first * last
        label = place.annotate(
            name,
            (size, value),
            xytext=(6 if is_left else -6, 6 if is_above else -11),
            textcoords="offset points",
            ha="left" if is_left else "right",
            fontsize=8,
        )
        label.set_in_layout(False)


def _points(rows: Sequence[Row], axis: Axis) -> tuple[list[float], list[float]]:
    """Sizes and scores."""
    return [row.model_bytes / 1e6 for row in rows], [axis.scale * row.scores[axis.score].value for row in rows]


def _length(value: float, end: float | None, scale: float) -> float:
    """Of an error bar to one side; an interval need not hold the value itself."""
    return 0.0 if end is None else abs(scale * end - value)


def undated(suffix: str) -> dict[str, None]:
    """Metadata without the time that a file was written."""
    return {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[suffix]
