"""What `compress check`, `forecast` and `calibrate-target` say of artefacts and targets.  No torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from compress.devices.check import Violation, check
from compress.devices.forecast import forecast
from compress.devices.phases import is_artefact
from compress.devices.rendering import as_plain, as_text
from compress.errors import CompressError, RecipeError
from compress.files import write_text
from compress.jobs import recipe_of
from compress.progress import reporter_for
from compress.runtime.artefact import MANIFEST, MODEL, open_artefact
from compress.targets import Target, load, names

_NOTES = 5  # that are written out; --json has all


def split(names: Sequence[str]) -> tuple[list[Path], list[str]]:
    """(artefacts and ONNX files, recipes)."""
    artefacts = [name for name in names if is_artefact(Path(name))]
    return [Path(name) for name in artefacts], [name for name in names if name not in artefacts]


def refuse_json(as_json: bool) -> None:
    """Raises RecipeError where --json would be left without effect."""
    if as_json:
        raise RecipeError(["--json is for artefacts: what is wrong with a recipe is told line by line"])


def checked_recipes(
    names: Sequence[str], overrides: Sequence[str], targets: Sequence[str], allow_code: bool
) -> Iterator[str]:
    """A line for each recipe, and for each target in place of its own.  Raises RecipeError with all problems."""
    import typer

    from compress import preflight

    problems: list[str] = []
    for target in targets or (None,):
        with_target = [*overrides, *([] if target is None else [f"target={target}"])]
        try:
            jobs = preflight.read_jobs(names, with_target)
            notes = preflight.check_jobs(jobs, allow_code=allow_code, lenient=True)
        except RecipeError as error:
            problems += error.problems
            continue
        for note in notes:
            typer.echo(f"note: {note}", err=True)
        for job in jobs:
            yield f"{job.path}{'' if target is None else f', target {target}'}: no problems found"
    if problems:
        raise RecipeError(list(dict.fromkeys(problems)))


def checked(artefacts: Sequence[Path], targets: Sequence[str], as_json: bool) -> tuple[str, bool]:
    """What each target does not take of each artefact, and whether there is anything."""
    found = {
        (path, target.name): check(path, target)
        for path in artefacts
        for target in ([load(name) for name in targets] or [_own_target(path)])
    }
    refused = any(not each.is_note for violations in found.values() for each in violations)
    if as_json:
        plain = [
            {"path": str(path), "target": target, "found": [asdict(each) for each in violations]}
            for (path, target), violations in found.items()
        ]
        return json.dumps(plain, indent=2, ensure_ascii=False), refused
    return "\n".join(_told(path, target, violations) for (path, target), violations in found.items()), refused


def _own_target(path: Path) -> Target:
    if not (path / MANIFEST).is_file():
        raise CompressError(f"{path}: which target is not known: give --target")
    artefact = open_artefact(path)
    return load(artefact.target) if artefact.target in names() else recipe_of(artefact).device()


def _told(path: Path, target: str, violations: Sequence[Violation]) -> str:
    problems = [each for each in violations if not each.is_note]
    notes = [each for each in violations if each.is_note]
    lines = [f"{_place(path, each)}: {each}" for each in problems]
    lines += [f"note: {_place(path, each)}: {each}" for each in notes[:_NOTES]]
    if len(notes) > _NOTES:
        lines.append(f"note: {path}: {len(notes) - _NOTES} more of the same kind: --json tells all")
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}" if problems else "no problems found"
    return "\n".join([*lines, f"{path}, target {target}: {count}"])


def _place(path: Path, violation: Violation) -> str:
    """The artefact, or which of its files."""
    return str(path) if Path(violation.file) == path / MODEL else violation.file


def forecasts(artefact: Path, target: str, tokens: int, sizes: Sequence[str], as_json: bool) -> str:
    """The forecasts of an artefact's runs, one below the other."""
    found = forecast(artefact, load(target), tokens, _sizes(sizes))
    if as_json:
        return json.dumps([as_plain(each) for each in found], indent=2, ensure_ascii=False)
    return "\n\n".join(as_text(each) for each in found)


def _sizes(texts: Sequence[str]) -> dict[str, int]:
    """AXIS=NUMBER as a mapping.  Raises CompressError for what is none."""
    found = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        if not number.isdigit() or not text.count("="):
            raise CompressError(f"--size {text}: write AXIS=NUMBER, as in --size height=224")
        found[name] = int(number)
    return found


def calibrated(
    artefacts: Sequence[Path],
    output: Path,
    base: str,
    threads: int,
    tokens: int,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> str:
    """The figures of this machine, the file that they lie in, and how far forecasts are from what artefacts take."""
    from compress.devices.calibrate import calibrate, compare, comparison_table, written

    if output.suffix not in (".yaml", ".yml"):
        raise CompressError(f"{output}: a target's file ends with .yaml: write --output {output}.yaml")
    if output.exists() and not force:
        raise CompressError(f"{output} is there already: name another file, or give --force")
    load(base)
    calibration = calibrate(artefacts, threads, tokens, reporter_for(quiet))
    text = written(calibration, base, threads)
    write_text(output, text)
    compared = compare(calibration, load(str(output)), tokens) if artefacts else []
    if as_json:
        figures = {name: asdict(figure) for name, figure in calibration.figures.items()}
        plain = {"file": str(output), "figures": figures, "runs": [each.to_plain() for each in compared]}
        return json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False)
    return "\n\n".join([text.rstrip(), f"written to {output}", *([comparison_table(compared)] if compared else [])])
