"""Two artefacts of one model beside each other: scores with paired differences, bytes, latency, what changed most, and
which layers' weights part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from compress.comparing import denoising, generation, images, text_to_image, translation
from compress.comparing.compared import Compared, Pair
from compress.comparing.layers import LayerErrors, layer_errors
from compress.errors import ArtefactError
from compress.jobs import recipe_of
from compress.passes.base import Progress, silent
from compress.report.row import Row
from compress.results import finished, float_artefact_of, row_in
from compress.runtime.artefact import MANIFEST, Artefact, open_artefact

FLOAT = "float"
_TASKS: dict[str, Callable[[Sequence[Artefact], Sequence[Pair], int, Progress], Compared]] = {
    "denoising": denoising.compared,
    "image_classification": images.compared,
    "image_generation": generation.compared,
    "text_to_image": text_to_image.compared,
    "translation": translation.compared,
}


@dataclass(frozen=True)
class Comparison:
    """artefacts: the two and, if the comparison is against a third, that.  names: theirs, in the same order.

    rows     what their runs measured; None for an artefact that does not lie where its run left it.
    pairs    places of an artefact and of the one that it is compared with.
    compared scores, and their differences of each pair.
    layers   by the pairs that weights are compared of: against the third, or of the second against the first.
    """

    artefacts: tuple[Artefact, ...]
    names: tuple[str, ...]
    rows: tuple[Row | None, ...]
    pairs: tuple[Pair, ...]
    compared: Compared
    layers: dict[Pair, LayerErrors]


def compare(
    one: Path, other: Path, against: Path | str | None = None, threads: int | None = None, progress: Progress = silent
) -> Comparison:
    """Compare two artefacts; `against` a third, or against the float model that their run was compared with: 'float'.

    Directories are of artefacts, or of the runs that they lie in.  threads: as in the recipe, unless given.
    Raises ArtefactError for artefacts of other tasks, data or models, and DataError for data that cannot be read.
    """
    paths = [artefact_in(path) for path in (one, other)]
    if against is not None:
        paths.append(_float_of(paths) if str(against) == FLOAT else artefact_in(Path(against)))
    artefacts = tuple(map(open_artefact, paths))
    recipe = recipe_of(artefacts[0])
    _check_alike(artefacts)
    pairs: tuple[Pair, ...] = ((1, 0),) if against is None else ((1, 0), (0, 2), (1, 2))
    compared = _TASKS[recipe.task.name](artefacts, pairs, threads or recipe.evaluate.threads, progress)
    layers = {(ours, theirs): layer_errors(artefacts[ours], artefacts[theirs], progress) for ours, theirs in pairs[-2:]}
    return Comparison(artefacts, _names(paths), tuple(map(_row_of, paths)), pairs, compared, layers)


def artefact_in(path: Path) -> Path:
    """The directory of an artefact, or the one in the directory of its run."""
    inside = path / "artefact"
    return inside if (inside / MANIFEST).is_file() else path


def _float_of(paths: Sequence[Path]) -> Path:
    """The first of the float models that the runs were compared with; whether it is the other's too is checked."""
    for path in paths:
        found = float_artefact_of(path)
        if found is not None:
            return found
    raise ArtefactError(f"{paths[0]}: the float model of its run does not lie beside it: --against DIRECTORY names one")


def _check_alike(artefacts: Sequence[Artefact]) -> None:
    """Every difference that is found would be one of task, data or model, and not of how it was compressed."""
    first = artefacts[0]
    for artefact in artefacts[1:]:
        for what, mend in (
            ("task", "compare artefacts of one task"),
            ("model", "compare artefacts of one model"),
            ("data", "run both recipes on the same data"),
        ):
            ours, theirs = _identity(artefact, what), _identity(first, what)
            if ours != theirs:
                raise ArtefactError(
                    f"{artefact.directory} and {first.directory} differ in their {what}: {ours}, {theirs}: {mend}"
                )


def _identity(artefact: Artefact, what: str) -> str:
    if what == "model":
        return artefact.description
    if what == "task":
        return recipe_of(artefact).task.name
    return f"evaluation sha256 {artefact.manifest['lock']['evaluation_sha256'][:12]}"


def _names(paths: Sequence[Path]) -> tuple[str, ...]:
    """Of their runs, where they lie in one; the whole paths where two would have the same."""
    names = [path.resolve().parent.name if path.name == "artefact" else path.name for path in paths]
    return tuple(names if len(set(names)) == len(names) else map(str, paths))


def _row_of(path: Path) -> Row | None:
    run = path.resolve().parent
    return row_in(run) if path.resolve().name == "artefact" and finished(run) else None
