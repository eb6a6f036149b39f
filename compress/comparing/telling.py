"""A comparison as text: Markdown tables, or JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from compress.comparing import Comparison
from compress.comparing.layers import LayerErrors
from compress.report.figures import megabytes, ratio
from compress.report.layouts import NONE, score_header, score_style
from compress.report.row import Row
from compress.report.table import markdown_table
from compress.tasks.base import Scores

NUM_LAYERS = 15  # of the table; JSON has all


def as_markdown(comparison: Comparison) -> str:
    """Scores, their paired differences, bytes and latency, what changed most, and the layers that part most."""
    parts = {
        "Scores": _scores(comparison),
        "Paired differences": _differences(comparison),
        "Bytes and latency": _measured(comparison),
        f"Changed most, in {comparison.compared.unit}": _changed(comparison),
        "Weights that part most": _layers(comparison),
    }
    return "\n".join(f"### {title}\n\n{text}" for title, text in parts.items())


def as_json(comparison: Comparison) -> str:
    """All figures, unrounded; the sqnr_db of a layer that is the same, or all noise, is null."""
    names, compared = comparison.names, comparison.compared
    plain = {
        "artefacts": {
            name: {"directory": str(artefact.directory), "model_sha256": artefact.model_sha256}
            for name, artefact in zip(names, comparison.artefacts, strict=True)
        },
        "scores": {name: _plain(scores) for name, scores in zip(names, compared.scores, strict=True)},
        "differences": [
            {"of": names[ours], "against": names[theirs], "scores": _plain(found)}
            for (ours, theirs), found in zip(comparison.pairs, compared.differences, strict=True)
        ],
        "changed": {"unit": compared.unit, "samples": [asdict(each) for each in compared.changed]},
        "layers": [
            {
                "of": names[ours],
                "against": names[theirs],
                "sqnr_db": {each.layer: each.sqnr_db if math.isfinite(each.sqnr_db) else None for each in found.errors},
                "apart": list(found.apart),
            }
            for (ours, theirs), found in comparison.layers.items()
        ],
        "rows": {
            name: None if row is None else row.to_plain() for name, row in zip(names, comparison.rows, strict=True)
        },
    }
    return json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(scores: Scores) -> dict[str, Any]:
    return {name: asdict(figure) for name, figure in sorted(scores.items())}


def _scores(comparison: Comparison) -> str:
    return _figures("score", comparison.names, comparison.compared.scores)


def _differences(comparison: Comparison) -> str:
    headers = [f"{comparison.names[ours]} against {comparison.names[theirs]}" for ours, theirs in comparison.pairs]
    return _figures("difference", headers, comparison.compared.differences)


def _figures(what: str, headers: Sequence[str], columns: Sequence[Scores]) -> str:
    """Without the figures of single language pairs, which JSON has."""
    names = sorted({name for scores in columns for name in scores if "." not in name})
    lines = [
        (score_header(name), *(score_style(name)(scores[name]) if name in scores else NONE for scores in columns))
        for name in names
    ]
    return _table([what, *headers], lines)


def _measured(comparison: Comparison) -> str:
    lines: list[tuple[str, ...]] = [
        ("all that ships, MB", *(megabytes(artefact.size_bytes) for artefact in comparison.artefacts)),
        ("model file, MB", *(megabytes(artefact.model_bytes) for artefact in comparison.artefacts)),
    ]
    parts = dict.fromkeys(part for row in comparison.rows if row is not None for part in row.parts)
    told: dict[str, Callable[[Row], str]] = {
        **{f"{part.replace('_', ' and ')}, MB": _part(part) for part in parts},
        "time / float": lambda row: ratio(row.latency_ratio) if row.latency_ratio else "1" if row.is_float else NONE,
        "p50, ms": lambda row: f"{row.latency_ms_p50:.2f}",
        "p95, ms": lambda row: f"{row.latency_ms_p95:.2f}",
        "peak RSS, MB": lambda row: f"{row.peak_rss_bytes / 1e6:.0f}",
    }
    lines += [(what, *(NONE if row is None else text(row) for row in comparison.rows)) for what, text in told.items()]
    return _table(["", *comparison.names], lines)


def _part(part: str) -> Callable[[Row], str]:
    return lambda row: megabytes(row.parts[part]) if part in row.parts else NONE


def _changed(comparison: Comparison) -> str:
    lines = [
        (f"{each.change:+.3f}".replace("-", "−"), each.item, each.truth, each.one, each.other)
        for each in comparison.compared.changed
    ]
    return _table(["change", "sample", "reference", *comparison.names[:2]], lines, text_from=1)


def _layers(comparison: Comparison) -> str:
    """Side by side, in the order of the worst of a line."""
    by_layer = {pair: {each.layer: each.sqnr_db for each in found.errors} for pair, found in comparison.layers.items()}
    known = dict.fromkeys(layer for found in by_layer.values() for layer in found)
    worst = {layer: min(found.get(layer, math.inf) for found in by_layer.values()) for layer in known}
    layers = sorted(worst, key=lambda layer: (worst[layer], layer))
    headers = [f"{comparison.names[ours]} against {comparison.names[theirs]}, dB" for ours, theirs in comparison.layers]
    lines = [
        (layer, *(decibels(found[layer]) if layer in found else NONE for found in by_layer.values()))
        for layer in layers[:NUM_LAYERS]
    ]
    text = _table(["layer", *headers], lines)
    if len(layers) > NUM_LAYERS:
        text += f"\n- the first {NUM_LAYERS} of {len(layers)} layers; --json and --plot have all\n"
    return text + "".join(_apart(comparison, pair, found) for pair, found in comparison.layers.items() if found.apart)


def _apart(comparison: Comparison, pair: tuple[int, int], found: LayerErrors) -> str:
    names = " and ".join(comparison.names[place] for place in pair)
    listed = ", ".join(found.apart[:5]) + (", …" if len(found.apart) > 5 else "")
    return f"\n- not in both of {names}, or of other shapes: {len(found.apart)} layers: {listed}\n"


def decibels(value: float) -> str:
    """'31.2', or 'the same' where nothing parts."""
    return "the same" if value == math.inf else f"{value:.1f}".replace("-", "−")


def _table(header: Sequence[str], lines: Sequence[Sequence[str]], text_from: int = 0) -> str:
    is_text = [place == 0 if text_from == 0 else place >= text_from for place in range(len(header))]
    return markdown_table(header, lines, is_text)
