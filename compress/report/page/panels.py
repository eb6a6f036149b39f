"""Quality over size as data: a panel a task and its data, in it a choice of scores, and of each the points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compress.report.figures import megabytes, percent, points, ratio
from compress.report.layouts import NONE, score_header, score_style, scores_of
from compress.report.page.entry import Entry
from compress.report.plot import AXES
from compress.report.row import Row

BUDGET_BYTES = 400_000_000  # what a translator may take; drawn where the sizes reach it
_LOWER = ("nll_", "kl_", "frechet_", "kid_", "lpips")  # scores of which less is better, as all that are lost


def panels(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Of rows with true weights that have such a score; the score that `compress table --plot` draws comes first.

    Rows stand in one panel, and may be on one frontier, if their scores are of the same data.
    """
    found = []
    for task, axis in AXES.items():
        own = [entry for entry in entries if entry.row.task == task and not entry.row.random_weights]
        for sha256 in dict.fromkeys(entry.data[0] for entry in own):
            rows = [entry.row for entry in own if entry.data[0] == sha256]
            names = dict.fromkeys((axis.score, *scores_of(task)))
            scores = [_score(name, rows) for name in names if any(name in row.scores for row in rows)]
            if scores:
                models = list(dict.fromkeys(row.model for row in rows))
                dataset = next(entry.data[1] for entry in own if entry.data[0] == sha256)
                found.append({"task": task, "dataset": dataset, "models": models, "scores": scores})
    return found


def lower_is_better(score: str) -> bool:
    """Whether less of a score is better."""
    return score.startswith(_LOWER) or "_lost" in score


def _score(name: str, rows: Sequence[Row]) -> dict[str, Any]:
    is_share = score_style(name) in (percent, points)
    unit = ", %" if score_style(name) is percent else ""
    return {
        "label": score_header(name) + unit,
        "lower": lower_is_better(name),
        "points": [_point(row, name, 100.0 if is_share else 1.0) for row in rows if name in row.scores],
    }


def _point(row: Row, name: str, scale: float) -> dict[str, Any]:
    figure = row.scores[name]
    low, high = (None if end is None else scale * end for end in (figure.low, figure.high))
    told = [
        ["size", f"{megabytes(row.model_bytes)} MB" + ("" if row.size_ratio is None else f", {row.size_ratio:.2f} ×")],
        [score_header(name), score_style(name)(figure)],
        ["samples", NONE if figure.num_samples is None else f"{figure.num_samples:,}"],
        ["time / float", "1" if row.latency_ratio is None else ratio(row.latency_ratio)],
        *(["misses", miss] for miss in row.misses),
    ]
    return {
        "name": row.name,
        "model": row.model,
        "megabytes": row.model_bytes / 1e6,
        "value": scale * figure.value,
        "low": low,
        "high": high,
        "misses": bool(row.misses),
        "told": told,
    }
