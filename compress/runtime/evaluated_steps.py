"""At which of its steps an artefact evaluates its model: a list in model_index.json, where some are spared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.errors import ArtefactError
from compress.numerics.reuse import check_steps

_KEY = "evaluated_steps"


def noted_steps(evaluated: tuple[int, ...] | None) -> dict[str, Any]:
    """What the index says of them; of all steps nothing."""
    return {} if evaluated is None else {_KEY: list(evaluated)}


def read_steps(index: Mapping[str, Any], where: Path, num_steps: int) -> tuple[int, ...] | None:
    """None: all.  Raises ArtefactError for a list that cannot be one of so many steps."""
    found = index.get(_KEY)
    if found is None:
        return None
    if not isinstance(found, list) or not all(type(step) is int for step in found):
        raise ArtefactError(f"{where}: {_KEY} is {found}: a list of steps is wanted")
    try:
        check_steps(tuple(found), num_steps)
    except ValueError as error:
        raise ArtefactError(f"{where}: {error}") from error
    return tuple(found)
