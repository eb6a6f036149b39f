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
    prompts: Annotated[
        list[str] | None,
        typer.Option("--prompt", metavar="TEXT", help="Of a pipeline: what to show, as often as wanted."),
    ] = None,
    negative_prompt: Annotated[
        str | None,
        typer.Option("--negative-prompt", metavar="TEXT", help="Of a pipeline: what guidance leads away from."),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option("--guidance", min=1, help="Of a pipeline: how far; 1: not at all. Else its own."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Of a pipeline's scheduler; else its own.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the first image; each takes the next number.")] = 0,
    num: Annotated[
        int | None,
        typer.Option(min=1, help="Images, of the classes or prompts in turn; else 8, or one of each prompt."),
    ] = None,
    scale: Annotated[int, typer.Option(min=1, help="Each pixel becomes so many in width and height.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Of the runtime.")] = 2,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing while working.")] = False,
) -> None:
    """Make images of classes or of texts, the same for the same seeds, and write them beside each other into a PNG."""
    from compress.cli import images

    wish = images.Wish(tuple(classes or ()), tuple(prompts or ()), negative_prompt, guidance, steps)
    images.generate(artefact, wish, seed, num, output, scale=scale, threads=threads, force=force, quiet=quiet)
