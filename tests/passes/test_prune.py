"""The prune passes: exactly what was asked is zero, and stays so through all that a recipe may go on with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from compress.applying import apply, apply_one, keep_promises
from compress.errors import ModelError, PromiseBroken
from compress.exporter import export
from compress.exporter.text import export_translator
from compress.models.layers import raw_weight, weighted_layers
from compress.models.masks import mask_of, masked_layers, set_mask
from compress.models.quantized import as_float, set_weight
from compress.models.source import ModelSource
from compress.models.translators import load_translator
from compress.numerics.grid import nearest
from compress.numerics.sparsity import num_to_prune
from compress.passes import (
    REGISTRY,
    CorrectBias,
    Equalize,
    FoldBatchNorm,
    Pass,
    PruneMagnitude,
    PruneSparseGPT,
    PruneWanda,
    QuantizeStatic,
    QuantizeWeights,
    Reconstruct,
    Smooth,
)
from compress.passes.pruning import Prune
from compress.targets import load
from tests.language import MODELS, decoder
from tests.language import context as sentences
from tests.nets import NETS, context, conv_net, images, run, transformer

GENERIC = load("generic")
PRUNES = (PruneMagnitude, PruneWanda, PruneSparseGPT)
on_all_prunes = pytest.mark.parametrize("kind", PRUNES, ids=lambda kind: kind.name)
on_both_nets = pytest.mark.parametrize("net", NETS)
X = nn.functional.interpolate(images(24, 3), 8, mode="bilinear")  # smooth, as photographs are


def pruned(step: Prune, model: nn.Module) -> nn.Module:
    assert step.problems(GENERIC) == []
    return apply_one(step, model, context())


def pruned_of(layer: nn.Module) -> Tensor:
    """Where a layer is pruned, [out, K]."""
    mask = mask_of(layer)
    assert mask is not None
    return ~mask.reshape(len(mask), -1)


@on_all_prunes
@on_both_nets
@settings(max_examples=4, deadline=None)
@given(sparsity=st.floats(0.05, 0.95))
def test_each_layer_or_row_loses_exactly_what_was_asked(net: str, kind: Any, sparsity: float) -> None:
    for scope in ("layer", "row"):
        model = pruned(kind(sparsity=sparsity, scope=scope), NETS[net]())
        for layer in weighted_layers(model).values():
            gone = pruned_of(layer)
            if scope == "layer":
                assert int(gone.sum()) == num_to_prune(sparsity, gone.numel())
            else:
                assert gone.sum(1).tolist() == [num_to_prune(sparsity, gone.shape[1])] * len(gone)
            assert bool((layer.weight.reshape(gone.shape)[gone] == 0).all())


@on_both_nets
@settings(max_examples=6, deadline=None)
@given(sparsity=st.floats(0.05, 0.95))
def test_all_layers_together_lose_exactly_what_was_asked(net: str, sparsity: float) -> None:
    model = pruned(PruneMagnitude(sparsity=sparsity, scope="global"), NETS[net]())
    gone = torch.cat([pruned_of(layer).flatten() for layer in weighted_layers(model).values()])
    assert int(gone.sum()) == num_to_prune(sparsity, gone.numel())


@on_all_prunes
@pytest.mark.parametrize(("pattern", "kept", "size"), [("2:4", 2, 4), ("4:8", 4, 8), ("1:2", 1, 2), ("1:4", 1, 4)])
def test_a_pattern_holds_in_every_group_of_input_channels(kind: Any, pattern: str, kept: int, size: int) -> None:
    model = pruned(kind(pattern=pattern, ignore=("role:first",)), transformer())
    for name, layer in masked_layers(model).items():
        assert name != "embed"
        assert bool((mask_of(layer).reshape(-1, size).sum(1) == kept).all())
    net = conv_net()
    net.blocks[1].conv_pw = nn.Conv2d(6, 8, 3, padding=1)
    model = pruned(kind(pattern="1:2", targets=("blocks.0", "blocks.1.conv_pw")), net)
    for layer in masked_layers(model).values():  # of a kernel [out, in, 3, 3], pairs of inputs at one place
        assert bool((mask_of(layer).reshape(len(layer.weight), 3, 2, 9).sum(2) == 1).all())


def test_a_layer_that_cannot_be_cut_into_groups_is_named() -> None:
    with pytest.raises(ModelError) as caught:
        pruned(PruneMagnitude(pattern="2:4"), conv_net())
    assert str(caught.value) == (
        "prune.magnitude: conv_stem has 3 input channels for an output, no multiple of 4: put it under 'ignore'"
    )


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "give one of sparsity (a share, such as 0.5) and pattern (such as 2:4)"),
        ({"sparsity": 0.5, "pattern": "2:4"}, "give one of sparsity (a share, such as 0.5) and pattern (such as 2:4)"),
        ({"pattern": "4:2"}, "pattern is '4:2': write N:M with N below M, such as 2:4: N of M are kept"),
        (
            {"pattern": "2:4", "scope": "global"},
            "scope is 'global': a pattern holds in every group, so leave scope out",
        ),
        ({"sparsity": 0.5, "ignore": ("role:fist",)}, "unknown role 'fist': did you mean 'first'?"),
    ],
)
def test_what_makes_no_sense_is_told_before_there_is_a_model(options: dict[str, Any], problem: str) -> None:
    assert PruneMagnitude(**options).problems(GENERIC) == [problem]


def test_a_quantized_layer_is_refused() -> None:
    model = conv_net()
    set_weight(model.head, nearest(model.head.weight, 8))
    with pytest.raises(ModelError, match="the weight of head is quantized already: put it before the quantize passes"):
        pruned(PruneMagnitude(sparsity=0.5), model)


def test_a_weight_that_is_not_finite_is_refused() -> None:
    model = conv_net()
    model.head.weight.data[0, 0] = torch.inf
    with pytest.raises(ModelError, match=r"^prune.wanda: the weight of head is not finite$"):
        pruned(PruneWanda(sparsity=0.5), model)


def test_the_promise_is_told_with_both_figures() -> None:
    where, model = context(), conv_net()
    step = PruneMagnitude(sparsity=0.5, scope="global")
    with pytest.raises(PromiseBroken) as caught:
        step.ensures(model, where)
    assert str(caught.value) == "prune.magnitude: 0.0 % of weights are zero, 50.0 % were asked for"
    model = pruned(step, model)
    with torch.no_grad():  # one weight too many
        layer = model.head
        mask = mask_of(layer).clone()
        mask[tuple(torch.nonzero(~mask)[0])] = True
        set_mask(layer, mask)
        raw_weight(layer).copy_(torch.where(mask, raw_weight(layer) + 1, 0.0))
    with pytest.raises(PromiseBroken, match=r"^prune.magnitude: 49.8 % of weights are zero, 50.0 % were asked for$"):
        step.ensures(model, where)


def test_the_log_says_how_many_are_zero() -> None:
    where, model = context(), conv_net()
    apply_one(PruneMagnitude(sparsity=0.5, targets=("head",)), model, where)
    assert where.notes == ["20 of 40 weights in 1 layers are zero (50.0 %); of the model's 952, 20 are pruned (2.1 %)"]


def test_wanda_keeps_the_small_weight_of_a_large_input() -> None:
    inputs = torch.tensor([[0.1, 5.0], [-0.1, 4.0]])
    for step, kept in ((PruneMagnitude(sparsity=0.5), [[True, False]]), (PruneWanda(sparsity=0.5), [[False, True]])):
        layer = nn.Linear(2, 1, bias=False)
        layer.weight = nn.Parameter(torch.tensor([[3.0, 1.0]]))
        apply(nn.Sequential(layer), [step], lambda: iter([(inputs,)]))
        assert mask_of(layer).tolist() == kept


@on_both_nets
def test_sparsegpt_loses_less_than_wanda_and_magnitude(net: str) -> None:
    errors = {}
    for kind in PRUNES:
        model = FoldBatchNorm().apply(NETS[net](), context(X))
        expected = run(model, X)
        kind(sparsity=0.3, scope="layer").apply(model, context(X))
        errors[kind.name] = float((run(model, X) - expected).square().mean())
    assert errors["prune.sparsegpt"] < min(errors["prune.magnitude"], errors["prune.wanda"])


def test_a_second_pass_prunes_more_and_keeps_what_was_pruned() -> None:
    for kind in PRUNES:
        model = pruned(PruneMagnitude(pattern="4:8", targets=("blocks.0",)), transformer())
        before = {name: mask_of(layer).clone() for name, layer in masked_layers(model).items()}
        model = pruned(kind(sparsity=0.75, targets=("blocks.0",), scope="layer"), model)
        for name, layer in masked_layers(model).items():
            assert not bool((mask_of(layer) & ~before[name]).any())
            assert int(pruned_of(layer).sum()) == num_to_prune(0.75, layer.weight.numel())


THEN: dict[str, tuple[Pass, ...]] = {
    "rtn": (QuantizeWeights(num_bits=8),),
    "affine": (QuantizeWeights(num_bits=3, symmetric=False),),
    "gptq": (QuantizeWeights(num_bits=3, algorithm="gptq"),),
    "gptq in groups": (QuantizeWeights(num_bits=3, algorithm="gptq", strategy="group", group_size=4, symmetric=False),),
    "adaround": (QuantizeWeights(num_bits=3, algorithm="adaround", iterations=60),),
    "awq": (QuantizeWeights(num_bits=4, algorithm="awq"),),
    "hqq": (QuantizeWeights(num_bits=3, algorithm="hqq", symmetric=False),),
    "static": (QuantizeStatic(), CorrectBias()),
    "reconstruct": (QuantizeWeights(num_bits=3), QuantizeStatic(), Reconstruct(iterations=20, rounding_rate=0.3)),
    "smooth": (Smooth(), Equalize(), QuantizeWeights(num_bits=4)),
}


@on_both_nets
@pytest.mark.parametrize("then", THEN)
def test_quantization_keeps_every_zero_and_knows_the_pruned_float_model(net: str, then: str) -> None:
    step = PruneSparseGPT(sparsity=0.5)
    model = FoldBatchNorm().apply(NETS[net](), context())
    model = pruned(step, model)
    masks = {name: mask_of(layer).clone() for name, layer in masked_layers(model).items()}
    expected = run(model, images())
    for later in THEN[then]:
        model = apply_one(later, model, context())
    for name, layer in weighted_layers(model).items():
        assert torch.equal(mask_of(layer), masks[name])
        assert bool((layer.weight[~masks[name]] == 0).all())
    keep_promises([step, *THEN[then]], model, context())
    with as_float(model):
        assert torch.allclose(run(model, images()), expected, atol=1e-4)


def test_a_batch_normalisation_folds_into_a_pruned_layer() -> None:
    model = pruned(PruneMagnitude(sparsity=0.5), conv_net())
    expected = run(model, images())
    model = apply_one(FoldBatchNorm(), model, context())
    assert isinstance(model.bn, nn.Identity)
    assert torch.allclose(run(model, images()), expected, atol=1e-5)
    keep_promises([PruneMagnitude(sparsity=0.5)], model, context())


@pytest.mark.parametrize("kind", MODELS)
def test_language_models_are_pruned_block_by_block(kind: str) -> None:
    for step in (PruneWanda(pattern="2:4"), PruneSparseGPT(sparsity=0.5)):
        model = MODELS[kind]()
        model = apply_one(step, model, sentences(model))
        embedding = model.get_input_embeddings()
        assert mask_of(embedding) is None
        tied = raw_weight(embedding)
        assert all(
            mask_of(layer) is not None for layer in weighted_layers(model).values() if raw_weight(layer) is not tied
        )


def test_a_tied_embedding_is_pruned_once_by_a_selector_that_means_it() -> None:
    model = decoder("gemma")
    step = PruneMagnitude(sparsity=0.5, targets=("role:embedding",))
    model = apply_one(step, model, sentences(model))
    table = model.get_input_embeddings()
    assert int(pruned_of(table).sum()) == num_to_prune(0.5, table.weight.numel())
    assert mask_of(model.lm_head) is mask_of(table)


def test_layers_that_read_one_tensor_by_other_kernels_have_moments_of_their_own() -> None:
    class Shortcut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.shortcut = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) + self.shortcut(x)

    for step in (PruneWanda(sparsity=0.5), PruneSparseGPT(sparsity=0.5), QuantizeWeights(num_bits=4, algorithm="gptq")):
        model = apply_one(step, nn.Sequential(Shortcut()), context())
        step.ensures(model, context())


@pytest.mark.parametrize("then", ["float", "static"])
def test_the_artefact_computes_what_the_pruned_model_does_and_holds_its_zeros(then: str, tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    steps = [FoldBatchNorm(), PruneMagnitude(sparsity=0.5), *THEN.get(then, ())]
    model = apply(conv_net(), steps, lambda: iter([(images(),)]))
    if then == "float":  # an optimizer has been at the originals
        for layer in weighted_layers(model).values():
            raw_weight(layer).data.add_(0.1)
    artefact = export(model, images(1), tmp_path / "a", target="generic", verify_inputs=[images()])  # checks parity
    sparsity = artefact.manifest["quantization"]["sparsity"]
    assert sparsity["share"] == pytest.approx(0.5, abs=2e-3)
    assert sparsity["gzip_bytes"] < sparsity["model_bytes"] == artefact.model_bytes
    assert "the weights are zero" in (tmp_path / "a" / "README.md").read_text()
    if then == "float":
        graph = onnx.load(tmp_path / "a" / "model.onnx").graph
        stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        assert all((stored[f"{name}.weight"] == 0).mean() >= 0.48 for name in ("blocks.0.conv1", "blocks.1.conv_pw"))


def test_a_pruned_and_quantized_translator_is_written_as_it_computes(tmp_path: Path) -> None:
    loaded = load_translator(ModelSource("random:tiny-gemma3"))
    steps = [PruneWanda(sparsity=0.5), QuantizeWeights(num_bits=8, targets=("*", "role:embedding"))]
    ids = torch.randint(2, 200, (2, 9), generator=torch.Generator().manual_seed(0))
    model = apply(loaded.model, steps, lambda: iter([(ids, torch.ones_like(ids))]), translator=loaded)
    artefact = export_translator(replace(loaded, model=model), tmp_path / "a", target="generic")  # checks parity
    pruned = sum(int(pruned_of(layer).sum()) for layer in masked_layers(model).values())
    tables = model.model.embed_tokens.weight.numel()  # also the head
    count = tables + sum(layer.weight.numel() for layer in masked_layers(model).values())
    assert artefact.manifest["quantization"]["sparsity"]["share"] == round(pruned / count, 4)


def test_the_three_are_what_the_family_has() -> None:
    assert {name for name, kind in REGISTRY.items() if issubclass(kind, Prune)} == {kind.name for kind in PRUNES}
