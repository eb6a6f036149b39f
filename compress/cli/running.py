"""What `compress run` does with its recipes, one after another, and how it tells the result."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from compress.cli.showing import as_suits
from compress.errors import CompressError
from compress.launching import IN_PROCESS, Launcher, Trainings, has_gpu
from compress.pipeline import run_at
from compress.place import RunOptions, place_of
from compress.plan import plan
from compress.preflight import Job
from compress.progress import reporter_for
from compress.report.row import Row
from compress.report.table import render
from compress.results import rows_below


class Crash(Exception):
    """Something that compress did not foresee.  The traceback is in the run's log."""


@dataclass(frozen=True)
class Options(RunOptions):
    """Of the command line."""

    quiet: bool = False
    trainings: Trainings = IN_PROCESS


def trainings(
    launcher: Literal["accelerate", "torchrun"] | None,
    config_file: Path | None,
    num_processes: int | None,
    track: Literal["tensorboard", "mlflow", "trackio"] | None,
) -> Trainings:
    """How trainings work, as the options say.  Raises CompressError if they do not fit together."""
    option = "--nproc_per_node" if launcher == "torchrun" else "--num_processes"
    given = {"--config_file": config_file, option: num_processes}
    arguments = [part for name, value in given.items() if value is not None for part in (name, str(value))]
    if launcher is None and arguments:
        raise CompressError(f"{arguments[0]} is of a launcher: write --launcher accelerate beside it")
    if launcher is None:
        return Trainings(track)
    if config_file is not None and not config_file.is_file():
        raise CompressError(f"there is no file {config_file}: `accelerate config --config_file {config_file}` makes it")
    if launcher == "torchrun" and config_file is not None:
        raise CompressError("--config_file is of accelerate: write --launcher accelerate, or take it out")
    if launcher == "torchrun":  # a port of its own and this machine's own address: runs side by side do not meet
        return Trainings(track, Launcher(launcher, ("--standalone", "--local_addr", "127.0.0.1", *arguments)))
    on_cpu = launcher == "accelerate" and config_file is None and not has_gpu()
    if on_cpu and num_processes not in (None, 1):
        raise CompressError("accelerate starts several processes on GPUs only: write --launcher torchrun on CPUs")
    return Trainings(track, Launcher(launcher, (*arguments, "--cpu") if on_cpu else tuple(arguments)))


def unfinished(jobs: Sequence[Job], options: Options) -> list[Job]:
    """Those whose result is not there already; also those of which that cannot be told, whose checks tell why."""
    return [job for job in jobs if not _is_finished(job, options)]


def _is_finished(job: Job, options: Options) -> bool:
    try:
        return place_of(job.recipe, options.output).finished(force=options.force) is not None
    except CompressError:
        return False


def run_all(jobs: Sequence[Job], options: Options) -> list[Row]:
    """The rows of all jobs.  Before the first is begun, all are known to have a place for their results.

    Raises CompressError; and Crash, naming the log, for what is not foreseen.
    """
    places = [place_of(job.recipe, options.output, job.command(*options.typed())) for job in jobs]
    for place in places:
        place.finished(force=options.force)
    reporter = reporter_for(options.quiet)
    rows = []
    for place in places:
        reporter.say(place.recipe.name)
        try:
            row = run_at(place, options, reporter, options.trainings)
        except CompressError:
            raise
        except Exception as error:
            told = f"unexpected {type(error).__name__}: a fault of compress, not of the recipe"
            raise Crash(f"{told}: {place.log} has the traceback") from error
        rows.append(row)
    return rows


def plans(jobs: Sequence[Job], options: Options, as_json: bool) -> str:
    """What each job would do, and forecasts."""
    made = [plan(job.recipe, allow_code=options.allow_code) for job in jobs]
    if as_json:
        return json.dumps([each.to_plain() for each in made], indent=2, sort_keys=True)
    return "\n\n".join("\n".join(each.lines()) for each in made)


def report(rows: Sequence[Row], output: Path, as_json: bool) -> str:
    """The table of these runs and of their float models; then where the artefacts lie."""
    together = rows_below([output / row.name for row in rows])
    if as_json:
        return render(together, "json")
    places = "".join(f"{row.name}: {row.artefact}: {row.size_bytes:,} bytes\n" for row in rows)
    return f"{as_suits(together)}\n{places}"
