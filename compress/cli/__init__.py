"""The command line: each command a few lines, no logic.  Nothing heavy is imported before a command runs.

Exit codes: 0 done, 1 a result misses its budget (it is kept), 2 bad input, 3 a fault of compress, 130 interrupted.
"""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from compress.cli.comparing import compare
from compress.cli.examples import EXAMPLES
from compress.cli.exporting import export
from compress.cli.frontier import frontier
from compress.cli.generating import generate
from compress.cli.sweeping import sweep
from compress.cli.translating import translate
from compress.cli.verifying import verify
from compress.errors import CompressError, require

_MISSED, _REFUSED, _FAULT, _INTERRUPTED = 1, 2, 3, 130

# Plain help: rich's would take more time to import than all the rest.
app = typer.Typer(
    name="compress",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done, 1 a result misses its budget (it is kept), 2 bad input, 3 a fault of compress.",
)

Recipes = Annotated[list[str], typer.Argument(metavar="RECIPE", help="Files, or names of shipped recipes.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value: passes.quantize.weights.num_bits=3."),
]
Output = Annotated[Path, typer.Option(help="Where the results go, a directory each.")]
AllowCode = Annotated[bool, typer.Option("--allow-code", help="Let a recipe run its own Python file (factory:).")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing while working.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Targets = Annotated[
    list[str] | None,
    typer.Option("--target", metavar="TARGET", help="In place of the recipe's or artefact's; a name or a file."),
]


def main() -> None:
    """Run the command line and exit."""
    app(prog_name="compress")


def _command(function: Callable[..., int | None]) -> Callable[..., None]:
    """Register a command.  What a user can mend becomes a line on stderr; the function's value is the exit code."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            code = function(*args, **kwargs)
        except CompressError as error:
            for line in str(error).splitlines():
                typer.echo(f"error: {line}", err=True)
            code = error.exit_code
        except KeyboardInterrupt:
            typer.echo("interrupted: the same command goes on after the last finished stage", err=True)
            code = _INTERRUPTED
        except Exception as error:
            if not _is_logged(error):
                traceback.print_exc()
            typer.echo(f"error: {error}" if _is_logged(error) else "error: a fault of compress, see above", err=True)
            code = _FAULT
        raise typer.Exit(code or 0)

    name = function.__name__.replace("_", "-")
    app.command(name, epilog=f"\b\nExample: {EXAMPLES[name]}")(guarded)  # \b: lines stay as they are
    return guarded


def _is_logged(error: Exception) -> bool:
    running = sys.modules.get("compress.cli.running")
    return running is not None and isinstance(error, running.Crash)


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.", is_eager=True)] = False,
) -> None:
    """Make an open model as small as it can be for a job, and prove it on the file itself."""
    if version:
        from compress import __version__

        typer.echo(f"compress {__version__}")
        raise typer.Exit


@_command
def run(
    recipes: Recipes,
    output: Output = Path("runs"),
    overrides: Sets = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done, with forecasts.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the result of another recipe, code or data.")] = False,
    allow_code: AllowCode = False,
    keep_stages: Annotated[
        bool, typer.Option("--keep-stages", help="Keep the model after each pass, for recipes that begin alike.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    launcher: Annotated[
        Literal["accelerate", "torchrun"] | None,
        typer.Option(help="Start passes that train by it, in processes of their own."),
    ] = None,
    config_file: Annotated[
        Path | None, typer.Option("--config_file", help="Of accelerate, as `accelerate config` writes it.")
    ] = None,
    num_processes: Annotated[
        int | None, typer.Option("--num_processes", min=1, help="Of the launcher, on this machine.")
    ] = None,
    track: Annotated[
        Literal["tensorboard", "mlflow", "trackio"] | None, typer.Option(help="Send losses of trainings there.")
    ] = None,
) -> int | None:
    """Compress a model, measure what comes out, and print the table.

    A run that was stopped goes on after its last finished stage; a finished one is not done again. What --keep-stages
    leaves lies in OUTPUT/.shared/stages, a whole model each, until you remove it; later runs look there by themselves.
    """
    from compress import preflight
    from compress.cli import running

    jobs = preflight.read_jobs(recipes, overrides or ())
    trainings = running.trainings(launcher, config_file, num_processes, track)
    options = running.Options(output, force, allow_code, keep_stages, quiet, trainings)
    todo = jobs if dry_run else running.unfinished(jobs, options)
    if todo:
        require("torch", "compress run", "torch")
        preflight.check_jobs(todo, allow_code=allow_code)
    if dry_run:
        typer.echo(running.plans(jobs, options, as_json))
        return None
    rows = running.run_all(jobs, options)
    typer.echo(running.report(rows, output, as_json), nl=False)
    return _MISSED if any(row.misses for row in rows) else None


@_command
def check(
    names: Annotated[
        list[str],
        typer.Argument(metavar="RECIPE|ARTEFACT", help="Recipes; or artefacts and ONNX files, against targets."),
    ],
    targets: Targets = None,
    overrides: Sets = None,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
) -> int | None:
    """Find all that is wrong with recipes, or what a target does not take of a graph, without doing any work."""
    from compress.cli import devices

    artefacts, recipes = devices.split(names)
    if recipes:
        devices.refuse_json(as_json)
        for line in devices.checked_recipes(recipes, overrides or (), targets or (), allow_code):
            typer.echo(line)
    if not artefacts:
        return None
    text, found = devices.checked(artefacts, targets or (), as_json)
    typer.echo(text)
    return _REFUSED if found else None


@_command
def forecast(
    artefact: Annotated[Path, typer.Argument(help="A directory that ships, or an ONNX file.")],
    target: Annotated[str, typer.Option("--target", metavar="TARGET", help="Its name, or a file: my-machine.yaml.")],
    tokens: Annotated[int, typer.Option(min=1, help="Of a translator's prompt, and in its cache.")] = 128,
    sizes: Annotated[
        list[str] | None, typer.Option("--size", metavar="AXIS=NUMBER", help="Of an axis that the graph leaves open.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Forecast time, memory and energy on a device, from the figures of its target: nothing is measured."""
    from compress.cli import devices

    typer.echo(devices.forecasts(artefact, target, tokens, sizes or (), as_json))


@_command
def calibrate_target(
    artefacts: Annotated[
        list[Path] | None, typer.Argument(metavar="ARTEFACT", help="To compare the forecast with what is measured.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The target of this machine.")] = Path(
        "my-machine.yaml"
    ),
    base: Annotated[str, typer.Option("--base", metavar="TARGET", help="The target whose constraints it has.")] = (
        "generic"
    ),
    threads: Annotated[int, typer.Option(min=1, help="Of the runtime.")] = 2,
    tokens: Annotated[int, typer.Option(min=1, help="Of a translator's prompt, and in its cache.")] = 128,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure this machine's bandwidth and peaks, and write them as a target that forecasts stand on.

    Every run is in turn with all others; a figure is of its fastest tenth. Takes about half a minute.
    """
    from compress.cli import devices

    typer.echo(devices.calibrated(artefacts or [], output, base, threads, tokens, force, quiet, as_json))


@_command
def ls() -> None:
    """List the recipes, passes, targets, kinds of models and tasks."""
    from compress.cli.listing import everything

    typer.echo(everything())


@_command
def show(
    name: Annotated[str, typer.Argument(help="Of a pass, a target, a task or a recipe.")],
    resolved: Annotated[bool, typer.Option("--resolved", help="A recipe with every default written out.")] = False,
) -> None:
    """Show a pass with its parameters, a target, a task or a recipe."""
    from compress.cli.listing import shown

    typer.echo(shown(name, resolved))


@_command
def table(
    directories: Annotated[
        list[Path] | None,
        typer.Argument(metavar="DIRECTORY|RESULTS.md", help="Of runs, or of one; or published rows.  [default: runs]"),
    ] = None,
    format: Annotated[
        Literal["markdown", "csv", "json"] | None, typer.Option(help="In place of what suits the terminal.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw quality over size too: .png, .svg or .pdf.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write all that was measured as one page, that needs no network."),
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the images that they made, a line each: .png.")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(metavar="RESULTS.md", help="Publish the rows there, beside those of other names.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a picture or a page that is there.")] = False,
) -> None:
    """Show the measured rows of finished runs, or published ones."""
    from compress.cli import showing

    outputs = showing.Outputs(plot, html, sheet, results, force)
    typer.echo(showing.table(directories or [Path("runs")], format, outputs), nl=False)


@_command
def bench(
    artefacts: Annotated[list[Path], typer.Argument(metavar="ARTEFACT", help="Directories, or ONNX files.")],
    threads: Annotated[int, typer.Option(min=1, help="Of the runtime.")] = 2,
    format: Annotated[Literal["markdown", "csv", "json"], typer.Option(help="Of the table.")] = "markdown",
    quiet: Quiet = False,
) -> None:
    """Time artefacts in turn, in one process of their own; the first is what the others are compared with."""
    from compress.cli import showing

    typer.echo(showing.benchmark(artefacts, threads, format, quiet), nl=False)


@_command
def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    from compress.recipe.schema import as_text

    typer.echo(as_text(), nl=False)


_command(verify)
_command(compare)
_command(sweep)
_command(frontier)
_command(export)
_command(translate)
_command(generate)
