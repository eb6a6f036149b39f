"""A pass that goes block by block and is killed goes on behind the last whole block, to the same bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from compress.errors import ModelError
from compress.models.activations import quantized_activations
from compress.models.learned import LearnedBlock
from compress.models.source import ModelSource
from compress.models.translators import load_translator
from compress.passes import Context, FoldBatchNorm, Pass, QuantizeStatic, QuantizeTernary, QuantizeWeights, Reconstruct
from compress.passes.rounding import RoundingPass
from compress.targets import load
from tests.nets import NETS, context
from tests.training.killing import Killed


def after(count: int, function: Callable[..., Any]) -> tuple[Callable[..., Any], list[int]]:
    """`function`, which raises Killed from the call number `count` on; and a list that grows with every call."""
    calls: list[int] = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) > count:
            raise Killed
        return function(*args, **kwargs)

    return counted, calls


def equal(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    same = ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    return same and quantized_activations(one) == quantized_activations(other)


def translator() -> tuple[nn.Module, Context]:
    loaded = load_translator(ModelSource("random:tiny-llama"))
    ids = torch.arange(4, 40)[None]
    return loaded.model, Context(lambda: iter([(ids,)]), load("generic"), translator=loaded)


@pytest.mark.parametrize(
    "step",
    [
        QuantizeWeights(num_bits=4, algorithm="gptq"),
        QuantizeWeights(num_bits=3, algorithm="gptq", targets=("*", "role:embedding"), midrise=True),
        QuantizeTernary(1.25),
    ],
)
def test_gptq_goes_on(step: RoundingPass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, where = translator()
    step.apply(model, where)
    resumed, _ = translator()
    place = replace(where, directory=tmp_path)
    kind = type(step)
    rounding = kind.gptq  # type: ignore[attr-defined]
    counted, calls = after(9, rounding)
    monkeypatch.setattr(kind, "gptq", counted)
    with pytest.raises(Killed):
        step.apply(resumed, place)
    whole = len(calls)
    resumed, _ = translator()
    counted, calls = after(1000, rounding)
    monkeypatch.setattr(kind, "gptq", counted)
    step.apply(resumed, place)
    assert equal(model, resumed)
    layers = len(step.layers(translator()[0]))
    assert len(calls) < layers <= whole + len(calls)  # not all of them again


def test_reconstruction_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Reconstruct(iterations=5)
    before: list[Pass] = [FoldBatchNorm(), QuantizeWeights(num_bits=4), QuantizeStatic()]

    def begun() -> nn.Module:
        model = NETS["convolutions"]()
        for each in before:
            model = each.apply(model, context())
        return model

    model, resumed, place = begun(), begun(), replace(context(), directory=tmp_path)
    step.apply(model, context())
    settle, _ = after(2, LearnedBlock.settle)
    with monkeypatch.context() as patch:
        patch.setattr(LearnedBlock, "settle", settle)
        with pytest.raises(Killed):
            step.apply(resumed, place)
    assert len(list((tmp_path / "blocks").iterdir())) == 2
    resumed = begun()
    step.apply(resumed, place)
    assert equal(model, resumed)


def test_blocks_of_another_model_are_refused(tmp_path: Path) -> None:
    step = QuantizeWeights(num_bits=4, algorithm="gptq")
    model, where = translator()
    step.apply(model, replace(where, directory=tmp_path))
    for file in (tmp_path / "blocks").glob("*.0.safetensors"):
        file.rename(file.with_name(file.name.replace(".0.", ".1.")))
    again, _ = translator()
    with pytest.raises(ModelError, match="is of another model: remove the run's directory"):
        step.apply(again, replace(where, directory=tmp_path))
