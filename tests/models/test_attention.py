"""Attention as four linear layers computes what torch's own computes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compress.models.attention import SplitAttention, split_attention
from compress.models.layers import weighted_layers

HEADS, WIDTH = 2, 8


def attention(**options: object) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    made = nn.MultiheadAttention(WIDTH, HEADS, **options).eval()  # type: ignore[arg-type]
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.4)
    return made


def agree(original: nn.MultiheadAttention, *inputs: torch.Tensor, **options: object) -> None:
    expected, expected_weights = original(*inputs, **options)
    output, weights = SplitAttention(original)(*inputs, **options)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-6)
    assert (weights is None) == (expected_weights is None)
    if weights is not None:
        torch.testing.assert_close(weights, expected_weights, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("options", [{}, {"batch_first": True}, {"bias": False}, {"kdim": 6, "vdim": 4}])
def test_output_and_weights_are_those_of_the_original(options: dict, need_weights: bool) -> None:
    original = attention(**options)
    sizes = (WIDTH, original.kdim, original.vdim)
    agree(original, *(torch.randn(5, 5, size) for size in sizes), need_weights=need_weights)


@pytest.mark.parametrize("need_weights", [False, True])
def test_masks_of_both_kinds(need_weights: bool) -> None:
    x = torch.randn(3, 5, WIDTH)
    padding = torch.zeros(3, 5, dtype=torch.bool)
    padding[1, 3:] = True
    causal = torch.ones(5, 5, dtype=torch.bool).triu(1)
    original = attention(batch_first=True)
    agree(original, x, x, x, attn_mask=causal, need_weights=need_weights)
    agree(original, x, x, x, attn_mask=torch.randn(3 * HEADS, 5, 5), need_weights=need_weights)
    agree(original, x, x, x, key_padding_mask=padding, attn_mask=causal, need_weights=need_weights)


def test_without_a_batch_and_with_weights_per_head() -> None:
    x = torch.randn(5, WIDTH)
    agree(attention(), x, x, x, average_attn_weights=False)


def test_every_projection_of_a_model_becomes_a_layer_and_its_output_stays() -> None:
    torch.manual_seed(0)
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(WIDTH, HEADS, 16, batch_first=True), 2).eval()
    x = torch.randn(2, 5, WIDTH)
    expected = model(x)
    split_attention(model)
    names = list(weighted_layers(model))
    assert names[:4] == [f"layers.0.self_attn.{part}_proj" for part in ("q", "k", "v", "out")]
    torch.testing.assert_close(model(x), expected, rtol=1e-5, atol=1e-5)


def test_attention_with_keys_of_its_own_stays() -> None:
    model = nn.ModuleDict({"a": attention(add_zero_attn=True), "b": attention(add_bias_kv=True)})
    split_attention(model)
    assert all(isinstance(child, nn.MultiheadAttention) for child in model.values())
