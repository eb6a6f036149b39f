"""Passes in order: checked, applied, promised, and promised again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compress import applying
from compress.applying import apply, apply_resumably
from compress.errors import ModelError, PromiseBroken
from compress.passes.base import Context, Pass
from compress.progress import Reporter
from compress.stages import Stage, StageStore
from compress.targets import load


@dataclass(frozen=True)
class Add(Pass):
    """Add a number to the weight; promise that the weight stays at least that large."""

    amount: float

    def requires(self, model: nn.Module, context: Context) -> None:
        if not isinstance(model, nn.Linear):
            raise ModelError("only linear layers")

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        with torch.no_grad():
            model.weight += self.amount  # type: ignore[operator]
        return model

    def ensures(self, model: nn.Module, context: Context) -> None:
        if float(model.weight.detach().min()) < self.amount:  # type: ignore[operator,union-attr]
            raise PromiseBroken(f"a weight is below {self.amount:g}")


@dataclass(frozen=True)
class Noise(Pass):
    """Add random numbers."""

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        with torch.no_grad():
            model.weight += torch.rand_like(model.weight)  # type: ignore[arg-type,operator]
        return model


Add.name, Noise.name = "test.add", "test.noise"


def linear() -> nn.Linear:
    layer = nn.Linear(2, 2)
    nn.init.zeros_(layer.weight)
    return layer


def batches() -> Iterator[tuple[Tensor, ...]]:
    yield (torch.zeros(1, 2),)


def test_passes_are_applied_in_order() -> None:
    layer = apply(linear(), [Add(1), Add(0.5)], batches)
    assert layer.weight.tolist() == [[1.5, 1.5], [1.5, 1.5]]


def test_a_promise_that_a_later_pass_breaks_is_told_at_the_end() -> None:
    with pytest.raises(
        PromiseBroken, match=r"^after the last pass: a weight is below 2\nafter the last pass: a weight"
    ):
        apply(linear(), [Add(2), Add(1.5), BreakQuietly()], batches)


@dataclass(frozen=True)
class BreakQuietly(Pass):
    """Set the weight to zero, and promise nothing."""

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        nn.init.zeros_(model.weight)  # type: ignore[arg-type]
        return model


def test_a_promise_that_is_broken_at_once_stops_the_recipe() -> None:
    with pytest.raises(PromiseBroken, match=r"^a weight is below -1$"):
        apply(linear(), [Add(-1), Add(-1)], batches)


def test_a_model_that_a_pass_cannot_take_is_refused_before_it_is_changed() -> None:
    model = nn.Sequential(linear())
    with pytest.raises(ModelError, match="only linear layers"):
        apply(model, [Add(1)], batches)
    assert not model[0].weight.any()


def test_randomness_comes_from_the_seed_alone_and_the_caller_s_is_left() -> None:
    torch.manual_seed(7)
    first = apply(linear(), [Noise()], batches, seed=3).weight
    after = torch.rand(1)
    second = apply(linear(), [Add(0), Noise()], batches, seed=3).weight
    other = apply(linear(), [Noise()], batches, seed=4).weight
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    torch.manual_seed(7)
    linear()  # its own random weights, as above
    assert torch.equal(after, torch.rand(1))
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_stopped_sequence_goes_on_after_its_last_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = [Noise(), Add(1), Noise()]
    stages = [Stage(step.name, str(number) * 64) for number, step in enumerate(passes)]
    store, context = StageStore(tmp_path), Context(batches, load("generic"), seed=5)

    def sequence(model: nn.Module) -> nn.Module:
        return apply_resumably(model, passes, context, stages, store, Reporter(), 1, 3)

    whole = apply(linear(), passes, batches, seed=5)
    applied: list[str] = []
    apply_one = applying.apply_one

    def stopping(step: Pass, model: nn.Module, context: Context) -> nn.Module:
        if len(applied) == 2:
            applied.append("stopped")
            raise KeyboardInterrupt
        applied.append(step.name)
        return apply_one(step, model, context)

    monkeypatch.setattr(applying, "apply_one", stopping)
    with pytest.raises(KeyboardInterrupt):
        sequence(linear())
    resumed = sequence(linear())
    assert applied == ["test.noise", "test.add", "stopped", "test.noise"]
    assert torch.equal(resumed.weight, whole.weight)  # type: ignore[arg-type]
