"""Decoder-only graphs: the torch model's function, whole and in parts, padded and not, at every storage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from compress.errors import ModelError, ParityError
from compress.exporter.text.parity import check_ids_parity, open_graph, run_decoder
from compress.models.quantized import quantized_weights
from tests.exporter.text.tiny import DECODERS, VOCABULARY, decoder, quantize, written

ROWS = [list(np.random.default_rng(length).integers(3, VOCABULARY, length)) for length in (23, 15, 9)]
IDS = np.array([row[:9] for row in ROWS], np.int64)
ONES = np.ones_like(IDS)


def torch_logits(model: Any, ids: Any) -> Any:
    with torch.no_grad():
        return model(torch.from_numpy(np.asarray(ids))).logits.numpy()


@pytest.mark.parametrize("name", DECODERS)
def test_the_graph_is_the_torch_model(name: str, tmp_path: Path) -> None:
    model = decoder(name)
    parity = check_ids_parity(model, written(model, tmp_path), ROWS)
    assert parity.max_difference < 1e-5
    assert parity.agreement == 1.0
    assert parity.num_tokens == 2 * sum(map(len, ROWS))


@pytest.mark.parametrize("name", DECODERS)
def test_a_cache_may_be_followed_by_any_number_of_tokens(name: str, tmp_path: Path) -> None:
    model = decoder(name)
    session = open_graph(written(model, tmp_path) / "model.onnx")
    first, cache = run_decoder(session, IDS[:, :3], ONES[:, :3])
    then, cache = run_decoder(session, IDS[:, 3:7], ONES[:, :7], cache)
    last, cache = run_decoder(session, IDS[:, 7:], ONES, cache)
    assert {value.shape[2] for value in cache.values()} == {9}
    np.testing.assert_allclose(np.concatenate([first, then, last], 1), torch_logits(model, IDS), atol=2e-5)


@pytest.mark.parametrize("name", ["gemma3", "llama", "qwen2-sliding"])
def test_padding_on_the_left_changes_nothing(name: str, tmp_path: Path) -> None:
    session = open_graph(written(decoder(name), tmp_path) / "model.onnx")
    plain, _ = run_decoder(session, IDS, ONES)
    for padding in (1, 6):
        ids = np.pad(IDS, ((0, 0), (padding, 0)), constant_values=5)
        mask = np.pad(ONES, ((0, 0), (padding, 0)))
        padded, _ = run_decoder(session, ids, mask)
        assert np.isfinite(padded).all()
        np.testing.assert_allclose(padded[:, padding:], plain, atol=2e-5)


def test_logits_to_keep_are_the_last(tmp_path: Path) -> None:
    session = open_graph(written(decoder("llama"), tmp_path) / "model.onnx")
    every, _ = run_decoder(session, IDS, ONES)
    for keep in (1, 4, 50):
        kept, _ = run_decoder(session, IDS, ONES, keep=keep)
        np.testing.assert_allclose(kept, every[:, -keep:], atol=1e-5)


def test_logits_to_keep_is_no_input_to_those_who_do_not_ask(tmp_path: Path) -> None:
    session = open_graph(written(decoder("llama"), tmp_path) / "model.onnx")
    names = [given.name for given in session.get_inputs()]
    assert names[:3] == ["input_ids", "attention_mask", "position_ids"]
    assert names[3:5] == ["past_key_values.0.key", "past_key_values.0.value"]
    assert "logits_to_keep" not in names
    assert [one.name for one in session.get_outputs()][:2] == ["logits", "present.0.key"]


FORMS = [
    pytest.param({"num_bits": 8, "group_size": None}, id="8 a row"),
    pytest.param({"num_bits": 8, "group_size": 32, "symmetric": False}, id="8 affine"),
    pytest.param({"num_bits": 4, "group_size": 16}, id="4 group 16"),
    pytest.param({"num_bits": 4, "group_size": 32}, id="4 group 32"),
    pytest.param({"num_bits": 4, "group_size": 32, "symmetric": False}, id="4 affine"),
    pytest.param({"num_bits": 4, "group_size": 48}, id="4 group 48"),
    pytest.param({"num_bits": 4, "group_size": 64}, id="4 group 64, the last not full"),
    pytest.param({"num_bits": 4, "group_size": 20}, id="4 group 20: no kernel"),
    pytest.param({"num_bits": 4, "group_size": 32, "integer": True}, id="4 multipliers"),
    pytest.param({"num_bits": 3, "group_size": 32, "symmetric": False}, id="3 affine"),
    pytest.param({"num_bits": 5, "group_size": 16}, id="5"),
    pytest.param({"num_bits": 6, "group_size": None, "symmetric": False}, id="6 affine a row"),
    pytest.param({"num_bits": 2, "group_size": 32, "symmetric": False}, id="2 affine"),
    pytest.param({"num_bits": 2, "group_size": 64}, id="2 group 64"),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["gemma3", "llama-tied-biased"])
def test_stored_weights_are_those_of_torch(
    name: str, form: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the rounding of activations nothing is left but the order of sums."""
    monkeypatch.setattr("compress.exporter.text.linear.ACCURACY_LEVEL", 1)
    model = quantize(decoder(name), **form)
    assert check_ids_parity(model, written(model, tmp_path), ROWS).max_difference < 1e-4


@pytest.mark.parametrize("form", [(8, None), (4, 32), (4, 32, False), (3, 64)])
@pytest.mark.parametrize("name", DECODERS)
def test_rounded_activations_are_a_little_noise(name: str, form: Any, tmp_path: Path) -> None:
    model = quantize(decoder(name), *form)
    assert 1e-4 < check_ids_parity(model, written(model, tmp_path), ROWS).rms_difference < 0.08


def test_no_kernel_of_quantized_weights_is_slow(tmp_path: Path) -> None:
    model = quantize(decoder("gemma3"), 4, 32)
    graph = onnx.load(written(model, tmp_path) / "model.onnx", load_external_data=False).graph
    products = [node for node in graph.node if node.op_type == "MatMulNBits"]
    assert len(products) == 3 * 4 + 1  # q, k, v are one product; so are gate and up
    levels = {attribute.i for node in products for attribute in node.attribute if attribute.name == "accuracy_level"}
    assert levels == {4}


@pytest.mark.parametrize("form", [None, (8, None), (4, 32)])
def test_a_tied_embedding_is_stored_once(form: tuple[int, int | None] | None, tmp_path: Path) -> None:
    model = decoder("gemma3", vocab_size=4000)
    if form is not None:
        model = quantize(model, *form)
        count = sum(quantized.codes.numel() for quantized in quantized_weights(model).values())
        scales = sum(quantized.scales.numel() for quantized in quantized_weights(model).values())
        expected = count * form[0] // 8 + 2 * scales
        assert "model.embed_tokens.weight" in quantized_weights(model)
        assert "lm_head.weight" not in quantized_weights(model)
    else:
        expected = 4 * sum(parameter.numel() for parameter in model.parameters())
    size = (written(model, tmp_path) / "model.onnx_data").stat().st_size
    assert expected * 0.95 < size < expected * 1.02 + 60_000  # the rest is alignment


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    model = quantize(decoder("qwen3"), 4, 32)
    one, two = written(model, tmp_path / "one"), written(model, tmp_path / "two")
    for name in ("model.onnx", "model.onnx_data"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_large_weights_begin_at_a_page(tmp_path: Path) -> None:
    graph = onnx.load(written(decoder("llama"), tmp_path) / "model.onnx", load_external_data=False).graph
    places = [{part.key: part.value for part in one.external_data} for one in graph.initializer if one.external_data]
    assert {place["location"] for place in places} == {"model.onnx_data"}
    assert all(int(place["offset"]) % (4096 if int(place["length"]) >= 4096 else 64) == 0 for place in places)


def test_dynamic_layers_quantize_what_comes_in(tmp_path: Path) -> None:
    model = quantize(decoder("llama"), 8, None)
    model.dynamic_layers = {name for name, _ in model.named_modules() if name.endswith("_proj")}
    graph = onnx.load(written(model, tmp_path) / "model.onnx", load_external_data=False).graph
    assert sum(node.op_type == "DynamicQuantizeMatMul" for node in graph.node) == 3 * 4
    assert check_ids_parity(model, tmp_path, ROWS).rms_difference < 0.05


def test_a_graph_of_another_model_is_found_out(tmp_path: Path) -> None:
    written(decoder("llama"), tmp_path)
    other = decoder("llama")
    with torch.no_grad():
        other.model.layers[1].mlp.up_proj.weight[0] += 0.5
    with pytest.raises(ParityError, match="not the same function as the torch model: on 94 tokens"):
        check_ids_parity(other, tmp_path, ROWS)


def test_unknown_architectures_are_refused(tmp_path: Path) -> None:
    model = decoder("llama")
    model.config.model_type = "llamo"
    with pytest.raises(ModelError, match="unknown decoder architecture 'llamo': did you mean 'llama'"):
        written(model, tmp_path)


def test_attention_that_is_not_known_is_refused(tmp_path: Path) -> None:
    model = decoder("gemma3")
    model.config.attn_logit_softcapping = 50.0
    with pytest.raises(ModelError, match=r"attn_logit_softcapping: 50\.0: not supported"):
        written(model, tmp_path)
