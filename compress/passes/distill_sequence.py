"""distill.sequence: the student is trained on what the teacher writes (sequence-level knowledge distillation, Kim and
Rush 2016, arXiv:1606.07947, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Gt, Interval

from compress.errors import ModelError
from compress.passes.base import Context, register
from compress.passes.training import TrainingPass
from compress.training.settings import Teacher

if TYPE_CHECKING:
    from torch import nn

    from compress.targets import Target
    from compress.training.examples import Examples
    from compress.training.phase import Phase


@register("distill.sequence")
@dataclass(frozen=True)
class DistillSequence(TrainingPass):
    """The teacher translates the sources, and the student is trained on its translations.

    teacher           whom from; where it is left out, the recipe's own float model.
    num_beams         of the teacher's search; 1: greedy.
    max_new_tokens    of a translation; one that is cut is not learned from.
    keep              share of each pair's translations that are kept, those that the teacher holds likeliest a token.
    max_length_ratio  translations whose length, as a share of the source's, is so many times the pair's median or more,
                      or less by as much, are dropped.
    references        the true translations are learned from as well.
    shard_size        texts that are translated before they are kept on disk.
    translations      a directory that keeps what the teacher wrote for other runs; null: the run's own.
    """

    teacher: Teacher = field(default_factory=Teacher)
    num_beams: Annotated[int, Interval(ge=1, le=64)] = 4
    max_new_tokens: Annotated[int, Ge(1)] = 128
    keep: Annotated[float, Interval(gt=0, le=1)] = 1.0
    max_length_ratio: Annotated[float, Gt(1)] = 3.0
    references: bool = False
    shard_size: Annotated[int, Ge(1)] = 64
    translations: str | None = None

    def problems(self, target: Target) -> list[str]:
        found = [*super().problems(target), *self.teacher.problems("translation")]
        if self.teacher.recipe is not None:
            found.append("teacher.recipe: a teacher of sequences is a model: write teacher: {source: …}")
        if self.teacher.cache is not None:
            found.append("teacher.cache keeps logits: write translations: DIRECTORY")
        return found

    def task_problems(self, task: str, languages: tuple[str, ...]) -> list[str]:
        if task != "translation":
            return ["is for translators: write distill"]
        return super().task_problems(task, languages)

    def files(self) -> dict[str, str]:
        return self.teacher.files()

    def phases(self, model: nn.Module, context: Context) -> list[Phase]:
        return []

    def prepare(self, context: Context) -> None:
        self._written(context)

    def learned_from(self, model: nn.Module, context: Context) -> Examples:
        return self._written(context)

    def _written(self, context: Context) -> Examples:
        from compress.training.sequences import Filter, choose, written_by

        if context.corpus is None or context.writer is None or context.examples is None:
            raise ModelError(f"{self.name}: it works in recipes of task 'translation' only")
        corpus = context.corpus(self.dataset)
        own = context.directory / "translations" if context.directory is not None else None
        directory = Path(self.translations).expanduser() if self.translations is not None else own
        if directory is None:
            raise ModelError(f"{self.name}: give 'translations', a directory for what the teacher writes")
        writer = context.writer(self.teacher, self.num_beams, self.max_new_tokens, directory.parent / "teacher")
        settings = {"num_beams": self.num_beams, "max_new_tokens": self.max_new_tokens}
        written = written_by(writer, corpus, directory, self.shard_size, settings, context.progress)
        chosen = choose(written, Filter(self.keep, self.max_length_ratio))
        context.notes.append(f"{len(chosen)} of {len(corpus)} translations are learned from")
        return context.examples([*chosen, *(corpus if self.references else ())], self.augment)
