"""Who teaches: a recipe's own float model, another model, or what another recipe makes of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.applying import apply_all
from compress.errors import ModelError
from compress.fingerprint import fingerprint
from compress.jobs import Job, kind_of
from compress.models.state import weights_sha256
from compress.passes.base import Context, silent
from compress.place import path_sha256
from compress.progress import Reporter
from compress.recipe import Recipe, dump, parse

if TYPE_CHECKING:
    from torch import nn

    from compress.tasks.translates import Translates
    from compress.training.settings import Teacher


def context_of(recipe: Recipe, job: Job, allow_code: bool, reporter: Reporter) -> Context:
    """What the passes of a recipe may use."""
    return Context(
        job.batches,
        recipe.device(),
        recipe.seed,
        reporter,
        translator=job.translator,
        examples=job.examples,
        corpus=job.corpus,
        writer=writers(recipe, allow_code, reporter),
        teacher=teachers(recipe, job, allow_code, reporter),
        say=reporter.say,
    )


def teachers(recipe: Recipe, job: Job, allow_code: bool, reporter: Reporter) -> Callable[[Teacher], Callable[..., Any]]:
    """What gives the model that a `Teacher` of `recipe` names, in float32 and eval mode; each call loads it anew.

    Raises ModelError for a teacher that cannot be had, or that is of another task.
    """

    def load(teacher: Teacher) -> Callable[..., Any]:
        found = whole(teacher)
        if teacher.cache is None:
            return found
        from compress.training.cached_teacher import CachedTeacher, CachedTokens

        kind = CachedTokens if recipe.task.name == "translation" else CachedTeacher
        return kind(found, Path(teacher.cache).expanduser(), weights_sha256(found))

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
        return apply_all(taught.model, other.passes, context_of(other, taught, allow_code, reporter))

    return load


@dataclass(frozen=True)
class TeacherWriter:
    """A `training.sequences.Writer`: a float translator, exported once, that writes with the recipe's task's prompt."""

    recipe: Recipe
    num_beams: int
    max_new_tokens: int
    directory: Path
    allow_code: bool
    reporter: Reporter

    @property
    def sha256(self) -> str:
        files = {key: path_sha256(file) for key, file in self.recipe.model.files().items()}
        return fingerprint(dump(self.recipe)["model"], dump(self.recipe)["task"]["translation"]["shots"], files)

    def open(self) -> Translates:
        from compress.jobs.speaking import Speaker
        from compress.runtime.text import Decoding, open_translator

        if not self.directory.is_dir():
            job = kind_of(self.recipe).load(self.recipe, self.allow_code)
            job.export(job.model, self.directory, {})
        translator = open_translator(self.directory, self.recipe.evaluate.threads)
        decoding = Decoding(max_new_tokens=self.max_new_tokens, num_beams=self.num_beams)
        return Speaker(translator, decoding, 8, silent)


def writers(
    recipe: Recipe, allow_code: bool, reporter: Reporter
) -> Callable[[Teacher, int, int, Path], TeacherWriter] | None:
    """What gives the writer of a `Teacher`'s translations; None for a task that has none."""
    if recipe.task.name != "translation":
        return None

    def make(teacher: Teacher, num_beams: int, max_new_tokens: int, directory: Path) -> TeacherWriter:
        own = replace(recipe, name="teacher", passes=(), target="generic", model=teacher.model() or recipe.model)
        return TeacherWriter(own, num_beams, max_new_tokens, directory, allow_code, reporter)

    return make
