"""What rotations are folded into: found by what runs, turned chunk by chunk, left alone where it would show."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import compress.models.rotations as module
from compress.errors import ModelError
from compress.models.calls import record
from compress.models.low_rank import factorize
from compress.models.residual import OWN, Norm, find_residual
from compress.models.rotations import Values, attention_values, rotate_inputs, rotate_outputs, rotate_values
from compress.numerics.hadamard import Rotation, random_rotation
from tests.exporter.text.tiny import decoder, encoder_decoder
from tests.nets import images, transformer

IDS = torch.arange(3, 15)[None]


def by_hand() -> Rotation:
    """Signs (1, −1), then [[1, 1], [1, −1]] / √2: x → (x₀ − x₁, x₀ + x₁) / √2."""
    return Rotation(torch.tensor([[1.0, -1.0]]).double(), torch.ones(1, 1).double(), "by hand")


def linear(weight: list[list[float]], bias: list[float] | None = None) -> nn.Linear:
    layer = nn.Linear(len(weight[0]), len(weight), bias is not None)
    layer.weight.data = torch.tensor(weight).float()
    if bias is not None:
        layer.bias.data = torch.tensor(bias).float()
    return layer


def test_both_sides_by_hand() -> None:
    root = 2**0.5
    layer = linear([[1, 0], [3, 2], [0, 5]])
    rotate_inputs(layer, by_hand())
    torch.testing.assert_close(layer.weight.data * root, torch.tensor([[1.0, 1], [1, 5], [-5, 5]]))
    layer = linear([[1, 0], [3, 2]], [10, 4])
    rotate_inputs(layer, by_hand(), torch.tensor([2.0, 3.0]))
    torch.testing.assert_close(layer.weight.data * root, torch.tensor([[2.0, 2], [0, 12]]))
    layer = linear([[1, 0, 7], [3, 2, 1]], [10, 4])
    rotate_outputs(layer, by_hand())
    torch.testing.assert_close(layer.weight.data * root, torch.tensor([[-2.0, -2, 6], [4, 2, 8]]))
    torch.testing.assert_close(layer.bias.data * root, torch.tensor([6.0, 14]))


def test_chunks_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    rotation = random_rotation(24, torch.Generator().manual_seed(0), 2)

    def turned() -> tuple[Tensor, Tensor]:
        torch.manual_seed(0)
        reader, writer = nn.Linear(48, 31), nn.Linear(31, 48)
        rotate_inputs(reader, rotation, torch.arange(48))
        rotate_outputs(writer, rotation)
        return reader.weight.data, writer.weight.data

    whole = turned()
    monkeypatch.setattr(module, "CHUNK", 7 * 48)
    assert all(torch.equal(a, b) for a, b in zip(turned(), whole, strict=True))


def test_values_are_found_in_every_attention_and_nowhere_else() -> None:
    assert attention_values(decoder("llama"))[1:] == [
        Values(f"model.layers.{n}.self_attn.v_proj", f"model.layers.{n}.self_attn.o_proj", 4, 2, 16) for n in (1, 2)
    ]
    for kind, width in (("t5", 16), ("m2m100", 16), ("marian", 16)):
        found = attention_values(encoder_decoder(kind))
        assert len(found) == 2 + 2 * 3  # in the encoder; in the decoder, of its own tokens and of the encoder's
        assert {(values.heads, values.key_heads, values.head_dim) for values in found} == {(4, 4, width)}
    assert attention_values(transformer()) == []


class Attention(nn.Module):
    """A layer of values and one that reads them, of these sizes, and heads of four numbers."""

    def __init__(self, values: int, read: int) -> None:
        super().__init__()
        self.v_proj, self.o_proj, self.head_dim = nn.Linear(8, values), nn.Linear(read, 8), 4


def test_layers_that_are_no_heads_are_left_alone() -> None:
    assert attention_values(Attention(8, 16)) == [Values("v_proj", "o_proj", 4, 2, 4)]
    assert attention_values(Attention(6, 12)) == []
    assert attention_values(Attention(8, 12)) == []


def test_factors_of_low_rank_are_turned_on_the_side_of_the_values() -> None:
    net, x = Attention(8, 16), torch.randn(3, 8)
    for name, (outputs, inputs) in {"v_proj": (8, 8), "o_proj": (8, 16)}.items():
        factorize(net, name, torch.randn(2, inputs), torch.randn(outputs, 2))
    (values,) = attention_values(net)
    assert values == Values("v_proj.1", "o_proj.0", 4, 2, 4)

    def run() -> Tensor:
        shared = net.v_proj(x).reshape(3, 2, 4).repeat_interleave(2, 1)
        return net.o_proj(shared.reshape(3, 16)).detach()

    expected, before = run(), net.o_proj[0].weight.detach().clone()
    rotate_values(net, values, random_rotation(4, torch.Generator().manual_seed(0), 2))
    torch.testing.assert_close(run(), expected, rtol=0, atol=1e-5)
    assert not torch.allclose(net.o_proj[0].weight, before)


def test_the_stream_of_a_llama_has_two_writers_and_two_norms_a_layer() -> None:
    model = decoder("llama", num_hidden_layers=1)
    found = find_residual(model, record(model, IDS))
    layer = "model.layers.0"
    assert (found.width, found.table) == (64, "model.embed_tokens")
    assert found.writers == (f"{layer}.self_attn.o_proj", f"{layer}.mlp.down_proj")
    assert found.norms == (
        Norm(f"{layer}.input_layernorm", 0.0, tuple(f"{layer}.self_attn.{each}_proj" for each in "qkv")),
        Norm(f"{layer}.post_attention_layernorm", 0.0, (f"{layer}.mlp.gate_proj", f"{layer}.mlp.up_proj")),
        Norm("model.norm", 0.0, ("lm_head",)),
    )


def test_the_encoder_and_the_decoder_of_a_t5_have_one_stream() -> None:
    model = encoder_decoder("t5-gated")
    found = find_residual(model, record(model, IDS, torch.ones_like(IDS), IDS))
    assert found.table == "shared"
    assert len(found.writers) == 2 * 2 + 3 * 3
    cross = [f"decoder.block.{n}.layer.1.EncDecAttention.{each}" for n in range(3) for each in "kv"]
    (reads,) = (norm.readers for norm in found.norms if norm.name == "encoder.final_layer_norm")
    assert reads == tuple(cross)


def normed_by_means(model: Any) -> None:
    model.model.norm = nn.LayerNorm(64)


def read_without_norm(model: Any) -> None:
    model.model.layers[0].input_layernorm = nn.Identity()


def added_number(model: Any) -> None:
    model.model.embed_tokens.register_forward_hook(lambda module, inputs, output: output + 1)


def squared(model: Any) -> None:
    model.model.layers[0].self_attn.o_proj.register_forward_hook(lambda module, inputs, output: output * output)


def also_read(model: Any) -> None:
    model.model.layers[0].self_attn.o_proj.register_forward_hook(lambda module, inputs, output: watch(output))


def watch(x: Tensor) -> Tensor:
    x.sigmoid()
    return x


def bent(model: Any) -> None:
    model.model.layers[1].mlp.register_forward_pre_hook(lambda module, inputs: (inputs[0].tanh(),))


def shared_layer(model: Any) -> None:
    model.model.layers[0].mlp.up_proj = model.model.layers[0].mlp.gate_proj


def shared_weight(model: Any) -> None:
    model.model.layers[1].mlp.down_proj.weight = model.model.layers[0].mlp.down_proj.weight


REFUSED = {
    normed_by_means: "model.norm is no RMSNorm",
    read_without_norm: r"model.layers.0.self_attn.q_proj reads it \(linear\), and is no norm",
    added_number: "model adds to it what no layer gives",
    squared: f"model.layers.0.self_attn adds to it, and is {OWN}",
    also_read: "model.layers.0.self_attn.o_proj adds to it, and is read elsewhere too",
    bent: rf"model.layers.1.mlp reads what model.layers.1.post_attention_layernorm gives \(tanh\), and is {OWN}",
    shared_layer: rf"model.layers.0.mlp.gate_proj reads what .* gives \(linear\), and is {OWN}",
    shared_weight: f"model.layers.0.mlp.down_proj adds to it, and is {OWN}",
}


@pytest.mark.parametrize("change", REFUSED)
def test_a_stream_that_is_made_or_read_otherwise_is_refused(change: Any) -> None:
    model = decoder("llama")
    find_residual(model, record(model, IDS))
    change(model)
    with pytest.raises(ModelError, match=f"^{REFUSED[change]}$"):
        find_residual(model, record(model, IDS))


def test_a_model_that_gives_out_its_stream_or_has_no_tokens_is_refused() -> None:
    body = decoder("llama").model
    with pytest.raises(ModelError, match=r"^the model gives out what norm gives$"):
        find_residual(body, record(body, IDS))
    body.norm = nn.Identity()
    with pytest.raises(ModelError, match=r"^the model gives it out$"):
        find_residual(body, record(body, IDS))
    net = transformer()
    with pytest.raises(ModelError, match=r"^the model has no embedding of tokens$"):
        find_residual(net, record(net, images(1)))
