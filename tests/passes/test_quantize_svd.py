"""quantize.svd: what a branch takes, what is left, and that files say the same."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import nn

import compress
from compress.applying import apply, apply_one
from compress.errors import ModelError
from compress.exporter.build import build
from compress.exporter.size import file_bytes
from compress.exporter.text import export_translator
from compress.exporter.tidy import write
from compress.models.blocks import find_blocks
from compress.models.low_rank import Branched, halves, whole_layers
from compress.models.quantized import as_float, quantized_weights
from compress.models.source import ModelSource
from compress.models.translators import load_translator
from compress.numerics.low_rank import randomized_svd
from compress.passes import Factorize, Pass, QuantizeStatic, QuantizeSvd, QuantizeWeights
from compress.plan import layer_plans
from compress.runtime.session import open_session
from compress.sizing import file_bytes_of
from compress.targets import load
from tests.language import context as sentences
from tests.nets import context, conv_net, images, run, transformer

FOUR: Any = {"rank": 2, "group_size": 4}


@settings(deadline=None, max_examples=20)
@given(rank=some.integers(1, 5), seed=some.integers(0, 9))
def test_a_random_range_finds_nearly_the_best_of_its_rank(rank: int, seed: int) -> None:
    weight = torch.randn(24, 17, generator=torch.Generator().manual_seed(seed))
    down, up = randomized_svd(weight, rank, seed)
    assert down.shape == (rank, 17)
    assert up.shape == (24, rank)
    values = torch.linalg.svdvals(weight)
    best = values[rank:].square().sum().sqrt()
    assert float(torch.linalg.norm(weight - up @ down)) <= 1.01 * float(best)
    assert all(torch.equal(a, b) for a, b in zip((down, up), randomized_svd(weight, rank, seed), strict=True))


def test_the_branch_and_what_it_leaves_are_the_layer() -> None:
    model, where = transformer(), context()
    expected = run(model, images())
    apply_one(QuantizeSvd(**FOUR), model, where)
    with as_float(model):
        assert torch.allclose(run(model, images()), expected, atol=1e-5)
    layer = model.blocks[0].fc1
    assert isinstance(layer, Branched)
    assert layer.branch.sizes == (16, 8, 2)
    assert layer.residual.bias is not None
    assert layer.branch[0].weight.half().float().equal(layer.branch[0].weight)


def test_what_stands_in_the_place_of_a_layer_is_one_in_its_block() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)), nn.Linear(8, 4)).eval()
    x = torch.ones(2, 8)
    before = find_blocks(model, x)
    layers = list(whole_layers(model))
    apply_one(QuantizeSvd(rank=1, group_size=None), model, context(x))
    assert find_blocks(model, x) == before == ["0", "1"]
    assert list(whole_layers(model)) == layers


def test_layers_that_read_one_tensor_divide_it_by_one_scale() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.flatten(2).mean(1)[:, :4]
            return self.a(x) + self.b(x)

    torch.manual_seed(0)
    model, x = Two().eval(), images()
    with torch.no_grad():
        model.a.weight.copy_(torch.eye(4) * torch.tensor([1.0, 4.0, 1.0, 1.0]))
        model.b.weight.copy_(torch.eye(4))
    seen = x.flatten(2).mean(1)[:, :4].abs().amax(0)
    apply_one(QuantizeSvd(rank=1, group_size=None, alpha=0.5), model, context(x))
    scale = (seen / torch.tensor([1.0, 4.0, 1.0, 1.0])).sqrt()
    scale = scale / scale.log().mean().exp()
    for layer in (model.a, model.b):
        torch.testing.assert_close(layer.inverse_scale, 1 / scale)


@pytest.mark.parametrize("alpha", [None, 0.5])
def test_an_outlier_of_the_weight_costs_less_with_a_branch(alpha: float | None) -> None:
    model = transformer()
    with torch.no_grad():
        model.blocks[0].fc1.weight[3] *= 20
        model.blocks[0].fc1.weight[:, 2] *= 20
    expected = run(model, images())

    def error(step: Pass) -> float:
        return float((run(apply_one(step, copy.deepcopy(model), context()), images()) - expected).square().mean())

    only: Any = {"targets": ("blocks.0.fc1",)}
    plain = QuantizeWeights(4, strategy="group", group_size=4, algorithm="gptq", **only)
    assert error(QuantizeSvd(**FOUR, alpha=alpha, **only)) < 0.5 * error(plain)


@pytest.mark.parametrize(
    ("passes", "make"),
    [
        ((QuantizeSvd(**FOUR),), transformer),
        pytest.param(
            (QuantizeSvd(**FOUR, targets=("re:conv_pw",)), QuantizeWeights(8)), conv_net, marks=pytest.mark.slow
        ),
        pytest.param(
            (QuantizeSvd(**FOUR, group_scales="integer"), QuantizeStatic(targets=("re:residual$",))),
            transformer,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["float activations", "convolution", "int8 activations"],
)
def test_the_file_is_the_model_and_its_bytes_are_foretold(passes: tuple[Pass, ...], make: Any, tmp_path: Path) -> None:
    target, example = load("x86-vnni"), (images(1),)
    forecast = file_bytes_of(make(), passes, context(), lambda model: file_bytes(model, example, target))
    model = apply(make(), list(passes), lambda: [(images(),)], target=target)
    path = tmp_path / "model.onnx"
    write(build(model, example, target), path, target, compress.__version__)
    assert forecast == pytest.approx(path.stat().st_size, rel=0.005, abs=100)
    found, expected = open_session(path)(images().numpy()), run(model, images()).numpy()
    spread = float(expected.std())
    assert np.abs(found - expected).max() < (1e-4 if len(passes) == 1 else 0.05) * spread
    stored = onnx.load(path).graph.initializer
    in_half = {tuple(each.dims) for each in stored if each.data_type == onnx.TensorProto.FLOAT16}
    shapes = [tuple(model.get_parameter(name).shape) for name in halves(model)]
    assert bool(shapes) == (make is transformer)  # those of the convolution have codes
    assert all(shape in in_half or shape[::-1] in in_half for shape in shapes)


def test_a_translator_with_branches_is_what_torch_has(tmp_path: Path) -> None:
    loaded = load_translator(ModelSource("random:tiny-gemma3"))
    before = loaded.model
    step = QuantizeSvd(rank=4, group_size=32, targets=("re:_proj$",))
    planned = {layer.name: layer.stored_bytes for layer in layer_plans([step], before)}
    shape = before.model.layers[0].mlp.down_proj.weight.shape
    # 4-bit codes, a float16 scale for 32 of them, 16-bit factors of rank 4, a float32 for each input
    outputs, inputs = shape
    stored = outputs * inputs // 2 + outputs * inputs // 32 * 2 + 2 * 4 * (outputs + inputs) + 4 * inputs
    assert planned["model.layers.0.mlp.down_proj"] == stored
    model = apply_one(step, before, sentences(before))
    assert len(quantized_weights(model)) == 14
    export_translator(replace(loaded, model=model), tmp_path / "out", target="x86-vnni")  # compares the two


def test_a_model_that_has_branches_keeps_them_in_a_forecast() -> None:
    step, where = QuantizeSvd(rank=1), context()
    model = apply_one(step, transformer(), where)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    after = step.restructure(model, where).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_what_it_cannot_take_is_told() -> None:
    where = context()
    with pytest.raises(ModelError, match=r"a branch of rank 5 is all of head, of rank 5: give a smaller rank"):
        apply_one(QuantizeSvd(rank=5), transformer(), where)
    with pytest.raises(ModelError, match="conv_stem is no linear layer or 1×1 convolution"):
        apply_one(QuantizeSvd(rank=1, targets=("*",)), conv_net(), where)
    with pytest.raises(ModelError, match="the weight of head is quantized already: put it before that pass"):
        apply(transformer(), [QuantizeWeights(8), QuantizeSvd(rank=1, targets=("head",))], where.batches)
    branched = apply_one(QuantizeSvd(rank=1), transformer(), where)
    with pytest.raises(ModelError, match=r"blocks\.0\.qkv is of low rank already"):
        apply_one(Factorize(rank=1), branched, where)
    wrong = QuantizeSvd(group_size=None, group_scales="integer", num_bits=8)
    assert "group_scales 'integer' is for strategy 'group'" in wrong.problems(load("generic"))[0]
