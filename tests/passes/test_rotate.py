"""rotate: the function stays, the weights turn; what cannot be rotated is left out and told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

import compress.models.paging as paging
from compress.applying import apply_one, apply_resumably
from compress.errors import ModelError
from compress.exporter.gguf import write_gguf
from compress.exporter.text import write_graphs
from compress.exporter.text.parity import check_ids_parity
from compress.models.attention import split_attention
from compress.models.paging import is_paged, page
from compress.models.source import ModelSource
from compress.models.translators import load_translator
from compress.models.translators.saved import save_translator
from compress.models.untying import head_is_tied
from compress.passes import Pass, PruneMagnitude, QuantizeWeights, Rotate
from compress.passes.base import Context
from compress.progress import Reporter
from compress.stages import Stage, StageStore
from compress.targets import load
from tests.exporter.text.tiny import DECODERS, ENCODER_DECODERS, VOCABULARY, decoder, encoder_decoder
from tests.nets import context as images_context
from tests.nets import run, transformer

NAMES = (*DECODERS, *ENCODER_DECODERS)
ROWS = [[3 + (5 * number + number**2) % (VOCABULARY - 40) for number in range(length)] for length in (23, 15)]
VALUES = Rotate(where=("values",))


def tiny(name: str, **changes: Any) -> Any:
    """Weights, norms and biases drawn at random."""
    return decoder(name, **changes) if name in DECODERS else encoder_decoder(name)


def inputs(model: Any) -> tuple[Tensor, ...]:
    ids = torch.tensor(ROWS[:1])
    return (ids, torch.ones_like(ids), ids + 1) if model.config.is_encoder_decoder else (ids,)


def context(model: Any, seed: int = 0) -> Context:
    return Context(lambda: iter([inputs(model)]), load("generic"), seed)


@torch.no_grad()
def logits(model: Any) -> Tensor:
    found: Tensor = model(*inputs(model), use_cache=False).logits
    return found


def rotated(model: Any, step: Rotate, seed: int = 0) -> tuple[Any, list[str]]:
    assert step.problems(load("generic")) == []
    where = context(model, seed)
    return apply_one(step, model, where), where.notes


def assert_same(given: Tensor, expected: Tensor) -> None:
    """To float32's rounding."""
    torch.testing.assert_close(given, expected, rtol=0, atol=3e-5 * float(expected.abs().max()))


def reason(name: str) -> str | None:
    """Why the stream of an architecture is not rotated without more ado."""
    if name.startswith("gemma3"):
        return "model.layers.0.post_attention_layernorm adds to it"
    if name.startswith(("marian", "m2m100")):
        return "model.encoder.embed_positions adds to it"
    if name.startswith(("t5", "hunyuan", "llama-tied")):
        return "the head is tied to the embedding"
    return None


@pytest.mark.parametrize("name", NAMES)
def test_every_architecture_computes_the_same(name: str) -> None:
    model = tiny(name)
    expected, before = logits(model), {key: value.clone() for key, value in model.state_dict().items()}
    model, notes = rotated(model, Rotate())
    assert_same(logits(model), expected)
    after = model.state_dict()
    assert after.keys() == before.keys()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    sides = {key for key in before if key.split(".")[-2:][0] in ("v_proj", "v", "o_proj", "out_proj", "o")}
    if reason(name) is None:
        left = {key for key in before if "q_norm" in key or "k_norm" in key}  # over heads, not over the stream
        assert changed == before.keys() - left - {key for key in before if key.endswith(("q_proj.bias", "k_proj.bias"))}
        assert all(bool((after[key] == 1).all()) for key in after if "layernorm" in key or key == "model.norm.weight")
        assert [note.split(":")[0] for note in notes] == ["residual", "values"]
    else:
        assert changed == {key for key in sides if not key.endswith(("o_proj.bias", "out_proj.bias"))}
        (told,) = [note for note in notes if note.startswith("residual: left out: ")]
        assert reason(name) in told


@pytest.mark.parametrize("name", ["llama-tied-biased", "hunyuan", "t5", "t5-gated"])
def test_a_tied_head_gets_a_weight_of_its_own_where_that_is_asked_for(name: str, tmp_path: Path) -> None:
    model = tiny(name)
    assert head_is_tied(model)
    expected = logits(model)
    model, notes = rotated(model, Rotate(untie=True))
    assert_same(logits(model), expected)
    assert not head_is_tied(model)
    assert notes[0] == f"residual: the head has a weight of its own now: {VOCABULARY * 64 * 4:,} bytes more in float"
    write_graphs(model, tmp_path, "0")
    assert check_ids_parity(model, tmp_path, ROWS).max_difference < 1e-5
    model, _ = rotated(model, Rotate(), seed=1)  # and is rotated as any other
    assert_same(logits(model), expected)


def test_a_tied_head_behind_a_norm_of_equal_weights_stays_tied() -> None:
    model = tiny("llama-tied-biased")
    model.model.norm.weight.data.fill_(0.7)
    expected, table = logits(model), model.lm_head.weight.detach().clone()
    model, notes = rotated(model, Rotate(where=("residual",)))
    assert_same(logits(model), expected)
    assert head_is_tied(model)
    assert not torch.allclose(model.lm_head.weight, table)
    assert bool((model.model.norm.weight == 0.7).all())
    assert notes == ["residual: 22 layers and the embedding, by a Hadamard matrix of order 64"]


@pytest.mark.parametrize(
    ("width", "told"),
    [(48, "a Hadamard matrix of order 12 · 4"), (52, "a random orthogonal matrix of order 52, by QR")],
)
def test_widths_that_are_no_power_of_two_are_rotated_too(width: int, told: str) -> None:
    model = tiny("llama", hidden_size=width, head_dim=12, num_attention_heads=4)
    expected = logits(model)
    model, notes = rotated(model, Rotate())
    assert_same(logits(model), expected)
    assert notes == [
        f"residual: 22 layers and the embedding, by {told}",
        "values: 6 heads of 3 attentions, by a Hadamard matrix of order 12",
    ]


def test_attention_that_was_split_for_images_is_rotated_as_well() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.TransformerEncoderLayer(12, 3, 24, batch_first=True)).eval()
    model = split_attention(model)
    x = torch.randn(2, 5, 12)
    expected, before = run(model, x), model[0].self_attn.v_proj.weight.detach().clone()
    where = Context(lambda: iter([(x,)]), load("generic"))
    model = apply_one(VALUES, model, where)
    torch.testing.assert_close(run(model, x), expected, rtol=0, atol=1e-5)
    assert not torch.allclose(model[0].self_attn.v_proj.weight, before, atol=0.01)
    assert where.notes == ["values: 3 heads of 1 attentions, by a Hadamard matrix of order 4"]


def test_the_seed_decides_the_signs_and_nothing_else_does() -> None:
    first, again, other = (rotated(tiny("llama"), Rotate(), seed)[0].state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    name = "model.layers.1.self_attn.v_proj.weight"
    assert not torch.allclose(first[name], other[name], atol=0.01)


def test_the_exported_graph_is_the_same_and_gives_the_same(tmp_path: Path) -> None:
    plain = tiny("llama")
    turned, _ = rotated(tiny("llama"), Rotate())
    kinds = []
    for name, model in (("plain", plain), ("turned", turned)):
        (tmp_path / name).mkdir()
        write_graphs(model, tmp_path / name, "0")
        graph = onnx.load(next((tmp_path / name).glob("*.onnx")), load_external_data=False).graph
        kinds.append([node.op_type for node in graph.node])
    assert kinds[0] == kinds[1]
    difference = check_ids_parity(plain, tmp_path / "turned", ROWS).max_difference
    assert difference < 1e-5
    assert not torch.allclose(plain.lm_head.weight, turned.lm_head.weight, atol=0.01)


def peak(weight: Tensor) -> float:
    """The largest magnitude over the root mean square."""
    return float(weight.detach().abs().max() / weight.detach().square().mean().sqrt())


def test_outliers_are_spread_over_their_rows_and_heads() -> None:
    model = tiny("llama")
    layer = model.model.layers[1]
    with torch.no_grad():
        layer.mlp.gate_proj.weight[:, 5] *= 30  # one number of the stream
        layer.self_attn.v_proj.weight[7] *= 30  # one of the first head's
        layer.self_attn.o_proj.weight[:, 7] *= 30
    watched = (layer.mlp.gate_proj, layer.self_attn.v_proj, layer.self_attn.o_proj)
    before = [peak(each.weight) for each in watched]
    rotated(model, Rotate())
    for old, each in zip(before, watched, strict=True):
        assert peak(each.weight) < old / 2


def test_files_and_their_readers_have_the_untied_model(tmp_path: Path) -> None:
    for shape in ("tiny-llama", "tiny-t5"):
        loaded = load_translator(ModelSource(f"random:{shape}"))
        model = loaded.model
        with torch.no_grad():
            for name, value in model.named_parameters():
                if "norm" in name:
                    value.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(len(name)))
        expected = logits(model)
        model, _ = rotated(model, Rotate(untie=shape == "tiny-llama"))
        assert_same(logits(model), expected)
        loaded = replace(loaded, model=model)
        save_translator(loaded, tmp_path / shape)
        sources = [f"path:{tmp_path / shape}"]
        if shape == "tiny-llama":
            sources.append(f"gguf:{write_gguf(loaded, tmp_path / 'm.gguf', type='F32').path}")
        for source in sources:
            again = load_translator(ModelSource(source)).model
            assert not head_is_tied(again)
            torch.testing.assert_close(logits(again), logits(model), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["llama-tied-biased", "t5"])
def test_a_killed_run_goes_on_with_the_untied_model(name: str, tmp_path: Path) -> None:
    passes: list[Pass] = [Rotate(untie=True), QuantizeWeights(8, targets=("*", "role:embedding"))]
    stages = [Stage(step.name, str(number) * 64) for number, step in enumerate(passes)]

    def sequence(count: int) -> nn.Module:
        model, store = tiny(name), StageStore(tmp_path)
        return apply_resumably(model, passes[:count], context(model), stages[:count], store, Reporter(), 1, 2)

    sequence(1)
    resumed = sequence(2)
    expected = tiny(name)
    for step in passes:
        expected = apply_one(step, expected, context(expected))
    assert torch.equal(logits(resumed), logits(expected))
    assert resumed.config.to_dict() == expected.config.to_dict()
    assert torch.equal(logits(sequence(2)), logits(expected))  # from the last snapshot


def test_a_paged_model_stays_paged_and_has_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = rotated(tiny("llama-tied-biased"), Rotate(untie=True))
    monkeypatch.setattr(paging, "SMALLEST", 0)
    model = tiny("llama-tied-biased")
    page(model)
    model, _ = rotated(model, Rotate(untie=True))
    assert all(is_paged(value) for value in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))


def test_what_cannot_be_is_told() -> None:
    assert Rotate(where=("values", "values")).problems(load("generic")) == ["where: values, values: name each once"]
    assert Rotate(where=("values",), untie=True).problems(load("generic")) == [
        "untie has no effect without 'residual' in where: take it out"
    ]

    def refusal(model: Any, step: Rotate) -> str:
        with pytest.raises(ModelError) as caught:
            apply_one(step, model, context(model))
        return str(caught.value)

    quantized = apply_one(QuantizeWeights(8), tiny("llama"), context(tiny("llama")))
    assert "is quantized already: put it before the quantize passes" in refusal(quantized, Rotate())
    pruned = apply_one(PruneMagnitude(sparsity=0.5), tiny("llama"), context(tiny("llama")))
    assert "is pruned already: a rotation would fill its zeros" in refusal(pruned, VALUES)
    coarse = tiny("llama").bfloat16()
    assert "model.embed_tokens.weight is bfloat16, too coarse" in refusal(coarse, VALUES)
    assert "rotate: untie: no head is tied to the embedding" in refusal(tiny("llama"), Rotate(untie=True))
    gemma = tiny("gemma3")
    state = {name: value.clone() for name, value in gemma.state_dict().items()}
    assert refusal(gemma, Rotate(where=("residual",))).startswith("rotate: residual: left out: model.layers.0.post_at")
    assert all(torch.equal(value, state[name]) for name, value in gemma.state_dict().items())
    net = transformer()
    with pytest.raises(ModelError) as caught:
        apply_one(Rotate(), net, images_context())
    assert str(caught.value).splitlines() == [
        "rotate: residual: left out: the model has no embedding of tokens",
        "rotate: values: left out: the model has no attention with linear layers for its values and its output",
    ]


def test_values_that_something_else_changes_on_their_way_are_not_rotated_in_silence() -> None:
    model = tiny("llama")
    model.model.layers[0].self_attn.v_proj.register_forward_hook(lambda module, inputs, output: output.tanh())
    with pytest.raises(ModelError, match=r"the logits changed by .* a way unknown here$"):
        apply_one(Rotate(), model, context(model))


def test_only_the_beginning_of_a_sentence_is_compared() -> None:
    model = tiny("llama")
    lengths = []

    def batches() -> Iterator[tuple[Tensor, ...]]:
        return iter([(torch.arange(3, 93).repeat(3, 1),)])

    model.register_forward_pre_hook(lambda module, given: lengths.append(tuple(given[0].shape)))
    apply_one(VALUES, model, Context(batches, load("generic")))
    assert lengths == [(1, 32)] * 2
