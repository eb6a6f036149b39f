"""The command `compress translate`: its options alone; `compress.cli.lines` does the work, and is imported then."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def translate(
    artefact: Annotated[Path, typer.Argument(help="The directory that ships.")],
    text: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT", help="Its words; '-', or none: the lines of stdin.")
    ] = None,
    source: Annotated[str, typer.Option("--from", metavar="LANGUAGE", help="Of the text: en, fr, zh, …")] = ...,  # type: ignore[assignment]
    target: Annotated[str, typer.Option("--to", metavar="LANGUAGE", help="Of the translation.")] = ...,  # type: ignore[assignment]
    file: Annotated[Path | None, typer.Option(help="Translate its lines, one a line.")] = None,
    beams: Annotated[int, typer.Option(min=1, help="Of a beam search; 1: none.")] = 1,
    temperature: Annotated[float, typer.Option(min=0, help="Of sampling; 0: the most likely token.")] = 0.0,
    top_k: Annotated[int, typer.Option(min=0, help="Draw from that many tokens; 0: from all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Draw from the fewest tokens that have this probability.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Of sampling.")] = 0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Cut a translation after so many.")] = 256,
    threads: Annotated[int, typer.Option(min=1, help="Of the runtime.")] = 2,
    batch_size: Annotated[int, typer.Option(min=1, help="Lines that are translated together.")] = 8,
    stats: Annotated[
        bool | None, typer.Option("--stats/--no-stats", help="Tell tokens/s on stderr; told on a terminal.")
    ] = None,
) -> None:
    """Translate a text, the lines of a file, or those of stdin, and write a line for each to stdout.

    An empty line stays an empty line.  A text streams; the lines of files go through the model together.
    """
    from compress.cli import lines
    from compress.runtime.text import Decoding

    lines.translate(
        artefact,
        lines.Languages(source, target),
        " ".join(text) if text else None,
        file,
        Decoding(max_new_tokens, beams, temperature, top_k, top_p, seed),
        threads=threads,
        batch_size=batch_size,
        stats=sys.stderr.isatty() if stats is None else stats,
    )
