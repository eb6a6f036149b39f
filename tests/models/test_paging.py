"""Paged weights: the same values to torch, in files that vanish; a paged model is compressed to the same bytes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import psutil
import pytest
import torch
from torch import nn

import compress.models.paging as module
from compress.applying import apply
from compress.errors import ModelError
from compress.exporter.text import write_graphs
from compress.models.paging import SETTING, is_paged, page, paged, paged_like, wants_paging
from compress.models.quantized import original_weight, quantized_weights
from compress.models.snapshot import load_snapshot, save_snapshot
from compress.models.source import ModelSource
from compress.models.translators import load_translator
from compress.passes.quantize_weights import QuantizeWeights

LARGE = (1024, 512)
FOUR_BITS = QuantizeWeights(num_bits=4, strategy="group", group_size=16, symmetric=False, algorithm="gptq")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are paged, to the smallest weight."""
    monkeypatch.setattr(module, "SMALLEST", 0)
    monkeypatch.setenv(SETTING, "always")


def test_a_paged_tensor_has_the_values_and_no_name_on_the_disk(temporary: Path) -> None:
    tensor = torch.randn(LARGE)
    copy = paged(tensor)
    assert torch.equal(copy, tensor)
    assert is_paged(copy)
    assert not is_paged(tensor)
    assert list(temporary.iterdir()) == []
    assert torch.equal(paged(tensor.half(), torch.float32), tensor.half().float())
    assert is_paged(paged_like(tensor, copy))
    assert paged_like(tensor, tensor) is tensor
    assert not is_paged(paged_like(tensor[:1], copy))  # too small to be worth a file


def test_a_model_keeps_its_ties_its_small_values_and_its_gradients() -> None:
    model = nn.Sequential(nn.Linear(512, 1024, dtype=torch.bfloat16), nn.Linear(512, 1024, dtype=torch.bfloat16))
    model[1].weight = model[0].weight
    expected = model[0].weight.detach().float().clone()
    page(model)
    assert torch.equal(model[0].weight, expected)
    assert model[1].weight is model[0].weight
    assert is_paged(model[0].weight)
    assert not is_paged(model[0].bias)
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    model[1](torch.ones(2, 512)).sum().backward()
    assert model[0].weight.grad is not None


def test_the_free_memory_decides_unless_the_user_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SETTING, raising=False)
    available = psutil.virtual_memory().available
    assert not wants_paging(1000)
    assert wants_paging(2 * available)
    monkeypatch.setenv(SETTING, "never")
    assert not wants_paging(2 * available)
    monkeypatch.setenv(SETTING, "always")
    assert wants_paging(1)
    monkeypatch.setenv(SETTING, "yes")
    with pytest.raises(ModelError, match="COMPRESS_PAGING is 'yes': write always, never, auto"):
        wants_paging(1)


def compressed(directory: Path, source: str) -> nn.Module:
    """The model of a source in 4 bits, its graphs and its values in `directory`."""
    loaded = load_translator(ModelSource(source))
    ids = torch.arange(12)[None] + 20
    model = apply(loaded.model, [FOUR_BITS], lambda: iter([(ids,)]))
    directory.mkdir()
    write_graphs(model, directory, "0")
    save_snapshot(model, directory)
    return model


@pytest.mark.parametrize("source", ["random", "directory"])
def test_a_paged_model_is_compressed_to_the_same_bytes(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    name = "random:tiny-llama"
    if source == "directory":
        loaded = load_translator(ModelSource(name))
        loaded.model.to(torch.bfloat16).save_pretrained(tmp_path / "model")
        loaded.tokenizer.save(str(tmp_path / "model" / "tokenizer.json"))
        for file, content in loaded.files.items():
            (tmp_path / "model" / file).write_bytes(content)
        name = f"path:{tmp_path / 'model'}"
    monkeypatch.setenv(SETTING, "never")
    plain = compressed(tmp_path / "plain", name)
    request.getfixturevalue("everything")
    model = compressed(tmp_path / "paged", name)
    matrices = [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Embedding)]
    assert all(is_paged(original_weight(layer)) for layer in matrices)
    assert all(is_paged(weight.codes) for weight in quantized_weights(model).values())
    assert not any(is_paged(original_weight(layer)) for layer in plain.modules() if isinstance(layer, nn.Linear))
    for file in ("model.onnx", "model.onnx_data", "values.safetensors"):
        assert (tmp_path / "paged" / file).read_bytes() == (tmp_path / "plain" / file).read_bytes(), file
    load_snapshot(model, tmp_path / "plain")
