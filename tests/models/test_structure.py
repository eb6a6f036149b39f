"""Structure as data: what was made smaller is written, and a model as it was first built becomes the same."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from compress.errors import ArtefactError, ModelError
from compress.models.load import layer_names, load_model
from compress.models.quantized import set_weight
from compress.models.resnet_cifar import CifarResNet
from compress.models.saved import open_model, save_model
from compress.models.snapshot import load_snapshot, save_snapshot
from compress.models.source import ModelSource
from compress.models.structure import first_size, keep_items, num_removed, recording, restructure, structure_of
from compress.numerics.grid import nearest
from tests.nets import images, lively, run


def resnet(seed: int = 0) -> nn.Module:
    """Three blocks a stage."""
    return lively(CifarResNet(3), seed)


def halve(model: nn.Module) -> None:
    """The first block of the first stage computes with 8 inner channels, the second one is gone."""
    with recording(model):
        keep_items(model.layer1, [0, 2])
        block = model.layer1[0]
        block.conv1.weight = nn.Parameter(block.conv1.weight[:8].detach())
        block.conv1.out_channels = 8
        block.bn1 = cut_norm(block.bn1)
        block.conv2.weight = nn.Parameter(block.conv2.weight[:, :8].detach())
        block.conv2.in_channels = 8


def cut_norm(norm: nn.Module) -> nn.Module:
    norm.weight, norm.bias = nn.Parameter(norm.weight[:8].detach()), nn.Parameter(norm.bias[:8].detach())
    norm.running_mean, norm.running_var, norm.num_features = norm.running_mean[:8], norm.running_var[:8], 8
    return norm


@pytest.fixture
def smaller() -> nn.Module:
    model = resnet()
    halve(model)
    return model


def x() -> torch.Tensor:
    return images(4, 32)


def test_only_what_differs_is_written(smaller: nn.Module) -> None:
    assert structure_of(resnet()) == {}
    found = structure_of(smaller)
    assert set(found) == {"layer1", "layer1.0.conv1", "layer1.0.bn1", "layer1.0.conv2"}
    assert found["layer1"] == {"items": [0, 2], "num_items": 3}
    assert found["layer1.0.conv1"] == {
        "integers": {"out_channels": 8},
        "first": {"out_channels": 16},
        "shapes": {"weight": [8, 16, 3, 3]},
    }
    assert (first_size(smaller.layer1[0].conv1, "out_channels"), num_removed(smaller)) == (16, 1)
    assert first_size(smaller.layer1[1].conv1, "out_channels") == 16


def test_it_survives_json_and_copies_and_the_fresh_model_becomes_the_same(smaller: nn.Module) -> None:
    structure = json.loads(json.dumps(structure_of(copy.deepcopy(smaller))))
    fresh = restructure(resnet(1), structure)
    fresh.load_state_dict(smaller.state_dict())
    assert torch.equal(run(fresh, x()), run(smaller, x()))
    assert structure_of(fresh) == structure_of(smaller)


def test_what_is_taken_away_twice_is_told_of_the_first_model(smaller: nn.Module) -> None:
    with recording(smaller):
        keep_items(smaller.layer1, [1])
    assert structure_of(smaller)["layer1"] == {"items": [2], "num_items": 3}
    halfway = resnet()
    halve(halfway)
    restructure(halfway, structure_of(smaller))
    assert len(halfway.layer1) == 1
    assert halfway.layer1[0].conv1.out_channels == 16


def test_a_model_on_the_meta_device_takes_a_structure(smaller: nn.Module) -> None:
    with torch.device("meta"):
        blank = CifarResNet(3)
    restructure(blank, structure_of(smaller))
    assert {k: v.shape for k, v in blank.state_dict().items()} == {k: v.shape for k, v in smaller.state_dict().items()}


def test_tied_weights_stay_tied() -> None:
    def tied() -> nn.Module:
        model = nn.ModuleDict({"a": nn.Linear(3, 4), "b": nn.Linear(3, 4)})
        model["b"].weight = model["a"].weight
        return model

    model = tied()
    with recording(model):
        model["a"].weight = model["b"].weight = nn.Parameter(torch.ones(2, 3))
        model["a"].out_features = model["b"].out_features = 2
    fresh = restructure(tied(), structure_of(model))
    assert fresh["a"].weight is fresh["b"].weight
    assert fresh["a"].weight.shape == (2, 3)


def test_a_structure_of_another_model_is_refused(smaller: nn.Module) -> None:
    with pytest.raises(ModelError, match=r"^the saved structure has 'layer1', and the model has no such part$"):
        restructure(nn.Linear(2, 2), structure_of(smaller))
    with pytest.raises(ModelError, match=r"^the saved structure keeps item 2 of 'layer1', and the model has no such"):
        restructure(CifarResNet(2), structure_of(smaller))


def test_a_snapshot_carries_the_structure_and_what_later_passes_did(smaller: nn.Module, tmp_path: Path) -> None:
    smaller.layer1[0].conv1.bias = nn.Parameter(torch.arange(8.0))  # as after folding
    set_weight(smaller.layer1[0].conv2, nearest(smaller.layer1[0].conv2.weight, 4))
    save_snapshot(smaller, tmp_path)
    resumed = resnet(1)
    resumed.layer1[0].conv1.bias = nn.Parameter(torch.zeros(16))
    load_snapshot(resumed, tmp_path)
    assert torch.equal(run(resumed, x()), run(smaller, x()))
    assert structure_of(resumed) == structure_of(smaller)


def test_a_saved_model_opens_again_as_a_function_and_as_a_source(smaller: nn.Module, tmp_path: Path) -> None:
    directory = tmp_path / "smaller-0.5"
    save_model(smaller, directory)
    assert sorted(path.name for path in directory.iterdir()) == ["config.json", "model.safetensors"]
    assert torch.equal(run(open_model(resnet(1), directory), x()), run(smaller, x()))
    source = ModelSource(f"path:{directory}/", architecture="cifar:resnet20")
    assert source.problems("image_classification") == []
    loaded = load_model(source)
    assert torch.equal(run(loaded.model, x()), run(smaller, x()))
    assert not loaded.random_weights
    assert "smaller-0.5" in loaded.description
    names = layer_names(source)
    assert "layer1.2.conv1" not in names
    assert names["layer1.0.conv1"].out_channels == 8


def test_it_opens_without_a_pruner(smaller: nn.Module, tmp_path: Path) -> None:
    save_model(smaller, tmp_path / "m")
    code = (
        "import sys; sys.modules['torch_pruning'] = None\n"
        "from compress.models.load import load_model\n"
        "from compress.models.source import ModelSource\n"
        "model = load_model(ModelSource(sys.argv[1], architecture='cifar:resnet20')).model\n"
        "print(model.layer1[0].conv1.out_channels, len(model.layer1))"
    )
    done = subprocess.run([sys.executable, "-c", code, f"path:{tmp_path / 'm'}"], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("8 2", 0), done.stderr


def test_what_cannot_be_saved_or_opened_is_told(smaller: nn.Module, tmp_path: Path) -> None:
    save_model(smaller, tmp_path / "a")
    with pytest.raises(ArtefactError, match="a: holds a model already: name another directory"):
        save_model(smaller, tmp_path / "a")
    with pytest.raises(ModelError, match="a does not fit the architecture: the saved structure has 'layer1'"):
        open_model(nn.Linear(2, 2), tmp_path / "a")
    save_model(resnet(), tmp_path / "whole")
    (tmp_path / "whole" / "model.safetensors").write_bytes((tmp_path / "a" / "model.safetensors").read_bytes())
    with pytest.raises(ModelError, match=r"does not fit the architecture: 10 weights are missing: layer1\.2"):
        open_model(resnet(), tmp_path / "whole")
    (tmp_path / "b").mkdir()
    for text, told in ((None, "there is no file"), ("{", "is damaged"), ("{}", "describes no structure")):
        if text is not None:
            (tmp_path / "b" / "config.json").write_text(text)
        with pytest.raises(ModelError, match=told):
            open_model(resnet(), tmp_path / "b")
    set_weight(smaller.linear, nearest(smaller.linear.weight, 4))
    with pytest.raises(ModelError, match="the model is quantized, and only float models are saved so"):
        save_model(smaller, tmp_path / "c")
