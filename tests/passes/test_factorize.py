"""factorize: two thin layers where that is smaller, and all that a recipe may go on with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from compress.applying import apply, apply_one, keep_promises
from compress.errors import ModelError, PromiseBroken
from compress.exporter import export
from compress.exporter.gguf import write_gguf
from compress.exporter.text import export_translator
from compress.models.blocks import find_blocks
from compress.models.low_rank import LowRank
from compress.models.quantized import quantized_weights
from compress.models.snapshot import load_snapshot, save_snapshot
from compress.models.source import ModelSource
from compress.models.translators import load_translator
from compress.models.vocabulary import keep_tokens
from compress.passes import (
    Factorize,
    FoldBatchNorm,
    Pass,
    PruneMagnitude,
    QuantizeDynamic,
    QuantizeStatic,
    QuantizeWeights,
    Reconstruct,
)
from compress.targets import load
from tests.language import MODELS, decoder, logits
from tests.language import context as sentences
from tests.nets import context, conv_net, images, run, transformer

GENERIC = load("generic")


def factorized(model: nn.Module, **options: Any) -> nn.Module:
    step = Factorize(**options)
    assert step.problems(GENERIC) == []
    return apply_one(step, model, context())


def ranks(model: nn.Module) -> dict[str, int]:
    return {name: module.sizes[2] for name, module in model.named_modules() if isinstance(module, LowRank)}


def test_a_layer_becomes_two_only_where_that_is_smaller() -> None:
    where, model = context(), transformer()
    before = sum(parameter.numel() for parameter in model.parameters())
    model = apply_one(Factorize(rank=4), model, where)
    # 8 → 24: 4·32 of 192; 8 → 8: 4·16 of 64 saves nothing; 8 → 16: 4·24 of 128; 8 → 5: 4·13 of 40
    assert ranks(model) == {f"blocks.{n}.{layer}": 4 for n in (0, 1) for layer in ("qkv", "fc1", "fc2")}
    assert sum(parameter.numel() for parameter in model.parameters()) == before - 2 * (64 + 32 + 32)
    assert model.blocks[0].qkv[0].bias is None
    assert model.blocks[0].qkv[1].bias is None
    assert model.blocks[0].fc1[1].bias is not None
    assert where.notes == ["6 of 9 layers are of low rank: 808 of 1,064 weights are left"]


def test_a_full_share_of_the_energy_is_the_layer_and_less_is_near_to_it() -> None:
    model = transformer()
    with torch.no_grad():  # a matrix that is of low rank
        layer = model.blocks[0].fc1
        layer.weight.copy_(torch.randn(16, 2) @ torch.randn(2, 8))
    expected = run(model, images())
    model = factorized(model, energy=0.9999, targets=("blocks.0.fc1",))
    assert ranks(model) == {"blocks.0.fc1": 2}
    assert torch.allclose(run(model, images()), expected, atol=1e-4)


def test_a_pointwise_convolution_is_a_matrix_too() -> None:
    model = conv_net()
    model.blocks[1].conv_pw = nn.Conv2d(6, 8, 1, stride=2, padding=1)
    x = images()
    full = run(model, x)
    model = factorized(model, ratio=0.9, targets=("role:pointwise",))
    assert ranks(model) == {"blocks.1.conv_pw": 3}
    assert run(model, x).shape == full.shape
    assert isinstance(apply_one(FoldBatchNorm(), model, context()).blocks[1].bn2, nn.Identity)


def test_what_is_no_matrix_is_refused_by_name() -> None:
    for model, options, message in [
        (conv_net(), {"targets": ("*",)}, "conv_stem is no linear layer or 1×1 convolution of one group: put it under"),
        (decoder(), {"targets": ("role:embedding",)}, "model.embed_tokens is no linear layer or 1×1 convolution"),
        (quantized(), {}, "the weight of head is quantized already: put it before that pass"),
        (apply_one(PruneMagnitude(0.5), conv_net(), context()), {}, "the weight of head is pruned already: put it"),
        (factorized(transformer(), rank=2), {"rank": 2}, "blocks.0.qkv is of low rank already: put it under 'ignore'"),
    ]:
        with pytest.raises(ModelError) as caught:
            Factorize(**({"rank": 2} | options)).requires(model, context())  # type: ignore[arg-type]
        assert str(caught.value).startswith(f"factorize: {message}")


def quantized() -> nn.Module:
    return apply_one(QuantizeWeights(8, targets=("head",)), conv_net(), context())


@pytest.mark.parametrize("options", [{}, {"rank": 2, "ratio": 0.5}])
def test_one_of_three_says_how_much(options: dict[str, Any]) -> None:
    assert Factorize(**options).problems(GENERIC) == [
        "give one of rank (such as 64), ratio (a share, such as 0.5) and energy (such as 0.99)"
    ]


def test_the_promise_names_the_layer_that_is_whole_or_of_a_higher_rank() -> None:
    step, model = Factorize(rank=2), transformer()
    with pytest.raises(PromiseBroken, match=r"^factorize: blocks.0.qkv is whole, rank 2 was asked for$"):
        step.ensures(model, context())
    model = factorized(model, rank=3)
    with pytest.raises(PromiseBroken, match=r"^factorize: blocks.0.qkv is of rank 3, 2 was asked for$"):
        step.ensures(model, context())


def test_a_block_stays_a_block() -> None:
    before = find_blocks(transformer(), images())
    assert find_blocks(factorized(transformer(), rank=2), images()) == before


THEN: dict[str, tuple[Pass, ...]] = {
    "gptq": (QuantizeWeights(num_bits=6, algorithm="gptq"),),
    "awq": (QuantizeWeights(num_bits=6, algorithm="awq"),),
    "static": (QuantizeStatic(),),
    "dynamic": (QuantizeDynamic(),),
    "reconstruct": (QuantizeWeights(num_bits=4), QuantizeStatic(), Reconstruct(iterations=5)),
    "pruned": (PruneMagnitude(0.2, targets=("blocks.0.qkv",)), QuantizeWeights(num_bits=8)),
}


@pytest.mark.parametrize("then", THEN)
def test_the_factors_are_layers_as_any_other_and_a_resumed_run_finds_their_ranks(then: str, tmp_path: Path) -> None:
    steps = [Factorize(energy=0.9), *THEN[then]]
    model = transformer()
    for step in steps:
        model = apply_one(step, model, context())
    keep_promises(steps, model, context())
    assert len(set(ranks(model).values())) > 1
    assert "blocks.0.qkv.0.weight" in quantized_weights(model)
    save_snapshot(model, tmp_path)
    resumed = transformer(1)
    for step in steps:
        resumed = step.restructure(resumed, context())
    load_snapshot(resumed, tmp_path)
    assert ranks(resumed) == ranks(model)
    assert torch.equal(run(resumed, images()), run(model, images()))


def test_an_artefact_of_an_image_classifier_computes_the_same(tmp_path: Path) -> None:
    model = apply(transformer(), [Factorize(rank=3), QuantizeStatic()], lambda: iter([(images(),)]))
    export(model, images(1), tmp_path / "a", target="generic", verify_inputs=[images()])  # checks parity


@pytest.mark.parametrize("kind", MODELS)
def test_language_models_run_with_factors(kind: str) -> None:
    model = MODELS[kind]()
    model = apply_one(Factorize(ratio=0.6), model, sentences(model))
    assert ranks(model)
    assert all(bool(torch.isfinite(value).all()) for value in logits(model))


@pytest.mark.parametrize("shape", ["tiny-gemma3", "tiny-marian", "tiny-t5"])
def test_a_translator_with_factors_is_written_as_it_computes(shape: str, tmp_path: Path) -> None:
    loaded = load_translator(ModelSource(f"random:{shape}"))
    ids = torch.randint(2, 200, (2, 9), generator=torch.Generator().manual_seed(0))
    batch = (ids, torch.ones_like(ids), ids) if loaded.model.config.is_encoder_decoder else (ids, torch.ones_like(ids))
    key = "re:SelfAttention.k$" if shape == "tiny-t5" else "re:k_proj$"
    step = Factorize(ratio=0.5, ignore=(key,))  # q and v are of low rank, beside a k that is whole
    then = [QuantizeWeights(8, targets=("*", "role:embedding"))] if shape == "tiny-gemma3" else []
    model = apply(loaded.model, [step, *then], lambda: iter([batch]), translator=loaded)
    assert ranks(model)
    export_translator(replace(loaded, model=model), tmp_path / "a", target="generic")  # checks parity


def test_what_cannot_follow_is_told(tmp_path: Path) -> None:
    model = decoder(tie_word_embeddings=False)
    model = apply_one(Factorize(rank=4), model, sentences(model))
    assert "lm_head" in ranks(model)
    with pytest.raises(ModelError, match=r"^the head is of low rank: drop tokens before factorizing$"):
        keep_tokens(model, torch.arange(10))
    loaded = load_translator(ModelSource("random:tiny-llama"))
    model = apply_one(Factorize(ratio=0.5), loaded.model, sentences(loaded.model))
    with pytest.raises(ModelError, match=r"has no place for the tensor 'model.layers.0.self_attn.q_proj.0.weight'"):
        write_gguf(replace(loaded, model=model), tmp_path / "a.gguf", type="F32")
