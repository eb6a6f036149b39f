"""Who teaches: a recipe's own float model, another model, or what another recipe makes of one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.applying import apply
from compress.errors import ModelError
from compress.jobs import Job, kind_of
from compress.models.state import weights_sha256
from compress.progress import Reporter
from compress.recipe import Recipe, parse

if TYPE_CHECKING:
    from torch import nn

    from compress.training.settings import Teacher


def teachers(recipe: Recipe, job: Job, allow_code: bool, reporter: Reporter) -> Callable[[Teacher], Callable[..., Any]]:
    """What gives the model that a `Teacher` of `recipe` names, in float32 and eval mode; each call loads it anew.

    Raises ModelError for a teacher that cannot be had, or that is of another task.
    """

    def load(teacher: Teacher) -> Callable[..., Any]:
        found = whole(teacher)
        if teacher.cache is None:
            return found
        from compress.training.cached_teacher import CachedTeacher

        return CachedTeacher(found, Path(teacher.cache).expanduser(), weights_sha256(found))

    def whole(teacher: Teacher) -> nn.Module:
        source = teacher.model()
        if source is not None:
            return job.another(source, allow_code)
        if teacher.recipe is None:
            return job.another(recipe.model, allow_code)
        other = parse(Path(teacher.recipe))
        if other.task.name != recipe.task.name:
            raise ModelError(f"teacher: {teacher.recipe} is of task '{other.task.name}', not '{recipe.task.name}'")
        taught = kind_of(other).load(other, allow_code)
        return apply(
            taught.model,
            other.passes,
            taught.batches,
            target=other.device(),
            seed=other.seed,
            progress=reporter,
            translator=taught.translator,
            examples=taught.examples,
            teacher=teachers(other, taught, allow_code, reporter),
        )

    return load
