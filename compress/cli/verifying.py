"""The command `compress verify`: whether the figures of an artefact, or of published rows, still hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_MISSED = 1


def verify(
    what: Annotated[Path, typer.Argument(metavar="ARTEFACT|RESULTS.md", help="A directory that ships, or a page.")],
    rows: Annotated[list[str] | None, typer.Argument(metavar="ROW", help="Of the page, by name; all, if none.")] = None,
    rerun: Annotated[bool, typer.Option("--rerun", help="Make the rows of a page again.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Where the runs of a page lie; with --rerun, where they go, to be kept.  [default: runs]"),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="In place of the recipe's.")] = None,
    float_artefact: Annotated[
        Path | None, typer.Option("--float", help="The float artefact; that of the run, unless given.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Of the runtime; as in the recipe, unless given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing while working.")] = False,
) -> int | None:
    """Say which figures still hold: an artefact's hashes and scores, or the rows of RESULTS.md.

    Of a page: that it is what the files beside it give, that recipes are as they were, and the scores of artefacts that
    lie in runs/. With --rerun recipes are run again: bytes must be equal where versions and processor are, scores lie
    in their intervals, ratios of time and peak memory within a quarter. Exit code 1 if a figure does not hold.
    """
    from compress.cli import showing
    from compress.errors import CompressError
    from compress.published.rows import is_page

    of_artefacts: dict[str, object] = {"--dataset": dataset, "--float": float_artefact, "--threads": threads}
    of_pages: dict[str, object] = {"ROW": rows, "--rerun": rerun, "--output": output}
    kind, other = ("a page", "an artefact") if is_page(what) else ("an artefact", "a page such as RESULTS.md")
    for name, given in (of_artefacts if is_page(what) else of_pages).items():
        if given:
            raise CompressError(f"{what} is {kind}, and {name} is of {other}: take it out")
    if is_page(what):
        found = showing.published(what, rows or (), rerun, output, quiet)
    else:
        found = showing.verification(what, dataset, float_artefact, threads, quiet)
    typer.echo(found.to_json() if as_json else str(found), nl=not as_json)
    return None if found.ok else _MISSED
