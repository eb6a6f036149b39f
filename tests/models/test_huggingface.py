"""Image classifiers of transformers, small ones, from folders that they were saved in."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from compress.data.preprocess import Preprocessor
from compress.errors import ModelError
from compress.models.load import layer_names, load_model
from compress.models.source import ModelSource

transformers = pytest.importorskip("transformers")


@pytest.fixture
def save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A ResNet of 3 classes in the folder `model` of the working directory."""
    monkeypatch.chdir(tmp_path)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()

    def make(processor: Any = None, kind: str = "ResNetForImageClassification") -> Any:
        config = transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", id2label={0: "a", 1: "b", 2: "c"}
        )
        torch.manual_seed(0)
        model = getattr(transformers, kind)(config).eval()
        model.save_pretrained("model")
        size = {"height": 32, "width": 32}
        (processor or transformers.BitImageProcessor(size={"shortest_edge": 36}, crop_size=size)).save_pretrained(
            "model"
        )
        return model

    return make


def test_a_classifier_returns_its_logits_under_its_own_names(save: Any) -> None:
    original = save()
    Path("model/README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    loaded = load_model(ModelSource("hf:model"))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded.model(images), original(images).logits)
        assert torch.equal(copy.deepcopy(loaded.model)(images), original(images).logits)
    assert list(loaded.model.state_dict()) == list(original.state_dict())
    assert isinstance(loaded.model, type(original))
    assert (loaded.labels, loaded.licence, loaded.random_weights) == (("a", "b", "c"), "mit", False)
    assert (loaded.preprocessor.resize, loaded.preprocessor.crop, loaded.preprocessor.crop_rounding) == (
        36,
        (32, 32),
        "down",
    )
    assert loaded.config == {"architecture": "ResNetForImageClassification", "model_type": "resnet", "num_classes": 3}
    layers = layer_names(ModelSource("hf:model"))
    assert next(iter(layers)) == "resnet.embedder.embedder.convolution"
    assert {p.device.type for layer in layers.values() for p in layer.parameters()} == {"meta"}


def test_random_weights_take_the_config_alone(save: Any) -> None:
    save()
    Path("model/model.safetensors").unlink()
    loaded = load_model(ModelSource("hf:model", weights="random", num_classes=7, seed=1))
    assert (loaded.random_weights, len(loaded.labels), loaded.licence) == (True, 7, None)


def test_pretrained_weights_keep_their_classes(save: Any) -> None:
    save()
    with pytest.raises(ModelError, match="pretrained weights have 3 classes, num_classes is 7"):
        load_model(ModelSource("hf:model", num_classes=7))


def test_a_model_without_a_head_is_no_classifier(save: Any) -> None:
    save(kind="ResNetModel")
    with pytest.raises(ModelError, match=r"hf:model has no weights for .*: it is not a finished image classifier"):
        load_model(ModelSource("hf:model"))


def test_damaged_weights_are_a_model_error(save: Any) -> None:
    save()
    weights = Path("model/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:3000])
    with pytest.raises(ModelError, match=r"^hf:model: "):
        load_model(ModelSource("hf:model"))


def test_a_model_of_another_task_is_a_model_error(save: Any) -> None:
    config = transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    transformers.BertModel(config).save_pretrained("model")
    with pytest.raises(ModelError, match="hf:model: Unrecognized configuration class"):
        load_model(ModelSource("hf:model"))


def test_a_folder_without_a_config_is_told(save: Any) -> None:
    Path("model").mkdir()
    with pytest.raises(ModelError, match=r"hf:model: there is no file model/config\.json"):
        load_model(ModelSource("hf:model"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("MobileViTImageProcessor", "do_flip_channel_order: true, which cannot be expressed"),
        ("LevitImageProcessor", "what its LevitImageProcessor does to images cannot be expressed"),
    ],
)
def test_preprocessing_that_cannot_be_kept_is_a_model_error(save: Any, name: str, message: str) -> None:
    size = {"height": 64, "width": 64}
    save(getattr(transformers, name)(size={"shortest_edge": 64}, crop_size=size))
    with pytest.raises(ModelError, match=message):
        load_model(ModelSource("hf:model"))


def test_a_repository_of_timm_is_loaded_by_timm(save: Any) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=3).eval()
    timm.models.save_for_hf(model, "model", model_config={"label_names": ["x", "y", "z"]})
    assert "model_type" not in json.loads(Path("model/config.json").read_text())
    loaded = load_model(ModelSource("hf:model"))
    assert torch.equal(loaded.model.fc.weight, model.fc.weight)
    assert loaded.labels == ("x", "y", "z")
    assert loaded.preprocessor == Preprocessor(resize=201, crop=(176, 176))
