"""Rows as tables: Markdown, CSV and JSON text, and rich tables for a terminal.

Sizes are in MB of 10⁶ bytes and of the model file; ratios are shares of the float model's; scores come with their 95 %
intervals.  Rows on random weights stand in a table of their own: their scores mean nothing.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from compress.report.figures import megabytes, ratio
from compress.report.layouts import IMAGES, LAYOUTS, NONE, Column, Layout, score_cell, score_header, score_order
from compress.report.row import Row
from compress.runtime.measure import Bench

if TYPE_CHECKING:
    from rich.console import Console, Group

Format = Literal["markdown", "csv", "json"]
RANDOM_TITLE = "Random weights: size, speed and parity only"


@dataclass(frozen=True)
class Table:
    """Finished cells, a line each of `rows`.  notes: lines below it."""

    title: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    cells: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def render(rows: Iterable[Row], format: Format = "markdown") -> str:
    """All rows as one text, sorted: each model's float row first, then by size."""
    return {"markdown": _markdown, "csv": _csv, "json": _json}[format](sort(rows))


def show(rows: Iterable[Row], console: Console) -> None:
    """Print tables that fit a terminal; Markdown, without colours, where there is none."""
    if console.is_terminal:
        console.print(rich_tables(rows))
    else:
        console.print(render(rows), markup=False, highlight=False, soft_wrap=True, end="")


def rich_tables(rows: Iterable[Row]) -> Group:
    """The tables for a rich console."""
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    parts: list[RichTable | Text] = []
    for table in tables(sort(rows)):
        drawn = RichTable(title=table.title or None, title_justify="left")
        for column in table.columns:
            drawn.add_column(column.header, justify="left" if column.is_text else "right", overflow="fold")
        for cells in table.cells:
            drawn.add_row(*map(Text, cells))
        parts += [drawn, *(Text(note, style="dim") for note in table.notes)]
    return Group(*parts)


def sort(rows: Iterable[Row]) -> list[Row]:
    """By model; in each the float row first, then by size of the model file, then by name."""
    return sorted(rows, key=lambda row: (row.model, not row.is_float, row.model_bytes, row.name))


def bench_table(rows: Sequence[Bench], format: Format = "markdown") -> str:
    """The times of models that ran in turn, in the order given; the first is the reference."""
    if format == "json":
        return json.dumps([asdict(row) for row in rows], indent=2, sort_keys=True) + "\n"
    header = ("model", "p50, ms", "p95, ms", "latency / first", "images/s", "mJ/image")
    cells = [
        (
            row.path,
            f"{row.latency_ms_p50:.2f}",
            f"{row.latency_ms_p95:.2f}",
            "1" if row.latency_ratio is None else ratio(row.latency_ratio),
            f"{row.items_per_second:.1f}",
            _energy(row),
        )
        for row in rows
    ]
    return _csv_text([header, *cells]) if format == "csv" else markdown_table(header, cells, (True,) + (False,) * 5)


def tables(rows: Sequence[Row]) -> list[Table]:
    """A table for each task, and for each task's random weights."""
    found = []
    for task, layout in LAYOUTS.items():
        real = [row for row in rows if row.task == task and not row.random_weights]
        random = [row for row in rows if row.task == task and row.random_weights]
        if real:
            names = dict.fromkeys(name for row in real for name in row.scores if name in layout.scores)
            found.append(_table("", real, layout, sorted(names, key=score_order)))
        if random:
            found.append(_table(RANDOM_TITLE, random, layout, layout.parity_scores))
    return found or [_table("", (), IMAGES, ())]


def _table(title: str, rows: Sequence[Row], layout: Layout, scores: Sequence[str]) -> Table:
    columns = (
        Column("name", _name, is_text=True),
        Column("size, MB", lambda row: megabytes(row.model_bytes)),
        Column("size / float", lambda row: NONE if row.size_ratio is None else f"{row.size_ratio:.2f} ×"),
        *(Column(score_header(name), score_cell(name)) for name in scores),
        *layout.speeds,
        Column("peak RSS, MB", lambda row: f"{row.peak_rss_bytes / 1e6:.0f}"),
        Column(f"mJ/{layout.item}", _energy),
    )
    cells = tuple(tuple(column.cell(row) for column in columns) for row in rows)
    commands = [f"{row.name}: `{row.command}`" for row in rows]
    misses = [f"{row.name} misses its budget: {miss}" for row in rows for miss in row.misses]
    machines = [f"measured on {machine}" for machine in dict.fromkeys(str(row.machine) for row in rows)]
    return Table(title, tuple(rows), columns, cells, (*misses, *commands, *machines))


def _name(row: Row) -> str:
    return f"{row.name} (misses its budget)" if row.misses else row.name


def _energy(row: Row | Bench) -> str:
    return "no counter" if row.energy_joules is None else f"{1e3 * row.energy_joules:.1f}"


def _markdown(rows: Sequence[Row]) -> str:
    parts = []
    for table in tables(rows):
        title = f"### {table.title}\n\n" if table.title else ""
        header = [column.header for column in table.columns]
        grid = markdown_table(header, table.cells, [column.is_text for column in table.columns])
        notes = "".join(f"- {escaped(note)}\n" for note in table.notes)
        parts.append(f"{title}{grid}" + (f"\n{notes}" if notes else ""))
    return "\n".join(parts)


def markdown_table(header: Sequence[str], cells: Iterable[Sequence[str]], is_text: Sequence[bool]) -> str:
    """A table in Markdown; what is text stands left, numbers right."""
    rule = [":--" if text else "--:" for text in is_text]
    lines = [header, rule, *([escaped(cell) for cell in line] for line in cells)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def escaped(text: str) -> str:
    """Text that may stand in a cell of Markdown."""
    return text.replace("|", "\\|").replace("\n", " ")


def _csv(rows: Sequence[Row]) -> str:
    """One line a row, every figure in a column of its own, unrounded."""
    flat = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(key for line in flat for key in line))
    return _csv_text([columns, *([line.get(key, "") for key in columns] for line in flat)])


def _csv_text(lines: Iterable[Sequence[Any]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    return stream.getvalue()


def _flat(row: Row) -> dict[str, Any]:
    """name, model and command first, then the rest; nested figures as `top1_low`, `machine_cpu`."""
    flat: dict[str, Any] = {key: getattr(row, key) for key in ("name", "model", "command")}
    for key, value in asdict(row).items():
        if key in ("files", "operators"):
            continue  # as long as they please; JSON has them
        if key == "scores":
            flat |= {_joined(name, part): n for name, figure in value.items() for part, n in figure.items()}
        elif key in ("latency_ratio", "machine"):
            flat |= {_joined(key, part): item for part, item in (value or {}).items()}
        else:
            flat[key] = value
    flat["size_ratio"] = row.size_ratio
    return {key: _csv_cell(value) for key, value in flat.items()}


def _joined(name: str, part: str) -> str:
    return name if part == "value" else f"{name}_{part}"


def _csv_cell(value: Any) -> Any:
    if value is None:
        return ""
    return "; ".join(value) if isinstance(value, tuple) else value


def _json(rows: Sequence[Row]) -> str:
    plain = [{**row.to_plain(), "size_ratio": row.size_ratio} for row in rows]
    return json.dumps(plain, indent=2, sort_keys=True, allow_nan=False) + "\n"
