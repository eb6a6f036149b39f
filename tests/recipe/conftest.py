"""Passes of our own in place of the real ones, so that these tests and their snapshots stand still when passes grow.

Tests find them in the registry, as recipes do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from annotated_types import Ge, Interval

from compress.passes import REGISTRY, Context, Pass

if TYPE_CHECKING:
    from compress.targets import Target


@dataclass(frozen=True)
class ToyRound(Pass):
    """Round every weight.

    num_bits  of a weight,
              after rounding.
    """

    name = "toy.round"

    num_bits: Annotated[int, Interval(ge=2, le=8)]
    share: Annotated[float, Interval(ge=0, lt=1)] = 0.5
    mode: Literal["nearest", "up"] = "nearest"
    symmetric: bool = True
    group_size: Annotated[int, Ge(2)] | None = None
    targets: tuple[str, ...] = ("*",)

    def selectors(self) -> tuple[str, ...]:
        return self.targets

    def problems(self, target: Target) -> list[str]:
        if self.num_bits in target.weight_bits:
            return []
        return [f"num_bits is {self.num_bits}: target {target.name} takes {', '.join(map(str, target.weight_bits))}"]

    def apply(self, model: Any, context: Context) -> Any:
        return model


@dataclass(frozen=True)
class ToyFold(Pass):
    """Fold nothing."""

    name = "toy.fold"

    def apply(self, model: Any, context: Context) -> Any:
        return model


@pytest.fixture(autouse=True)
def toys() -> Iterator[None]:
    real = dict(REGISTRY)
    REGISTRY.clear()
    REGISTRY.update({"toy.round": ToyRound, "toy.fold": ToyFold})
    yield
    REGISTRY.clear()
    REGISTRY.update(real)
