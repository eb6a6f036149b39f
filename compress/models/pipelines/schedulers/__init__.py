"""diffusers' schedulers in numpy, step by step the same: DDIM, Euler, DPM-Solver++ of the second order, PNDM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compress.errors import ArtefactError
from compress.models.pipelines.schedulers.base import Levels, Scheduler, Steps
from compress.models.pipelines.schedulers.ddim import Ddim
from compress.models.pipelines.schedulers.dpm import DpmSolver
from compress.models.pipelines.schedulers.euler import Euler
from compress.models.pipelines.schedulers.pndm import Pndm

__all__ = ["Levels", "Scheduler", "Steps", "open_scheduler"]
_KINDS: dict[str, type[Scheduler]] = {kind.class_name: kind for kind in (Ddim, DpmSolver, Euler, Pndm)}


def open_scheduler(config: Mapping[str, Any], where: str) -> Scheduler:
    """Of a scheduler_config.json.  Raises ArtefactError for a scheduler that does other steps than these."""
    name = config.get("_class_name")
    if name not in _KINDS:
        told = ", ".join(_KINDS)
        raise ArtefactError(f"{where}: the scheduler is {name}: images are made with one of {told}")
    return _KINDS[name].from_config(config, where)
