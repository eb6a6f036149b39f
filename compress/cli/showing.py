"""What `compress table`, `compress verify` and `compress bench` show.  No torch."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from compress.errors import ArtefactError
from compress.jobs import kind_of, recipe_of
from compress.progress import reporter_for
from compress.report.row import Row
from compress.report.table import bench_table, render, show
from compress.results import float_artefact_of, rows_below
from compress.runtime.artefact import TRANSFORMER, open_artefact
from compress.runtime.measure import bench
from compress.runtime.verify import Verification

Format = Literal["markdown", "csv", "json"]


def table(
    directories: Sequence[Path],
    format: Format | None,
    picture: Path | None = None,
    page: Path | None = None,
    sheet: Path | None = None,
    force: bool = False,
) -> str:
    """The rows of finished runs, and of the float models that they were compared with; drawn to `picture`, and written
    as a `page`, too, and the images that they made to `sheet`.

    Raises ArtefactError for a picture or a page that is there, unless `force`.
    """
    rows = rows_below(directories)
    for path in (picture, page, sheet):
        if path is not None and path.exists() and not force:
            raise ArtefactError(f"{path} is there already: name another file, or give --force")
    if picture is not None:
        from compress.report.plot import plot

        plot(rows, picture)
    if page is not None:
        from compress.collecting import entry_of
        from compress.report.page import write_page

        write_page([entry_of(row) for row in rows], page)
    if sheet is not None:
        from compress.report.sheet import sheet_of

        sheet_of(rows, sheet)
    return as_suits(rows) if format is None else render(rows, format)


def as_suits(rows: Sequence[Row]) -> str:
    """The table as it suits stdout: drawn on a terminal, Markdown elsewhere."""
    from rich.console import Console

    text = io.StringIO()
    show(rows, Console(file=text, force_terminal=sys.stdout.isatty(), width=Console().width))
    return text.getvalue()


def verification(
    directory: Path, dataset: str | None, float_directory: Path | None, threads: int | None, quiet: bool
) -> Verification:
    """The artefact's figures, taken again with its own recipe's task.  Raises ArtefactError if it is damaged."""
    artefact = open_artefact(directory)
    recipe = recipe_of(artefact)
    reference = float_directory or float_artefact_of(directory)
    threads = threads or recipe.evaluate.threads
    return kind_of(recipe).verify(artefact, recipe, dataset, reference, threads, reporter_for(quiet))


def benchmark(artefacts: Sequence[Path], threads: int, format: Format, quiet: bool) -> str:
    """The times of artefacts or ONNX files that ran in turn."""
    if all((path / TRANSFORMER).is_file() for path in artefacts):
        from compress.runtime.images.measure import bench_images

        opened = [open_artefact(path) for path in artefacts]
        return bench_table(bench_images(opened, threads, progress=reporter_for(quiet)), format)
    return bench_table(bench(artefacts, threads=threads, progress=reporter_for(quiet)), format)
