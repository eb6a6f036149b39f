"""Do published rows still hold?  What can be told of the page, the recipes and the runs that lie here, nothing made."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from compress.errors import ArtefactError, CompressError, unknown
from compress.jobs import kind_of, recipe_of
from compress.passes.base import Progress
from compress.pipeline import float_recipe
from compress.published.page import page_of
from compress.published.rows import Published, rows_of
from compress.recipe import Recipe, parse
from compress.results import finished, float_artefact_of
from compress.runtime.artefact import MANIFEST, Artefact, open_artefact, read_manifest
from compress.runtime.verify import Check, Verdict, Verification
from compress.shipped import find_recipe

# Takes a published row and gives its checks.
Checker = Callable[[Published], Iterable[Check]]


def chosen(page: Path, names: Sequence[str]) -> list[Published]:
    """The page's rows of these names, or all.  Raises ArtefactError for a page or a name that is not there."""
    rows = rows_of(page)
    known = {row.name: row for row in rows}
    for name in names:
        if name not in known:
            raise ArtefactError(f"{page}: {unknown('row', name, known)}")
    return [known[name] for name in names] or rows


def verification(page: Path, rows: Iterable[Published], further: Checker) -> Verification:
    """The page, each row's recipe, what the row was compared with, and what `further` finds of it."""
    checks = [_page(page)]
    everything = {row.name: row for row in rows_of(page)}
    for row in rows:
        checks += [_recipe(row), *_compared(row, everything)]
        checks += [replace(check, what=f"{row.name}: {check.what}") for check in further(row)]
    return Verification(tuple(checks))


def _page(page: Path) -> Check:
    folder, rows = page.stem.lower(), rows_of(page)
    if page.read_text(encoding="utf-8") == page_of(rows, page):
        return Check(page.name, f"{len(rows)} rows", f"what {folder}/ gives", Verdict.EXACT)
    told = f"another page than {folder}/ gives: compress table {page} --results {page} writes it anew"
    return Check(page.name, f"{len(rows)} rows", told, Verdict.FAILED)


@dataclass(frozen=True)
class Command:
    """What a row's command says: recipes as asked, values after --set, and whether their own code may run."""

    asked: tuple[str, ...]
    overrides: tuple[str, ...]
    allow_code: bool

    def recipe(self, row: Published) -> Recipe:
        """The recipe of `row` that the command runs; of a float row, the one that it is exported beside.

        Raises CompressError if it names no such recipe any more.
        """
        found = [
            each
            for asked in self.asked
            for each in parse(find_recipe(asked), self.overrides, check_files=False).each()
            if row.row.is_float or each.name == row.name
        ]
        if not found:
            raise CompressError(f"`{row.row.command}` makes no {row.name} any more")
        return found[0]


def command_of(row: Published) -> Command | None:
    """The row's command, if it is one of `compress run` or `compress sweep`; a run from Python has none."""
    words = shlex.split(row.row.command)
    if len(words) < 3 or words[0] != "compress" or words[1] not in ("run", "sweep"):
        return None
    asked, overrides, rest = list[str](), list[str](), iter(words[2:])
    for word in rest:
        if word == "--set":
            overrides.append(next(rest))
        elif word == "--output":
            next(rest)
        elif not word.startswith("--"):
            asked.append(word)
    return Command(tuple(asked), tuple(overrides), "--allow-code" in words)


def _recipe(row: Published) -> Check:
    """Whether the row's command still means the recipe that made it."""
    what, shown = f"{row.name}: recipe", f"`{row.row.command}`"
    command = command_of(row)
    if command is None:
        return Check(what, shown, "no command line that makes it", Verdict.UNCHECKED)
    try:
        before, now = parse(row.lock["recipe"], check_files=False), command.recipe(row)
    except CompressError as error:
        return Check(what, shown, "; ".join(str(error).splitlines()), Verdict.STALE)
    now = replace(float_recipe(now) if row.row.is_float else now, name=before.name)
    if before == now:
        return Check(what, shown, "the same", Verdict.EXACT)
    different = [key for key in vars(now) if getattr(now, key) != getattr(before, key)]
    return Check(what, shown, f"changed since in {', '.join(different)}: run it again", Verdict.STALE)


def _compared(row: Published, everything: dict[str, Published]) -> Iterator[Check]:
    """Whether the float row that stands beside it is the one that it was compared with."""
    if row.compared is None:
        return
    what, beside = f"{row.name}: float model", everything.get(row.compared)
    if beside is None:
        yield Check(what, row.compared, "no such row", Verdict.UNCHECKED)
    elif beside.model_sha256 == row.float_sha256:
        yield Check(what, row.compared, "the same file", Verdict.EXACT)
    else:
        yield Check(what, row.compared, "another file by now: run both again", Verdict.STALE)


def lying_in(output: Path, progress: Progress) -> Checker:
    """Checks the artefacts of finished runs in `output` that are the published ones: hashes, and scores taken again."""

    def check(row: Published) -> Iterator[Check]:
        found = artefact_of(row, output)
        if found is None:
            told = f"no such artefact in {output}: --rerun makes it again"
            yield Check("artefact", f"sha256 {row.model_sha256[:12]}", told, Verdict.UNCHECKED)
            return
        yield Check("artefact", f"sha256 {row.model_sha256[:12]}", str(found), Verdict.EXACT)
        artefact = open_artefact(found)
        recipe = recipe_of(artefact)
        reference = float_artefact_of(found)
        yield from kind_of(recipe).verify(artefact, recipe, None, reference, recipe.evaluate.threads, progress).checks

    return check


def artefact_of(row: Published, output: Path) -> Path | None:
    """Where the published artefact lies in `output`, if it does: that of a finished run with the same model file."""
    runs = [path for path in sorted(output.iterdir()) if finished(path)] if output.is_dir() else []
    for run in runs:
        directory = run / "artefact"
        there = (directory / MANIFEST).is_file()
        if there and Artefact(directory, read_manifest(directory)).model_sha256 == row.model_sha256:
            return directory
    return None
