"""The command `compress generate`: its options alone; `compress.cli.images` does the work, and is imported then."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def generate(
    artefact: Annotated[Path, typer.Argument(help="The directory that ships.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="A PNG, all images in one.")],
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="CLASS", help="Its name or number, as often as wanted; none: all in turn."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the first image; each takes the next number.")] = 0,
    num: Annotated[int, typer.Option(min=1, help="Images, of the classes in turn.")] = 8,
    scale: Annotated[int, typer.Option(min=1, help="Each pixel becomes so many in width and height.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Of the runtime.")] = 2,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing while working.")] = False,
) -> None:
    """Make images of classes, the same for the same seeds, and write them beside each other into a PNG."""
    from compress.cli import images

    images.generate(artefact, classes or [], seed, num, output, scale=scale, threads=threads, force=force, quiet=quiet)
