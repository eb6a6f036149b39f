"""Forecasts as text and as plain data.  Both say that they are none but forecasts, and on what they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from compress.devices.forecast import Forecast, KernelForecast

_HEAVIEST = 10


def as_text(forecast: Forecast) -> str:
    """Totals, kinds of operators, the heaviest nodes, and the figures below."""
    f = forecast
    parts = [
        f"forecast, not measured: {f.path}, {f.phase}, on {f.target}: {_ms(f.seconds)} ms",
        _table(("operator", "kernels", "ms", "share", "Mop", "MB"), _by_operator(f)),
        _table(("heaviest nodes", "operator", "ms", "bound by", "Mop", "MB"), _heaviest(f)),
        "\n".join((_memory_line(f), _energy_line(f))),
        "It stands on\n" + "\n".join(f"  {name:<28}{_figure(figure)}" for name, figure in sorted(f.figures.items())),
    ]
    return "\n\n".join(parts)


def as_plain(forecast: Forecast) -> dict[str, Any]:
    """All of it, for JSON."""
    return {
        "kind": "forecast",
        "path": forecast.path,
        "phase": forecast.phase,
        "target": forecast.target,
        "seconds": forecast.seconds,
        "operations": forecast.operations,
        "bytes_moved": forecast.bytes_moved,
        "memory_bytes": {**asdict(forecast.memory), "peak": forecast.memory.peak},
        "joules": forecast.joules,
        "missing_figures": list(forecast.missing),
        "figures": {name: asdict(figure) for name, figure in sorted(forecast.figures.items())},
        "kernels": [
            {"node": each.node, "operator": each.operator, "seconds": each.seconds, "binds": each.binds}
            | asdict(each.cost)
            for each in forecast.kernels
        ],
    }


def _by_operator(forecast: Forecast) -> list[tuple[str, ...]]:
    kinds: dict[str, list[KernelForecast]] = {}
    for kernel in forecast.kernels:
        kinds.setdefault(_kind(kernel), []).append(kernel)
    total = forecast.seconds
    rows: list[tuple[str, ...]] = [
        (
            kind,
            str(len(own)),
            _ms(seconds),
            f"{100 * seconds / total:.0f} %" if total else "–",
            _millions(sum(each.cost.products for each in own)),
            _millions(sum(each.cost.bytes_moved for each in own)),
        )
        for kind, own in kinds.items()
        if (seconds := sum(each.seconds for each in own)) > 0
    ]
    rows.sort(key=lambda row: -float(row[2].replace(",", "")))
    return rows


def _kind(kernel: KernelForecast) -> str:
    """The operator, with what decides its speed."""
    marks: list[str] = [kernel.cost.form] if kernel.cost.products and kernel.cost.form != "dense" else []
    marks += [kernel.cost.arithmetic] if kernel.cost.products and kernel.cost.arithmetic != "float" else []
    return f"{kernel.operator} ({', '.join(marks)})" if marks else kernel.operator


def _heaviest(forecast: Forecast) -> list[tuple[str, ...]]:
    first = sorted(forecast.kernels, key=lambda kernel: -kernel.seconds)[:_HEAVIEST]
    return [
        (
            each.node,
            _kind(each),
            _ms(each.seconds),
            each.binds,
            _millions(each.cost.products),
            _millions(each.cost.bytes_moved),
        )
        for each in first
    ]


def _memory_line(forecast: Forecast) -> str:
    m = forecast.memory
    cache = f" + cache {m.cache / 1e6:.2f}" if m.cache else ""
    return (
        f"memory at once: {m.peak / 1e6:.2f} MB (weights {m.weights / 1e6:.2f} + activations {m.activations / 1e6:.2f}"
        f"{cache}), the runtime itself not counted"
    )


def _energy_line(forecast: Forecast) -> str:
    if forecast.joules is None:
        return f"energy: no forecast: {forecast.target} states no {', no '.join(forecast.missing)}"
    return f"energy: {forecast.joules * 1e3:.3g} mJ an inference"


def _figure(figure: Any) -> str:
    return f"{figure.value:<10.4g} {figure.source}" + (f": {figure.note}" if figure.note else "")


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Columns: text to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    numeric = [bool(rows) and rows[0][column][:1].isdigit() for column in range(len(heads))]
    lines = [
        "  ".join(
            f"{cell:>{width}}" if is_number else f"{cell:<{width}}"
            for cell, width, is_number in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in (heads, *rows)
    ]
    return "\n".join(lines)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.3f}"


def _millions(number: int) -> str:
    return f"{number / 1e6:,.2f}"
