"""Translators' graphs: a prompt, a token after it, the branch that is taken, the cache."""

from __future__ import annotations

from pathlib import Path

from compress.devices.check import check
from compress.devices.forecast import forecast
from compress.targets import load
from tests.exporter.text.tiny import decoder, encoder_decoder, quantize, written

TOKENS = 10


def test_a_decoder_reads_a_prompt_and_writes_a_token(tmp_path: Path) -> None:
    directory = written(quantize(decoder("llama"), 4, 32), tmp_path / "llama")
    prefill, token = forecast(directory, load("rpi5"), TOKENS)
    assert (prefill.phase, token.phase) == ("prefill of 10", "token after 10")
    a_token = 3 * 2 * 2 * 16 * 4  # layers, keys and values, heads, size, bytes
    assert prefill.memory.cache == TOKENS * a_token
    assert token.memory.cache == (TOKENS + TOKENS + 1) * a_token  # read, and written anew
    products = {"MatMulNBits", "MatMul", "Gemm"}
    linear = [sum(k.cost.products for k in each.kernels if k.operator in products) for each in (prefill, token)]
    head = 2 * 64 * 97  # of the last token alone
    assert linear[0] - head == TOKENS * (linear[1] - head)
    attention = [k.cost.products for k in token.kernels if k.operator == "MultiHeadAttention"]
    assert attention == [2 * 4 * (TOKENS + 1) * (16 + 16)] * 3


def test_an_encoder_decoder_takes_the_branch_of_its_cache(tmp_path: Path) -> None:
    directory = written(encoder_decoder("marian"), tmp_path / "marian")
    encoder, first, later = forecast(directory, load("rpi5"), TOKENS)
    assert (encoder.phase, first.phase, later.phase) == ("encoder of 10", "first token", "token after 10")
    assert encoder.memory.cache == 0
    assert first.operations > later.operations  # the encoder's output becomes keys and values once


def test_a_translator_s_own_operators_are_refused_elsewhere(tmp_path: Path) -> None:
    directory = written(quantize(decoder("llama"), 4, 32), tmp_path / "llama")
    assert [each for each in check(directory, load("generic")) if not each.is_note] == []
    found = check(directory, load("ascend-310p"))
    rules = {each.rule for each in found}
    assert {"opset", "dynamic-axis", "operator"} <= rules
    packed = next(each for each in found if "MatMulNBits" in each.what)
    assert packed.instead == "quantize.static in place of quantize.weights, or float weights"
