"""The page: its text by jinja2, with this package's own style and scripts in it.

A policy in the page forbids it to load anything, and to run any script but these two, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compress.errors import require
from compress.files import write_text
from compress.report.layouts import NONE
from compress.report.page.differences import differences
from compress.report.page.entry import Entry, Line
from compress.report.page.panels import BUDGET_BYTES, panels
from compress.report.page.strips import BIT_STEPS, PARTS, bars, dots, layers
from compress.report.row import Row
from compress.report.table import Table, sort, tables

_HERE = Path(__file__).parent
_SCRIPTS = ("table.js", "scatter.js")
_TITLES = {"image_classification": "Image classification", "translation": "Translation"}
_PART_NAMES = {"embedding_head": "embedding and head", "graph": "graph and padding"}
_NUMBER = re.compile(r"[+−-]?\d+(\.\d+)?(e[+-]\d+)?")


def write_page(entries: Sequence[Entry], path: Path) -> None:
    """Write the page to a file.  Raises MissingExtra without jinja2."""
    write_text(path, page(entries))


def page(entries: Sequence[Entry]) -> str:
    """The page of rows with what lies beside them; the same entries give the same text.  Raises MissingExtra."""
    require("jinja2", "pages need jinja2", "page")
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    rows = sort(entry.row for entry in entries)
    # Two rows may share a name, and no two a directory.
    beside = {entry.row.artefact: entry for entry in entries}
    ordered = [beside[row.artefact] for row in rows]
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scripts = [(_HERE / name).read_text(encoding="utf-8") for name in _SCRIPTS]
    kinds = dict.fromkeys((row.task, row.model) for row in rows)
    tasks = list(dict.fromkeys(row.task for row in rows))
    return environment.get_template("page.html").render(
        style=(_HERE / "style.css").read_text(encoding="utf-8"),
        scripts=scripts,
        policy=_policy(scripts),
        panels=panels(ordered),
        budget_megabytes=BUDGET_BYTES / 1e6,
        tables=[_grid(table) for table in tables(rows)],
        tasks={task: task_title(task) for task in tasks},
        models=list(dict.fromkeys(row.model for row in rows)),
        rows=rows,
        numbers={row.artefact: number for number, row in enumerate(rows, 1)},
        entries=ordered,
        locks={entry.row.artefact: _lock(entry) for entry in ordered},
        bars=[(kind, bars([row for row in rows if (row.task, row.model) == kind])) for kind in kinds],
        dots={task: dots([row for row in rows if row.task == task]) for task in tasks},
        layers={entry.row.artefact: layers(entry.quantization, entry.losses) for entry in ordered},
        sheets=_sheets(ordered),
        part_names={part: _PART_NAMES.get(part, part) for part in PARTS},
        bit_steps=BIT_STEPS,
        differences=differences,
    )


def task_title(task: str) -> str:
    """A task in words."""
    return _TITLES.get(task, task.replace("_", " ").capitalize())


def _sheets(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The images that generators made of the same classes and seeds, a line each."""
    found: dict[tuple[str, str], list[tuple[Row, Line]]] = {}
    for entry in entries:
        if entry.line is not None:
            found.setdefault((entry.row.model, entry.line.made_for), []).append((entry.row, entry.line))
    return [
        {
            "model": model,
            "num": max(line.num for _, line in lines),
            "lines": [(row, line.num, base64.b64encode(line.png).decode()) for row, line in lines],
        }
        for (model, _), lines in found.items()
    ]


def _grid(table: Table) -> dict[str, Any]:
    """A table with its cells taken apart: value, interval, and what it is sorted by."""
    return {
        "title": table.title,
        "task": table.rows[0].task,
        "columns": table.columns,
        "lines": [(row, [_cell(text) for text in cells]) for row, cells in zip(table.rows, table.cells, strict=True)],
        "machines": list(dict.fromkeys(str(row.machine) for row in table.rows)),
    }


def _cell(text: str) -> dict[str, str]:
    """key: the number that a cell begins with, '' where it has none."""
    value, _, interval = text.partition(" [")
    number = _NUMBER.match(text)
    return {
        "value": value,
        "interval": f"[{interval}" if interval else "",
        "key": number[0].replace("−", "-") if number and value != NONE else "",
    }


def _lock(entry: Entry) -> str | None:
    """What decides the artefact, as text."""
    return None if entry.lock is None else json.dumps(entry.lock, indent=2, sort_keys=True, ensure_ascii=False)


def _policy(scripts: Sequence[str]) -> str:
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {allowed}"
