"""Weights from local files: whole, damaged, and hostile."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from compress.errors import ModelError
from compress.models.load import load_model
from compress.models.resnet_cifar import CifarResNet
from compress.models.source import ModelSource
from compress.models.sources.path import read_state_dict
from compress.tasks.base import predict
from compress.tasks.image_classification import ImageClassification


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return CifarResNet(3).state_dict()


def load(path: Path, **options: Any) -> Any:
    return load_model(ModelSource(f"path:{path}", architecture="cifar:resnet20", **options))


def same(model: torch.nn.Module, state: dict[str, torch.Tensor]) -> bool:
    own = model.state_dict()
    return all(torch.equal(own[name], tensor.to(own[name].dtype)) for name, tensor in state.items())


def test_safetensors_and_pickles_of_tensors_load(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(state, tmp_path / "a.safetensors", {"license": "mit"})
    torch.save(state, tmp_path / "a.pth")
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, tmp_path / "a.pt")
    for name in ("a.safetensors", "a.pth", "a.pt"):
        loaded = load(tmp_path / name)
        assert same(loaded.model, state), name
        assert (loaded.random_weights, loaded.labels[0]) == (False, "airplane")
        assert loaded.description == f"{name} (CIFAR resnet20 (He et al. 2015))"
        assert loaded.licence == ("mit" if name == "a.safetensors" else None)


def test_half_precision_is_read_as_float32(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    halves = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    save_file(halves, tmp_path / "a.safetensors")
    model = load(tmp_path / "a.safetensors").model
    assert same(model, halves)
    assert model.conv1.weight.dtype == torch.float32


def test_another_number_of_classes_is_loaded_into_another_head(tmp_path: Path) -> None:
    save_file(CifarResNet(3, 4).state_dict(), tmp_path / "a.safetensors")
    assert len(load(tmp_path / "a.safetensors", num_classes=4).labels) == 4
    with pytest.raises(ModelError, match=r"2 have another shape: 'linear.weight' is \[4, 64\], \[10, 64\] in the arch"):
        load(tmp_path / "a.safetensors")


def test_what_does_not_fit_is_listed(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    del state["conv1.weight"], state["bn1.num_batches_tracked"]
    state |= {f"head.{i}": torch.zeros(1) for i in range(5)}
    state["linear.bias"] = torch.zeros(10, dtype=torch.int8)
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(ModelError) as error:
        load(tmp_path / "a.safetensors")
    assert str(error.value) == (
        f"{tmp_path}/a.safetensors does not fit the architecture: 1 weights are missing: conv1.weight; "
        f"5 are not the architecture's: head.0, head.1, head.2, …; "
        f"1 are not floating point: 'linear.bias' holds torch.int8"
    )


def test_nan_weights_are_named(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    state["layer2.1.conv1.weight"][3, 0] = float("nan")
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match=r"9 of the 9216 values of 'layer2\.1\.conv1\.weight' are NaN or infinite"):
        load(tmp_path / "a.safetensors")


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_pickle_bomb_is_refused_and_does_not_go_off(tmp_path: Path) -> None:
    torch.save({"conv1.weight": Bomb(tmp_path / "boom")}, tmp_path / "a.pth")
    (tmp_path / "b.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    for name in ("a.pth", "b.bin"):
        with pytest.raises(
            ModelError, match=rf"{name} holds more than tensors, and reading that could run any code: ref"
        ):
            load(tmp_path / name)
    assert not (tmp_path / "boom").exists()


def test_damaged_files_are_a_model_error(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "a.pth")
    for suffix, message in ((".safetensors", "not a safetensors file"), (".pth", r"not a file of torch\.save")):
        whole = (tmp_path / f"a{suffix}").read_bytes()
        for content in (whole[: len(whole) // 2], b"", b"hello" * 99):
            (tmp_path / f"b{suffix}").write_bytes(content)
            with pytest.raises(ModelError, match=rf"b{suffix} is damaged or {message} \({len(content)} bytes\)"):
                load(tmp_path / f"b{suffix}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list, not a state_dict"),
        ({}, "holds a dict, not a state_dict"),
        ({"a": torch.zeros(1), "epoch": 3}, "is not a state_dict: epoch are not tensors"),
    ],
)
def test_what_is_no_state_dict_is_told(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ModelError, match=message):
        read_state_dict(tmp_path / "a.pth")


def test_missing_files_other_formats_and_missing_architectures(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"")
    for source, message in (
        (ModelSource(f"path:{tmp_path}/no.safetensors", architecture="cifar:resnet20"), "there is no file"),
        (ModelSource(f"path:{tmp_path}/a.onnx", architecture="cifar:resnet20"), "weights are read from .safetensors,"),
        (
            ModelSource(f"path:{tmp_path}/a.pth"),
            "a file of weights needs its network: write architecture: timm:resnet18",
        ),
        (ModelSource(f"path:{tmp_path}/a.pth", architecture="path:b.pth"), "there is no file"),
    ):
        with pytest.raises(ModelError, match=message):
            load_model(source)


@pytest.mark.parametrize(("name", "blocks"), [("resnet20", 3), pytest.param("resnet56", 9, marks=pytest.mark.slow)])
def test_the_cifar_resnets_reach_their_accuracy(assets: Path, name: str, blocks: int) -> None:
    known = json.loads((assets / "resnets.json").read_text())[f"{name}-cifar10"]
    loaded = load_model(ModelSource(f"path:{assets}/{name}-cifar10.safetensors", architecture=f"cifar:{name}"))
    assert sum(p.numel() for p in loaded.model.parameters()) == known["parameters"]
    dataset = f"parquet:{assets}/cifar10-test.parquet[0:500]"
    task = ImageClassification(loaded.preprocessor, 10, dataset=dataset, batch_size=100, labels=loaded.labels)
    with torch.inference_mode():
        outputs, labels = predict(lambda x: loaded.model(torch.from_numpy(x)).numpy(), task.evaluation())
    top1 = task.score(outputs, labels)["top1"]
    assert top1.low < known["test_accuracy"] < top1.high
    assert top1.value == pytest.approx(known["test_accuracy"], abs=0.03)  # 1.4 points: the deviation of 500 images
