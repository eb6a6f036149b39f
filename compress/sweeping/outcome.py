"""Outcome: what became of one recipe of a sweep."""

from __future__ import annotations

from dataclasses import dataclass

from compress.errors import CompressError
from compress.pipeline import run_at
from compress.place import RunOptions, place_of
from compress.preflight import Job, check_jobs
from compress.progress import Reporter
from compress.report.row import Row


@dataclass(frozen=True)
class Outcome:
    """What became of one recipe: its row, or what went wrong.

    is_fault  what went wrong is a fault of compress, and the run's log has the traceback.
    """

    name: str
    row: Row | None
    error: str = ""
    is_fault: bool = False

    def told(self) -> str:
        """In a line."""
        if self.row is not None:
            return f"{self.name}: {self.row.model_bytes:,} bytes" + (", misses its budget" if self.row.misses else "")
        return f"{self.name}: failed: {self.error.splitlines()[0]}"


def outcome_of(job: Job, options: RunOptions, reporter: Reporter) -> Outcome:
    """Run one recipe to its end; a finished one is not done again, one that was killed goes on."""
    name = job.recipe.name
    try:
        try:
            place = place_of(job.recipe, options.output, job.command(*options.typed()))
            is_finished = place.finished(force=options.force) is not None
        except CompressError:
            check_jobs([job], allow_code=options.allow_code)  # which tells the line of the recipe
            raise
        if not is_finished:
            check_jobs([job], allow_code=options.allow_code)
        return Outcome(name, run_at(place, options, reporter))
    except CompressError as error:
        return Outcome(name, None, str(error))
    except Exception as error:
        told = f"unexpected {type(error).__name__}: a fault of compress, not of the recipe"
        return Outcome(name, None, f"{told}: {options.output / name / 'log.txt'} has the traceback", is_fault=True)
