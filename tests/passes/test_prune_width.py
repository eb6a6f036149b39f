"""prune.heads and prune.ffn: which heads and hidden numbers go, and what configs, caches and files say then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from compress.applying import apply_one, apply_resumably
from compress.errors import ModelError, PromiseBroken
from compress.exporter.gguf import write_gguf
from compress.exporter.text import write_graphs
from compress.exporter.text.parity import check_ids_parity
from compress.models.attention import split_attention
from compress.models.feedforward import feed_forwards
from compress.models.heads import attention_heads
from compress.models.source import ModelSource
from compress.models.structure import restructure, structure_of
from compress.models.translators import load_translator
from compress.models.translators.saved import save_translator
from compress.passes import Pass, PruneChannels, PruneFeedForward, PruneHeads, QuantizeWeights
from compress.passes.base import Context
from compress.passes.scoring_units import contributions
from compress.progress import Reporter
from compress.stages import Stage, StageStore
from compress.targets import load
from tests.exporter.text.tiny import DECODERS, VOCABULARY, decoder
from tests.language import MODELS, logits
from tests.language import context as language_context
from tests.nets import context, images, lively, run, transformer

ROWS = [list(np.random.default_rng(length).integers(3, VOCABULARY, length)) for length in (23, 15, 9)]


def timm_vit() -> nn.Module:
    kind = timm.models.vision_transformer.VisionTransformer
    return lively(kind(img_size=8, patch_size=4, embed_dim=12, depth=2, num_heads=3, num_classes=5, qkv_bias=True))


def torchvision_vit() -> nn.Module:
    shape: dict[str, Any] = {"image_size": 8, "patch_size": 4, "num_layers": 2, "num_heads": 3, "hidden_dim": 12}
    return lively(split_attention(VisionTransformer(**shape, mlp_dim=24, num_classes=5)))


VITS = {"timm": timm_vit, "torchvision": torchvision_vit}


def ids_context(model: nn.Module) -> Context:
    batches = [(torch.tensor([row]),) for row in ROWS]
    return Context(lambda: iter(batches), load("generic"))


class Mlp(nn.Module):
    """Images [N, 3, 1, 1] → two hidden numbers → logits [N, 2]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Sequential(nn.Linear(3, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False)))
        with torch.no_grad():
            self.layers[0][0].weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0]]))
            self.layers[0][2].weight.copy_(torch.tensor([[3.0, 1.0], [4.0, 0.0]]))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.flatten(1))


def test_a_number_matters_by_what_it_adds() -> None:
    x = torch.tensor([[1.0, 7.0, 0.0], [-5.0, 1.0, 0.0]]).reshape(2, 3, 1, 1)
    where = context(x)
    # inputs 1, 0 and 7, 1: √½·5 against √25·1
    (scores,) = contributions(Mlp(), {"layers.0.2": 1}, where).values()
    assert scores.tolist() == pytest.approx([0.5**0.5 * 5, 5.0])
    model = apply_one(PruneFeedForward(keep=1), Mlp(), where)
    assert model.layers[0][0].weight.tolist() == [[0, 1, 0]]
    assert model.layers[0][2].weight.tolist() == [[1], [0]]
    assert where.notes == ["the hidden width of 1 feed-forward parts: 2 → 1"]


def test_feed_forward_parts_are_found_by_what_lies_between_layers() -> None:
    def found(model: nn.Module, where: Context) -> list[tuple[list[str], str, int]]:
        parts = feed_forwards(model, where.example())
        return [([name.rpartition(".")[2] for name in p.inputs], p.output.rpartition(".")[2], p.width) for p in parts]

    for kind, names in (
        ("gemma", (["gate_proj", "up_proj"], "down_proj", 32)),
        ("llama", (["gate_proj", "up_proj"], "down_proj", 32)),
        ("marian", (["fc1"], "fc2", 32)),
        ("m2m100", (["fc1"], "fc2", 32)),
        ("t5", (["wi"], "wo", 32)),
    ):
        model = MODELS[kind]()
        parts = found(model, language_context(model))
        assert set(map(str, parts)) == {str(names)}
        assert len(parts) == (2 if kind in ("gemma", "llama") else 4)
    assert found(timm_vit(), context()) == [(["fc1"], "fc2", 48)] * 2
    assert found(torchvision_vit(), context()) == [(["0"], "3", 24)] * 2
    assert found(transformer(), context()) == [(["fc1"], "fc2", 16)] * 2


@pytest.mark.parametrize("kind", MODELS)
def test_every_translator_becomes_narrower_and_its_config_says_so(kind: str) -> None:
    model = MODELS[kind]()
    model = apply_one(PruneFeedForward(ratio=0.3, round_to=4), model, language_context(model))
    widths = {part.width for part in feed_forwards(model, language_context(model).example())}
    assert widths == {24}  # 32 less 9 is 23
    config = model.config
    said = {"t5": ["d_ff"]}.get(kind, ["encoder_ffn_dim", "decoder_ffn_dim"] if config.is_encoder_decoder else [])
    assert {getattr(config, key) for key in said or ["intermediate_size"]} == {24}
    fresh = restructure(MODELS[kind](), structure_of(model))
    fresh.load_state_dict(model.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(logits(fresh), logits(model), strict=True))


@pytest.mark.parametrize("name", DECODERS)
def test_the_exported_graph_has_the_heads_and_the_width_that_are_left(name: str, tmp_path: Path) -> None:
    model = decoder(name)
    keys, width = model.config.num_key_value_heads, attention_heads(model)[0].head_dim
    for step in (PruneHeads(ratio=0.5), PruneFeedForward(ratio=0.5, round_to=1)):
        model = apply_one(step, model, ids_context(model))
    config = model.config
    assert (config.num_attention_heads, config.head_dim, config.intermediate_size) == (2, width, 48)
    assert config.num_key_value_heads == max(1, keys // 2)
    assert model.model.layers[0].self_attn.o_proj.in_features == 2 * width
    write_graphs(model, tmp_path, "0")
    assert check_ids_parity(model, tmp_path, ROWS).max_difference < 1e-5


def test_shared_keys_go_with_all_their_queries_and_a_single_one_stays() -> None:
    model = decoder("llama")  # 4 heads, 2 of keys
    (first, *_) = attention_heads(model)
    assert (first.unit, first.num_units) == (2, 2)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[:, :32] *= 0.01  # what the first two heads write
    kept = model.model.layers[1].self_attn.q_proj.weight[32:].detach().clone()
    keys = model.model.layers[1].self_attn.k_proj.weight[16:].detach().clone()
    model = apply_one(PruneHeads(keep=2), model, ids_context(model))
    assert torch.equal(model.model.layers[1].self_attn.q_proj.weight, kept)
    assert torch.equal(model.model.layers[1].self_attn.k_proj.weight, keys)
    with pytest.raises(ModelError, match=r"self_attn: 4 heads go by 2: none would stay, or not as many as asked"):
        apply_one(PruneHeads(keep=3), decoder("llama"), ids_context(model))
    model = apply_one(PruneHeads(keep=3), decoder("gemma3"), ids_context(model))  # one head of keys
    assert (model.config.num_attention_heads, model.config.num_key_value_heads) == (3, 1)
    PruneHeads(ratio=0.75).ensures(apply_one(PruneHeads(ratio=0.75), decoder("llama"), ids_context(model)), context())


@pytest.mark.parametrize("kind", VITS)
def test_heads_that_write_nothing_go_and_change_nothing(kind: str) -> None:
    model = VITS[kind]()
    attentions = attention_heads(model)
    assert [(a.heads, a.key_heads, a.head_dim) for a in attentions] == [(3, 3, 4)] * 2
    with torch.no_grad():
        for attention, head in zip(attentions, (0, 2), strict=True):
            model.get_submodule(attention.output).weight[:, 4 * head : 4 * head + 4] = 0
    expected = run(model, images())
    model = apply_one(PruneHeads(ratio=0.34), model, context())
    torch.testing.assert_close(run(model, images()), expected, rtol=0, atol=1e-5)
    assert [a.heads for a in attention_heads(model)] == [2, 2]
    fresh = restructure(VITS[kind](), structure_of(model))
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(run(fresh, images()), run(model, images()))


@pytest.mark.parametrize("kind", VITS)
def test_ignored_layers_of_a_vit_keep_their_width(kind: str) -> None:
    model = VITS[kind]()
    ffn, attention = feed_forwards(model, context().example())[0], attention_heads(model)[1]
    steps = [PruneFeedForward(ratio=0.5, round_to=1, ignore=ffn.inputs), PruneHeads(keep=1, ignore=(attention.output,))]
    for step in steps:
        model = apply_one(step, model, context())
    parts = feed_forwards(model, context().example())
    assert parts[0].width == 2 * parts[1].width == ffn.width
    assert [a.heads for a in attention_heads(model)] == [1, 3]


@pytest.mark.parametrize("shape", ["tiny-gemma3", "tiny-llama", "tiny-qwen3", "tiny-qwen2"])
def test_files_hold_the_narrower_model(shape: str, tmp_path: Path) -> None:
    loaded = load_translator(ModelSource(f"random:{shape}"))
    where = Context(lambda: iter([(torch.arange(4, 60)[None],)]), load("generic"), translator=loaded)
    model = loaded.model
    for step in (PruneHeads(ratio=0.5), PruneFeedForward(ratio=0.25)):
        model = apply_one(step, model, where)
    loaded = replace(loaded, model=model)
    save_translator(loaded, tmp_path / "m")
    written = write_gguf(loaded, tmp_path / "m.gguf", type="F32")
    with torch.no_grad():
        expected = model(torch.arange(4, 60)[None]).logits
        for source in (f"path:{tmp_path / 'm'}", f"gguf:{written.path}"):
            again = load_translator(ModelSource(source)).model
            torch.testing.assert_close(again(torch.arange(4, 60)[None]).logits, expected, rtol=0, atol=1e-5)


def test_a_killed_run_goes_on_with_the_narrower_model(tmp_path: Path) -> None:
    passes: list[Pass] = [PruneHeads(ratio=0.5), PruneFeedForward(ratio=0.5, round_to=1), QuantizeWeights(8)]
    stages = [Stage(step.name, str(number) * 64) for number, step in enumerate(passes)]

    def sequence(count: int) -> nn.Module:
        model, store = MODELS["llama"](), StageStore(tmp_path)
        return apply_resumably(model, passes[:count], language_context(model), stages[:count], store, Reporter(), 1, 3)

    for count in (1, 2):
        sequence(count)
    resumed = sequence(3)
    expected = MODELS["llama"]()
    for step in passes:
        expected = apply_one(step, expected, language_context(expected))
    assert all(torch.equal(a, b) for a, b in zip(logits(resumed), logits(expected), strict=True))
    assert resumed.config.to_dict() == expected.config.to_dict()


def test_what_cannot_be_is_told() -> None:
    generic = load("generic")
    assert PruneHeads().problems(generic) == ["give either ratio (of the heads, that goes) or keep (heads that stay)"]
    assert PruneFeedForward().problems(generic) == [
        "give either ratio (of the hidden width, that goes) or keep (the width that stays)"
    ]
    assert PruneFeedForward(keep=3, round_to=2).problems(generic) == ["round_to has no effect on keep: take it out"]
    for step in (PruneHeads(keep=1, ignore=("*",)), PruneFeedForward(keep=1, ignore=("*",))):
        assert "take it out" in step.task_problems("translation", ())[0]
    for kind in ("t5", "marian", "m2m100"):
        model = MODELS[kind]()
        with pytest.raises(ModelError, match="the model has no attention whose heads can go"):
            apply_one(PruneHeads(ratio=0.5), model, language_context(model))
    with pytest.raises(ModelError, match=r"no head would go: blocks\.0\.attn has 3"):
        apply_one(PruneHeads(ratio=0.1), timm_vit(), context())
    with pytest.raises(ModelError, match=r"nothing would go: blocks\.0\.mlp\.fc2 reads 48 numbers"):
        apply_one(PruneFeedForward(ratio=0.1, round_to=48), timm_vit(), context())
    with pytest.raises(ModelError, match="the model has no feed-forward part that can become narrower"):
        apply_one(
            PruneFeedForward(ratio=0.5, round_to=1), nn.Sequential(nn.Flatten(), nn.Linear(192, 5)).eval(), context()
        )
    llama = MODELS["llama"]()
    with pytest.raises(ModelError, match=r"the model is a translator: take prune\.heads, prune\.ffn or prune\.layers"):
        PruneChannels(ratio=0.5).requires(llama, language_context(llama))


def test_what_is_as_wide_as_it_was_breaks_the_promise() -> None:
    with pytest.raises(PromiseBroken, match=r"^prune.heads: blocks\.0\.attn has 3 heads, at most 1 were to stay$"):
        PruneHeads(keep=1).ensures(timm_vit(), context())
    with pytest.raises(PromiseBroken, match=r"^prune.ffn: blocks\.0\.mlp\.fc2 reads 48 numbers, at most 24 were to"):
        PruneFeedForward(ratio=0.5, round_to=1).ensures(timm_vit(), context())
