"""The error tree.  Everything a user can cause is a CompressError and ends with exit code 2, without a traceback.

CompressError
├── RecipeError        a recipe, or a value given with --set, is wrong: one message for each problem, all at once
├── ModelError         the model cannot be had, or cannot be compressed as asked
├── DataError          a dataset cannot be read, or holds what cannot be used
├── ArtefactError      an artefact is missing, damaged, or would be overwritten
├── MissingExtra       an optional dependency is not installed; names the extra that brings it
├── PromiseBroken      a pass's promise does not hold (any more)
└── ParityError        the exported artefact and the torch model part
"""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterable, Sequence


class CompressError(Exception):
    """A problem that a user can mend.  `str(error)` is the whole message."""

    exit_code = 2


class RecipeError(CompressError):
    """All problems of a recipe: `problems` holds one line each, 'file:line: what is wrong: what to write instead'."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class ModelError(CompressError):
    """The model cannot be had, or cannot be compressed as asked."""


class DataError(CompressError):
    """A dataset cannot be read, or holds what cannot be used."""


class ArtefactError(CompressError):
    """An artefact is missing, damaged, or would be overwritten."""


class PromiseBroken(CompressError):
    """A pass's promise (`ensures`) does not hold, right after it or at the end of the recipe."""


class ParityError(CompressError):
    """The exported artefact and the torch model disagree on real inputs."""


class MissingExtra(CompressError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an extra: pip install 'compress-toolkit[{extra}]'")
        self.extra = extra


def require(module: str, what: str, extra: str) -> None:
    """Raise MissingExtra, in one line, unless the top-level package `module` can be imported."""
    if importlib.util.find_spec(module) is None:
        raise MissingExtra(what, extra)


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """'unknown pass 'prune.magnitud': did you mean 'prune.magnitude'?', or the list of what is known."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names)}"
    return f"unknown {kind} '{name}': {hint}"
