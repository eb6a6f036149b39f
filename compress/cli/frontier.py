"""The command `compress frontier`: one recipe at many budgets, and the curve of what each gives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from compress.cli.sweeping import tell_failures


def frontier(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A file, or the name of a shipped recipe.")],
    sizes: Annotated[str, typer.Option(metavar="FROM:TO:COUNT", help="Budgets, evenly spaced: 0.1GB:0.5GB:9.")],
    of: Annotated[
        Literal["size", "model_size"], typer.Option(help="All that ships, or the model file alone.")
    ] = "model_size",
    beside: Annotated[
        list[Path] | None, typer.Option(metavar="DIRECTORY", help="Finished runs to be drawn beside the curve.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a value in all of them.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Where the results go, a directory each, and the curve.")] = Path("runs"),
    force: Annotated[bool, typer.Option("--force", help="Replace results of another recipe, code or data.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing while working.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int | None:
    """Run a recipe whose bits are auto at many sizes, and draw quality over size.

    The curve is RECIPE-frontier.png below the output, its figures RECIPE-frontier.csv. A size that cannot be reached
    is told at the end. The same command again goes on: finished runs are not done again.
    """
    from compress.cli.showing import as_suits
    from compress.errors import require
    from compress.files import write_text
    from compress.place import RunOptions
    from compress.progress import reporter_for
    from compress.report.plot import plot
    from compress.report.table import render
    from compress.results import rows_below
    from compress.sweeping.local import run_local
    from compress.sweeping.sizes import parse_sizes
    from compress.sweeping.variants import Variation, read_variants

    varied = Variation(f"budget.{of}", tuple(map(str, parse_sizes(sizes))))
    todo = read_variants([recipe], overrides or (), [varied])
    drawn_beside = rows_below(beside) if beside else []
    require("torch", "compress frontier", "torch")
    require("matplotlib", "pictures need matplotlib", "plot")
    outcomes = run_local(todo, RunOptions(output, force), reporter_for(quiet))
    rows = [outcome.row for outcome in outcomes if outcome.row is not None]
    together = [*rows, *drawn_beside]
    name = output / f"{Path(recipe).stem}-frontier"
    if rows:
        plot(together, name.with_name(f"{name.name}.png"), curve=rows)
        write_text(name.with_name(f"{name.name}.csv"), render(together, "csv"))
    if as_json:
        typer.echo(render(together, "json"), nl=False)
    elif rows:
        typer.echo(f"{as_suits(together)}{name}.png, {name}.csv")
    return tell_failures(outcomes)
