"""Encoder–decoder graphs: the torch model's function, with and without a cache; shared weights once in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from compress.exporter.text.parity import check_ids_parity, open_graph, padded_right, run_cross_decoder
from tests.exporter.text.tiny import ENCODER_DECODERS, encoder_decoder, quantize, written

ROWS = [list(np.random.default_rng(length).integers(3, 60, length)) for length in (23, 15, 9)]


def graphs(directory: Path) -> tuple[Any, Any]:
    return open_graph(directory / "encoder_model.onnx"), open_graph(directory / "decoder_model_merged.onnx")


@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_the_graphs_are_the_torch_model(name: str, tmp_path: Path) -> None:
    model = encoder_decoder(name)
    parity = check_ids_parity(model, written(model, tmp_path), ROWS)
    assert parity.max_difference < 1e-5
    assert parity.agreement == 1.0


@pytest.mark.parametrize("name", ENCODER_DECODERS)
@pytest.mark.parametrize("form", [(8, None, True), (4, 32, True), (4, 32, False)])
def test_stored_weights_are_those_of_torch(
    name: str, form: tuple[int, Any, bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = quantize(encoder_decoder(name), *form)
    assert check_ids_parity(model, written(model, tmp_path / "4"), ROWS).rms_difference < 0.08
    monkeypatch.setattr("compress.exporter.text.linear.ACCURACY_LEVEL", 1)
    assert check_ids_parity(model, written(model, tmp_path / "1"), ROWS).max_difference < 1e-4


@pytest.mark.parametrize("name", ["marian", "m2m100", "t5-gated"])
def test_the_past_is_ignored_until_it_is_used_and_then_several_tokens_may_follow(name: str, tmp_path: Path) -> None:
    model = encoder_decoder(name)
    encoder, session = graphs(written(model, tmp_path))
    ids, mask = padded_right(ROWS)
    [states] = encoder.run(None, {"input_ids": ids, "attention_mask": mask})
    targets = ids[:, :8]
    with torch.no_grad():
        inputs = {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": targets}
        reference = model(**{key: torch.from_numpy(value) for key, value in inputs.items()}).logits.numpy()
    for length in (0, 1, 5):
        given = {
            one.name: np.full((3, one.shape[1], length, one.shape[3]), 7.0, np.float32)
            for one in session.get_inputs()
            if one.name.startswith("past_key_values.")
        }
        names = ["input_ids", "encoder_attention_mask", "encoder_hidden_states", "use_cache_branch"]
        first = dict(zip(names, (targets[:, :3], mask, states, np.array([False])), strict=True))
        logits, *present = session.run(None, {**first, **given})
        np.testing.assert_allclose(logits, reference[:, :3], atol=2e-5)
        cache = dict(zip(given, present, strict=True))
        # the encoder's output is not read again
        then, cache = run_cross_decoder(session, targets[:, 3:], mask, np.full_like(states, np.nan), cache)
        np.testing.assert_allclose(then, reference[:, 3:], atol=2e-5)
        assert cache["past_key_values.0.decoder.key"].shape[2] == 8
        assert cache["past_key_values.0.encoder.key"].shape[2] == ids.shape[1]
    kept, _ = run_cross_decoder(session, targets, mask, states, keep=2)
    np.testing.assert_allclose(kept, reference[:, -2:], atol=2e-5)


@pytest.mark.parametrize("name", ["marian", "m2m100", "t5-gated"])
def test_padding_of_the_encoder_changes_nothing(name: str, tmp_path: Path) -> None:
    model = encoder_decoder(name)
    encoder, session = graphs(written(model, tmp_path))
    ids = np.array([ROWS[2]], np.int64)
    padded = np.pad(ids, ((0, 0), (0, 4)), constant_values=model.config.pad_token_id)
    logits = []
    for given in (ids, padded):
        mask = np.ones_like(ids)
        mask = np.pad(mask, ((0, 0), (0, given.shape[1] - ids.shape[1])))
        [states] = encoder.run(None, {"input_ids": given, "attention_mask": mask})
        logits.append(run_cross_decoder(session, ids, mask, states)[0])
    np.testing.assert_allclose(*logits, atol=2e-5)


@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_the_names_are_those_that_others_look_for(name: str, tmp_path: Path) -> None:
    encoder, session = graphs(written(encoder_decoder(name), tmp_path))
    assert [one.name for one in encoder.get_inputs()] == ["input_ids", "attention_mask"]
    assert [one.name for one in encoder.get_outputs()] == ["last_hidden_state"]
    names = [one.name for one in session.get_inputs()]
    parts = [f"{part}.{value}" for part in ("decoder", "encoder") for value in ("key", "value")]
    expected = [f"past_key_values.{layer}.{part}" for layer in range(3) for part in parts]
    assert names == [
        "encoder_attention_mask", "input_ids", "encoder_hidden_states", *expected, "use_cache_branch",
    ]  # fmt: skip
    outputs = [one.name for one in session.get_outputs()]
    assert outputs == ["logits", *(one.replace("past_key_values", "present") for one in expected)]


@pytest.mark.parametrize("name", ["marian", "m2m100", "t5"])
def test_weights_of_both_graphs_lie_once_in_one_file(name: str, tmp_path: Path) -> None:
    model = encoder_decoder(name)
    written(model, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "decoder_model_merged.onnx",
        "encoder_model.onnx",
        "model.onnx_data",
    ]
    places = []
    for part in ("encoder_model", "decoder_model_merged"):
        graph = onnx.load(tmp_path / f"{part}.onnx", load_external_data=False).graph
        table = next(one for one in graph.initializer if list(one.dims) == [97, 64])
        places.append({part.key: part.value for part in table.external_data}["offset"])
    assert places[0] == places[1]
    trained = sum(p.numel() for name, p in model.named_parameters() if "embed_positions" not in name)
    assert (tmp_path / "model.onnx_data").stat().st_size < 4 * trained + 40_000


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    model = quantize(encoder_decoder("m2m100"), 4, 32)
    one, two = written(model, tmp_path / "one"), written(model, tmp_path / "two")
    for file in one.iterdir():
        assert file.read_bytes() == (two / file.name).read_bytes()
