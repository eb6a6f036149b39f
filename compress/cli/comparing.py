"""The command `compress compare`: two artefacts of one model beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    one: Annotated[Path, typer.Argument(metavar="A", help="An artefact, or the directory of its run.")],
    other: Annotated[Path, typer.Argument(metavar="B", help="Another of the same model, told against A.")],
    against: Annotated[
        str | None, typer.Option(metavar="float|DIRECTORY", help="Both against a third too: the runs' float model.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw each layer's error of its weight: .png, .svg or .pdf.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a picture that is there.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Of the runtime; as in the recipe, unless given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing while working.")] = False,
) -> None:
    """Tell what parts two artefacts: paired scores, bytes, what changed most, and the layers whose weights part.

    Translations, and images that were made, are those that the runs left beside their rows; photographs go through
    both again.  A layer's error is its signal-to-noise ratio in dB, the guilty one first.
    """
    from compress import comparing
    from compress.comparing import telling
    from compress.errors import ArtefactError
    from compress.progress import reporter_for

    if plot is not None:
        from compress.comparing.picture import check_picture, draw

        check_picture(plot)
        if plot.exists() and not force:
            raise ArtefactError(f"{plot} is there already: name another file, or give --force")
    found = comparing.compare(one, other, against, threads, reporter_for(quiet))
    if plot is not None:
        draw(found, plot)
    typer.echo(telling.as_json(found) if as_json else telling.as_markdown(found), nl=False)
