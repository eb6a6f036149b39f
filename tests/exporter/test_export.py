"""export(): a torch model becomes the directory that ships, all at once or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import compress.exporter.parity
from compress.data.preprocess import Preprocessor
from compress.errors import ArtefactError, ModelError, ParityError
from compress.exporter import Card, export
from compress.exporter.lint import lint
from compress.runtime.artefact import open_artefact
from compress.runtime.session import open_session
from compress.tasks.base import Figure
from tests.exporter.networks import (
    GENERIC,
    Network,
    Tokens,
    channel_weight,
    group_weight,
    inputs,
    quantize_activations,
    quantize_weights,
    seeded,
)

LABELS = ("cat", "dog", "crane", "crane", "sloth")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("export") / "artefact"
    export(
        quantize_activations(quantize_weights(seeded(Network), group_weight)),
        inputs(1),
        directory,
        target="generic",
        preprocessor=Preprocessor(resize=18, crop=(16, 16)),
        labels=LABELS,
        config={"architecture": "network"},
        lock={"recipe": {"name": "tiny"}, "seed": 0},
        scores={"top1": Figure(0.5, 0.4, 0.6, 20)},
        card=Card("A small network", random_weights=True, licence="apache-2.0"),
        verify_inputs=[inputs()],
    )
    return directory


def test_what_ships(shipped: Path) -> None:
    artefact = open_artefact(shipped)
    assert sorted(artefact.file_bytes) == [
        "README.md",
        "compress.json",
        "config.json",
        "model.onnx",
        "preprocessor_config.json",
    ]
    manifest = artefact.manifest
    assert manifest["model"] == {"description": "A small network", "random_weights": True, "parameters": 965}
    assert manifest["quantization"]["activations"] == 6
    assert manifest["quantization"]["weights"]["pointwise.weight"] == {
        "num_bits": 4,
        "group_size": 8,
        "symmetric": True,
        "scales": 16,
        "bytes": 128 + 32 + 16,
    }
    assert manifest["quantization"]["effective_bits"] == pytest.approx(8 * artefact.model_bytes / 965, abs=1e-3)
    assert artefact.scores["top1"] == Figure(0.5, 0.4, 0.6, 20)
    assert "# tiny" in (shipped / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in shipped.parent.iterdir()] == ["artefact"]
    assert shipped.stat().st_mode & 0o777 == shipped.parent.joinpath("artefact").stat().st_mode & 0o777


def test_labels_in_the_hugging_face_convention(shipped: Path) -> None:
    config = json.loads((shipped / "config.json").read_text(encoding="utf-8"))
    assert config["id2label"] == {"0": "cat", "1": "dog", "2": "crane", "3": "crane", "4": "sloth"}
    assert config["label2id"]["sloth"] == 4
    assert (config["num_labels"], config["architecture"]) == (5, "network")
    preprocessing = json.loads((shipped / "preprocessor_config.json").read_text(encoding="utf-8"))
    assert preprocessing["crop_size"] == {"height": 16, "width": 16}


def test_it_runs_at_any_batch_size_without_slow_paths(shipped: Path) -> None:
    session = open_session(open_artefact(shipped))
    assert session(inputs(3)).shape == (3, 5)
    np.testing.assert_allclose(session(inputs(3))[:1], session(inputs(1)), atol=1e-5)
    assert lint(shipped / "model.onnx") == []


@pytest.mark.parametrize(("network", "form"), [(Network, "float"), (Tokens, "weights"), (Network, "all")])
def test_the_file_is_the_torch_model(network: type[nn.Module], form: str, tmp_path: Path) -> None:
    model = seeded(network)
    if form != "float":
        quantize_weights(model, channel_weight if form == "all" else group_weight)
    if form == "all":
        quantize_activations(model)
    artefact = export(model, inputs(1), tmp_path / "a", target=GENERIC, verify_inputs=[inputs()])
    with torch.no_grad():
        expected = model(torch.from_numpy(inputs())).numpy()
    tolerance = 0.05 if form == "all" else 1e-5
    np.testing.assert_allclose(open_session(artefact)(inputs()), expected, atol=tolerance)


def test_the_same_model_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        export(quantize_weights(seeded(Network)), inputs(1), tmp_path / name, target="generic")
    one, two = (open_artefact(tmp_path / name).manifest for name in ("one", "two"))
    assert one == two


def test_an_existing_directory_is_not_overwritten_without_force(tmp_path: Path) -> None:
    place = tmp_path / "artefact"
    place.mkdir()
    (place / "precious").write_text("")
    with pytest.raises(ArtefactError, match="artefact: exists already: give another directory, or force=True"):
        export(seeded(Network), inputs(1), place, target="generic")
    assert (place / "precious").exists()
    export(seeded(Network), inputs(1), place, target="generic", force=True)
    assert not (place / "precious").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["artefact"]


def test_a_failed_export_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compress.exporter.parity, "FLOAT_LIMIT", -1.0)
    with pytest.raises(ParityError, match="not the same function"):
        export(seeded(Network), inputs(1), tmp_path / "artefact", target="generic")
    assert not list(tmp_path.iterdir())


def test_labels_must_be_as_many_as_classes(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="2 labels were given, and the model has 5 classes"):
        export(seeded(Network), inputs(1), tmp_path / "a", target="generic", labels=["cat", "dog"])


def test_a_model_with_two_results_is_refused(tmp_path: Path) -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x.mean((2, 3)), x.amax((2, 3))

    with pytest.raises(ModelError, match="returns 2 tensors"):
        export(Two(), inputs(1), tmp_path / "a", target="generic")


def test_what_onnx_cannot_express_is_told_in_a_line(tmp_path: Path) -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))

    with pytest.raises(ModelError, match="ONNX cannot express") as told:
        export(Branching(), inputs(1), tmp_path / "a", target="generic")
    assert "\n" not in str(told.value)


def test_the_package_is_imported_without_torch() -> None:
    code = "import sys, compress.exporter; assert 'torch' not in sys.modules and 'onnx_ir' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
