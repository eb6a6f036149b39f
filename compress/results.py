"""The finished runs on disk, as rows of a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from compress.errors import ArtefactError
from compress.report.row import Row, read_row

ROW, RECORD = "row.json", "run.json"  # a run's measured row, and what decided its result; with both it is finished


def rows_below(directories: Sequence[Path]) -> list[Row]:
    """The rows of finished runs, by name, and first those of the float models that they were compared with.

    directories: of single runs, or of many (`runs`).  Raises ArtefactError for one that holds no finished run.
    """
    asked: list[Path] = []
    for directory in directories:
        found = [directory] if finished(directory) else sorted(filter(finished, _children(directory)))
        if not found:
            raise ArtefactError(f"{directory}: no finished run here: compress run RECIPE makes one")
        asked += found
    references = {run: float_name(run) for run in asked}
    compared = {run.parent / name: None for run, name in references.items() if name}
    runs = [run for run, name in references.items() if name is not None]
    # Beside runs, other float models than theirs are those of an earlier version of the code or the data.
    baselines = [run for run in references if run not in runs and (run in compared or run in directories or not runs)]
    ordered = dict.fromkeys((*sorted({*baselines, *filter(finished, compared)}), *runs))
    return [row_in(run) for run in ordered]


def row_in(run: Path) -> Row:
    """The row of a finished run.  Raises ArtefactError if it cannot be read."""
    return replace(read_row(run / ROW), artefact=str(run / "artefact"))


def float_name(run: Path) -> str | None:
    """The name of the float model's run that a run was compared with, '' if with none; None for that of a float model
    itself."""
    try:
        name = json.loads((run / RECORD).read_text(encoding="utf-8"))["float"]
    except (OSError, ValueError, KeyError) as error:
        raise ArtefactError(f"{run / RECORD}: damaged: {error}: run its recipe again with --force") from error
    return None if name is None else str(name)


def float_artefact_of(artefact: Path) -> Path | None:
    """The float artefact that the artefact of a run was compared with, if both still lie where the run left them."""
    run = artefact.resolve().parent
    if artefact.resolve().name != "artefact" or not finished(run):
        return None
    name = float_name(run)
    beside = run.parent / name / "artefact" if name else None
    return beside if beside is not None and beside.is_dir() else None


def float_run_of(run: Path) -> Path | None:
    """The run of the float model that a finished run was compared with, if it lies beside it and is finished too."""
    name = float_name(run)
    beside = run.parent / name if name else None
    return beside if beside is not None and finished(beside) else None


def finished(run: Path) -> bool:
    """Whether a directory is that of a finished run."""
    return (run / ROW).is_file() and (run / RECORD).is_file()


def _children(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if path.is_dir()] if directory.is_dir() else []
