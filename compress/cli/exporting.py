"""The command `compress export`: its options alone; `compress.exporting` does the work, and is imported then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer


def export(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A file, or the name of a shipped recipe.")],
    format: Annotated[Literal["gguf"], typer.Option(help="Of the file.")],
    type: Annotated[
        str,
        typer.Option(
            help="Of the matrices: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q6_K, Q5_K, Q4_K, Q3_K, Q2_K; of "
            "those that are ternary, TQ2_0 or TQ1_0; auto: as quantized."
        ),
    ] = "auto",
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="In place of RUNS/NAME/NAME[-TYPE].gguf.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a value of the recipe.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Where `compress run` keeps its stages.")] = Path("runs"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Let a recipe run its own Python file (factory:).")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing while working.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a recipe's language model, after its passes, as one file for another program: GGUF, for llama.cpp.

    Passes that a stopped run has finished are not done again.
    """
    from compress import exporting, preflight
    from compress.errors import require
    from compress.exporter.gguf import check_type, refuse_existing
    from compress.place import place_of
    from compress.progress import reporter_for

    kind = check_type(type)
    [job] = preflight.read_jobs([recipe], overrides or (), apart=False)
    exporting.check_recipe(job.recipe)
    file = output or exporting.default_file(job.recipe, runs, kind)
    refuse_existing(file, force)
    require("torch", "compress export", "torch")
    preflight.check_jobs([job], allow_code=allow_code)
    command = job.command("--format", format, "--type", kind, "--output", str(file), verb="export")
    place = place_of(job.recipe, runs, command)
    written = exporting.export_gguf(
        place, file, type=kind, force=force, allow_code=allow_code, reporter=reporter_for(quiet)
    )
    plain = json.dumps(written.to_plain(), indent=2, ensure_ascii=False)
    typer.echo(plain if as_json else "\n".join(written.lines()))
