"""Bars of bytes, dots of latency and strips of bits, as shares of the width that they are drawn in, in percent."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compress.allocation.told import LayerLosses
from compress.report.page.panels import BUDGET_BYTES
from compress.report.row import Row
from compress.runtime.artefact import holds_model

PARTS = ("body", "embedding_head", "graph", "model", "tokenizer", "other")  # in the order of a bar
BIT_STEPS = (1, 2, 3, 4, 5, 6, 8)  # the colours of a strip: a layer has that of the step that its bits reach
_MARGIN = 1.05
_NOTHING = 1e-6  # of the largest loss: less is not told apart


@dataclass(frozen=True)
class Piece:
    """A stretch of a bar."""

    kind: str
    size_bytes: int
    width: float


@dataclass(frozen=True)
class Bar:
    """budget: where BUDGET_BYTES lie; None outside."""

    row: Row
    pieces: tuple[Piece, ...]
    budget: float | None


@dataclass(frozen=True)
class Dot:
    """A ratio of times with its quartiles.  one: where 1 lies."""

    row: Row
    middle: float
    low: float
    high: float
    one: float


@dataclass(frozen=True)
class Layer:
    """num_bits: of a code, without scales.  step: of BIT_STEPS.

    nats  by choice, what a budget that was shared out took the layer to lose; empty where none was.
    heat  from 0, the layer of the run that loses least in its worst choice, to 100, the one that loses most; None where
          none is known.
    """

    name: str
    num_bits: float
    group_size: int | None
    size_bytes: int
    step: int
    nats: Mapping[str, float]
    heat: float | None


def bars(rows: Sequence[Row]) -> list[Bar]:
    """The bytes of the whole directories of rows, by part where the parts are known."""
    widest = max((row.size_bytes for row in rows), default=1)
    budget = 100 * BUDGET_BYTES / widest if widest >= BUDGET_BYTES else None
    return [
        Bar(row, tuple(Piece(kind, size, 100 * size / widest) for kind, size in _parts(row).items() if size), budget)
        for row in rows
    ]


def dots(rows: Sequence[Row]) -> list[Dot]:
    """The time of each row as a share of its float model's, of those that have one; the axis begins at 0."""
    found = [(row, row.latency_ratio) for row in rows if row.latency_ratio is not None]
    end = _MARGIN * max((1.0, *(max(ratio.value, ratio.quartile_high) for _, ratio in found)))
    return [
        Dot(row, *(100 * place / end for place in (ratio.value, ratio.quartile_low, ratio.quartile_high, 1.0)))
        for row, ratio in found
    ]


def layers(quantization: Mapping[str, Any], losses: Mapping[str, LayerLosses]) -> list[Layer]:
    """The quantized weights of a manifest, in the order of their names with numbers read as numbers."""
    weights: Mapping[str, Mapping[str, Any]] = quantization.get("weights", {})
    named = {name.removesuffix(".weight"): entry for name, entry in weights.items()}
    heats = _heats({name: max(losses[name].nats.values()) for name in named if name in losses})
    return [
        Layer(
            name,
            entry["num_bits"],
            entry["group_size"],
            entry["bytes"],
            max(step for step in BIT_STEPS if step <= max(1, entry["num_bits"])),
            losses[name].nats if name in losses else {},
            heats.get(name),
        )
        for name, entry in sorted(named.items(), key=lambda item: _natural(item[0]))
    ]


def _heats(nats: Mapping[str, float]) -> dict[str, float]:
    """From 0 to 100, by logarithms; of what is below a millionth of the most, 0."""
    most = max(nats.values(), default=0.0)
    if most <= 0:
        return dict.fromkeys(nats, 0.0)
    logs = {name: math.log10(max(each / most, _NOTHING)) for name, each in nats.items()}
    least = min(logs.values())
    return {name: 100 * (1 - each / least) if least < 0 else 100.0 for name, each in logs.items()}


def _parts(row: Row) -> dict[str, int]:
    parts = row.parts
    if not parts:
        model = sum(size for name, size in row.files.items() if holds_model(name))
        parts = {"model": model, "other": row.size_bytes - model}
    return {kind: parts[kind] for kind in (*PARTS, *sorted(set(parts) - set(PARTS))) if kind in parts}


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
