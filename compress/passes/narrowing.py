"""What the passes share that make all attentions, or all feed-forward parts, of a transformer narrower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from annotated_types import Ge, Interval

from compress.models.selectors import selector_problems
from compress.passes.base import Pass

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

    from compress.targets import Target

Part = TypeVar("Part", bound=Any)  # has `inputs` and `output`: names of its layers


@dataclass(frozen=True)
class Narrow(Pass):
    """The fields of these passes, which each describes in its own words.

    goes, stays, has  how messages call what ratio is of, what keep counts, and what a translator's config has one of.
    """

    lasts_through_training: ClassVar[bool] = True
    goes: ClassVar[str]
    stays: ClassVar[str]
    has: ClassVar[str]

    ratio: Annotated[float, Interval(gt=0, lt=1)] | None = None
    keep: Annotated[int, Ge(1)] | None = None
    ignore: tuple[str, ...] = ()

    def selectors(self) -> tuple[str, ...]:
        return self.ignore

    def problems(self, target: Target) -> list[str]:
        problems = selector_problems(self.selectors())
        if (self.ratio is None) == (self.keep is None):
            problems.append(f"give either ratio (of {self.goes}, that goes) or keep ({self.stays})")
        return problems

    def task_problems(self, task: str, languages: tuple[str, ...]) -> list[str]:
        if task == "translation" and self.ignore:
            return [f"ignore: a translator's config has one {self.has} for all layers: take it out"]
        return []

    def meant(self, model: nn.Module, parts: Iterable[Part]) -> list[Part]:
        """Those of which `ignore` selects no layer."""
        from compress.models.layers import select

        ignored = select(model, self.ignore) if self.ignore else {}
        return [part for part in parts if not any(each in ignored for each in (*part.inputs, part.output))]
