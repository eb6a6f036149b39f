"""The command `compress sweep`: its options alone; `compress.sweeping` does the work, and is imported then."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from compress.sweeping.outcome import Outcome

_MISSED, _FAILED, _FAULT = 1, 2, 3


def sweep(
    recipes: Annotated[list[str], typer.Argument(metavar="RECIPE", help="Files, or names of shipped recipes.")],
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=V1,V2", help="A variant for each value; of several keys, for each combination."),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a value in all of them.")
    ] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="One after another here, or tasks of a Ray cluster.")
    ] = "local",
    output: Annotated[
        Path, typer.Option(help="Where the results go, a directory each; with ray all machines must see it.")
    ] = Path("runs"),
    jobs: Annotated[int | None, typer.Option(min=1, help="ray: runs at one time, at most.")] = None,
    cpus_per_run: Annotated[int, typer.Option(min=1, help="ray: that each run takes.")] = 1,
    gpus_per_run: Annotated[float, typer.Option(min=0, help="ray: that each run takes; may be a share.")] = 0.0,
    address: Annotated[
        str | None, typer.Option(help="ray: of a running cluster, or auto; one is started here, unless given.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace results of another recipe, code or data.")] = False,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Let recipes run their own Python files (factory:).")
    ] = False,
    keep_stages: Annotated[
        bool, typer.Option("--keep-stages", help="Keep the model after each pass, for recipes that begin alike.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing while working.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int | None:
    """Run many recipes, in many variants, and print one table.

    A recipe that fails does not stop the others: what went wrong is told at the end. The same command again goes on:
    finished runs are not done again. Runs beside each other on one machine disturb each other's times: where these
    matter, let each take all of a machine (--cpus-per-run), or use the local engine. With --keep-stages variants that
    begin with the same passes do these once.
    """
    from compress.cli.running import report
    from compress.errors import CompressError, require
    from compress.place import RunOptions
    from compress.progress import reporter_for
    from compress.sweeping.local import run_local
    from compress.sweeping.ray import Resources, run_on_ray
    from compress.sweeping.variants import parse_variation, read_variants

    resources = Resources(address, cpus_per_run, gpus_per_run, jobs)
    if engine == "local" and resources != Resources():
        raise CompressError("--address, --jobs, --cpus-per-run and --gpus-per-run are of --engine ray")
    todo = read_variants(recipes, overrides or (), [parse_variation(text) for text in vary or ()])
    require("torch", "compress sweep", "torch")
    options, reporter = RunOptions(output, force, allow_code, keep_stages), reporter_for(quiet)
    local = engine == "local"
    outcomes = run_local(todo, options, reporter) if local else run_on_ray(todo, options, resources, reporter)
    rows = [outcome.row for outcome in outcomes if outcome.row is not None]
    if rows:
        typer.echo(report(rows, output, as_json), nl=False)
    return tell_failures(outcomes) or (_MISSED if any(row.misses for row in rows) else None)


def tell_failures(outcomes: Sequence[Outcome]) -> int | None:
    """Say what went wrong, a line each; the exit code, or None where nothing did."""
    for outcome in outcomes:
        for line in outcome.error.splitlines():
            typer.echo(f"error: {outcome.name}: {line}", err=True)
    if any(outcome.row is None for outcome in outcomes):
        return _FAULT if any(outcome.is_fault for outcome in outcomes) else _FAILED
    return None
