"""What every loaded model is held to, whatever it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from compress.data.imagenet import imagenet_labels
from compress.errors import MissingExtra, ModelError
from compress.models.layers import weighted_layers
from compress.models.load import layer_names, load_model
from compress.models.source import ModelSource

FACTORY = """
import torch
from torch import nn
from compress.data.preprocess import Preprocessor

SMALL = Preprocessor(resize=8, crop=(8, 8))

class Returns(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.fc = nn.Linear(1, 1)
        self.make = make
    def forward(self, x):
        return self.make(x)

def dictionary(): return Returns(lambda x: {"logits": x}), SMALL
def feature_map(): return Returns(lambda x: x), SMALL
def one_row(): return Returns(lambda x: torch.zeros(1, 10)), SMALL
def flat(): return nn.Sequential(nn.Flatten(), nn.Linear(12, 4)), SMALL
def half(): return nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).half().train(), SMALL
"""


@pytest.fixture
def factory(tmp_path: Path) -> Any:
    (tmp_path / "models.py").write_text(FACTORY)
    return lambda function, **options: load_model(
        ModelSource(f"factory:{tmp_path}/models.py:{function}", **options), allow_code=True
    )


@pytest.mark.parametrize(
    ("source", "side", "classes"),
    [
        ("timm:resnet10t", 176, 1000),
        ("timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k", 224, 1000),
        ("torchvision:mobilenet_v2", 224, 1000),
        ("torchvision:resnet18", 224, 1000),
        ("package:efficientnet-lite0", 224, 1000),
        ("cifar:resnet20", 32, 10),
    ],
)
def test_random_weights_come_from_the_seed_and_are_labelled_so(source: str, side: int, classes: int) -> None:
    loaded = load_model(ModelSource(source, weights="random", seed=3))
    assert (loaded.random_weights, loaded.licence) == (True, None)
    assert loaded.preprocessor.crop == (side, side)
    assert (len(loaded.labels), loaded.config["num_classes"]) == (classes, classes)
    assert not any(module.training for module in loaded.model.modules())
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    state = torch.random.get_rng_state()
    again, other = (load_model(ModelSource(source, weights="random", seed=seed)).model for seed in (3, 4))
    assert torch.equal(state, torch.random.get_rng_state())
    first, second, third = (next(model.parameters()) for model in (loaded.model, again, other))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


@pytest.mark.parametrize(
    "source",
    [
        "timm:resnet10t",
        "timm:vit_tiny_patch16_224",
        "torchvision:mobilenet_v2",
        "torchvision:vit_b_16",
        "cifar:resnet20",
    ],
)
def test_layer_names_are_those_of_the_loaded_model_and_cost_no_memory(source: str) -> None:
    layers = layer_names(ModelSource(source))
    assert {p.device.type for layer in layers.values() for p in layer.parameters()} == {"meta"}
    if source != "torchvision:vit_b_16":  # 350 MB
        assert list(layers) == list(weighted_layers(load_model(ModelSource(source, weights="random")).model))


def test_layer_names_of_a_path_are_its_architectures() -> None:
    source = ModelSource("path:not-there.safetensors", architecture="cifar:resnet20", num_classes=7)
    assert list(layer_names(source))[-1] == "linear"
    assert layer_names(source)["linear"].weight.shape == (7, 64)


def test_num_classes_and_labels() -> None:
    three = ModelSource("timm:resnet10t", weights="random", num_classes=3)
    assert load_model(three).labels == ("class 0", "class 1", "class 2")
    assert load_model(ModelSource("torchvision:resnet18", weights="random")).labels == imagenet_labels()


def test_labels_from_a_list_or_a_file(tmp_path: Path) -> None:
    names = tuple("abcdefghij")
    (tmp_path / "labels.txt").write_text("\n".join(names) + "\n\n", encoding="utf-8")
    (tmp_path / "latin.txt").write_bytes(b"\xe9t\xe9")
    for labels in (names, f"{tmp_path}/labels.txt"):
        assert load_model(ModelSource("cifar:resnet20", weights="random", labels=labels)).labels == names
    for labels, message in (
        (names[:9], "labels has 9 names, but the model has 10 classes"),
        (f"{tmp_path}/gone.txt", "gone.txt cannot be read as text"),
        (f"{tmp_path}/latin.txt", "latin.txt cannot be read as text"),
    ):
        with pytest.raises(ModelError, match=message):
            load_model(ModelSource("cifar:resnet20", weights="random", labels=labels))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("timm:resnt18", "unknown timm model 'resnt18': did you mean 'resnet18' or"),
        ("timm:resnet18.a9_in1k", "unknown timm model 'resnet18.a9_in1k': did you mean 'resnet18."),
        ("torchvision:resnet19", "unknown torchvision model 'resnet19': did you mean 'resnet18' or"),
        ("torchvision:fcn_resnet50", "unknown torchvision model 'fcn_resnet50'"),
        ("timm:qqqqqqqq", "unknown timm model 'qqqqqqqq': it has"),
        ("package:efficientnet-lite9", "unknown package 'efficientnet-lite9': did you mean 'efficientnet-lite"),
        ("cifar:resnet21", "unknown cifar model 'resnet21'"),
        ("tim:resnet18", "unknown kind of model 'tim': did you mean 'timm'?"),
    ],
)
def test_unknown_models_name_the_nearest(source: str, message: str) -> None:
    for call in (load_model, layer_names):
        with pytest.raises(ModelError) as error:
            call(ModelSource(source, weights="random"))
        assert message in str(error.value)


def test_a_network_without_weights_of_its_own_says_where_to_put_them() -> None:
    with pytest.raises(
        ModelError, match=r"write path:FILE\.safetensors with architecture: cifar:resnet20, or weights: ran"
    ):
        load_model(ModelSource("cifar:resnet20"))


def test_a_feature_extractor_is_not_taken_for_a_classifier() -> None:
    with pytest.raises(ModelError, match="gives features, not classes: it is not an image classifier"):
        load_model(ModelSource("timm:vit_small_patch14_dinov2", weights="random"))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("dictionary", "the model returns a dict: logits"),
        (
            "feature_map",
            r"returns shape \[2, 3, 8, 8\] for an input of \[2, 3, 8, 8\]: logits \[2, classes\] are wanted",
        ),
        ("one_row", r"returns shape \[1, 10\]"),
        ("flat", r"does not take an input of shape \[2, 3, 8, 8\]: mat1 and mat2 shapes"),
    ],
)
def test_a_model_that_is_no_classifier_is_a_model_error(factory: Any, function: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        factory(function)


def test_models_are_brought_to_float32_and_eval_mode(factory: Any) -> None:
    model = factory("half").model
    assert not model.training
    assert next(model.parameters()).dtype == torch.float32


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.errors.importlib.util.find_spec", lambda name: None)


@pytest.mark.usefixtures("no_torch")
def test_without_torch_the_extra_is_named() -> None:
    with pytest.raises(MissingExtra, match=r"loading a model needs an extra: pip install 'compress-toolkit\[torch\]'"):
        load_model(ModelSource("cifar:resnet20", weights="random"))
    with pytest.raises(MissingExtra, match=r"\[torch\]"):
        layer_names(ModelSource("cifar:resnet20"))
