"""What `compress table`, `compress verify` and `compress bench` show.  No torch."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from compress.errors import ArtefactError, require
from compress.jobs import kind_of, recipe_of
from compress.place import RUNS
from compress.progress import reporter_for
from compress.published.page import publish
from compress.published.rows import is_page, published_of, rows_of
from compress.report.row import Row
from compress.report.table import bench_table, render, show
from compress.results import float_artefact_of, rows_below
from compress.runtime.artefact import TRANSFORMER, VAE_DECODER, open_artefact
from compress.runtime.measure import Bench, bench
from compress.runtime.verify import Verification

Format = Literal["markdown", "csv", "json"]


@dataclass(frozen=True)
class Outputs:
    """What `compress table` writes beside what it shows: files to be made, or None.

    results  a page that takes the rows, beside those of other names that it holds.
    force    whether files that are there are replaced.
    """

    picture: Path | None = None
    page: Path | None = None
    sheet: Path | None = None
    results: Path | None = None
    force: bool = False


def table(places: Sequence[Path], format: Format | None, outputs: Outputs) -> str:
    """The rows of finished runs with the float models that they were compared with, and of published pages; drawn and
    written as `outputs` says.

    Raises ArtefactError for a picture or a page that is there, unless it is forced.
    """
    pages = [place for place in places if is_page(place)]
    published = [row for page in pages for row in rows_of(page)]
    directories = [place for place in places if place not in pages]
    runs = rows_below(directories) if directories else []
    rows = [*runs, *(row.row for row in published)]
    for path in (outputs.picture, outputs.page, outputs.sheet):
        if path is not None and path.exists() and not outputs.force:
            raise ArtefactError(f"{path} is there already: name another file, or give --force")
    if outputs.picture is not None:
        from compress.report.plot import plot

        plot(rows, outputs.picture)
    if outputs.page is not None:
        from compress.collecting import entry_of
        from compress.report.page import write_page

        write_page([*map(entry_of, runs), *(row.entry() for row in published)], outputs.page)
    if outputs.sheet is not None:
        from compress.report.sheet import sheet_of

        sheet_of(rows, outputs.sheet)
    if outputs.results is not None:
        for line in publish(outputs.results, [*map(published_of, runs), *published], force=outputs.force):
            print(line, file=sys.stderr)
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


def published(page: Path, names: Sequence[str], rerun: bool, output: Path | None, quiet: bool) -> Verification:
    """Whether rows of a page still hold, all of them without names.

    output  where their runs lie, `runs` unless given; with `rerun` where they are made, a directory that goes away
            again unless given.
    """
    from compress.published.checks import chosen, lying_in, verification

    rows, reporter = chosen(page, names), reporter_for(quiet)
    if not rerun:
        return verification(page, rows, lying_in(output or RUNS, reporter))
    from compress.published.again import made_again

    require("torch", "compress verify --rerun", "torch")
    if output is not None:
        return verification(page, rows, made_again(output, reporter))
    with TemporaryDirectory(prefix="compress-verify-") as directory:
        return verification(page, rows, made_again(Path(directory), reporter))


def benchmark(artefacts: Sequence[Path], threads: int, format: Format, quiet: bool) -> str:
    """The times of artefacts or ONNX files that ran in turn."""
    progress, bench_whole = reporter_for(quiet), _bench_of_directories(artefacts)
    if bench_whole is None:
        return bench_table(bench(artefacts, threads=threads, progress=progress), format)
    opened = [open_artefact(path) for path in artefacts]
    return bench_table(bench_whole(opened, threads, progress=progress), format)


def _bench_of_directories(artefacts: Sequence[Path]) -> Callable[..., list[Bench]] | None:
    """What lets generators and denoisers of images run in turn; None for other artefacts and files."""
    from compress.runtime.denoising.graph import holds_denoiser

    if all((path / VAE_DECODER).is_file() for path in artefacts):
        from compress.runtime.text_to_image.measure import bench_pipelines

        return bench_pipelines
    if all(map(holds_denoiser, artefacts)):
        from compress.runtime.denoising.measure import bench_steps

        return bench_steps
    if all((path / TRANSFORMER).is_file() for path in artefacts):
        from compress.runtime.images.measure import bench_images

        return bench_images
    return None
