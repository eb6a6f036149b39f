"""A model's values on disk: what is loaded computes the same, bit for bit, and what is of another shape is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from compress.errors import ModelError
from compress.models.activations import QuantizedActivation, quantized_activations, set_activations
from compress.models.quantized import quantized_weights, set_weight
from compress.models.snapshot import load_snapshot, save_snapshot
from compress.numerics.grid import nearest
from tests.nets import conv_net, images, run

TABLE = {"input": QuantizedActivation(0.1, 17), "act:hardtanh:0": QuantizedActivation(6 / 15, 0, 4)}
KINDS: dict[str, dict[str, object]] = {
    "channel": {},
    "tensor": {"per_tensor": True},
    "affine group": {"symmetric": False, "group_size": 5},
    "integer": {"group_size": 4, "integer_scales": True},
}


def quantized_net(seed: int, kind: str) -> nn.Module:
    model = conv_net(seed)
    for module in (model.conv_stem, model.blocks[1].conv_dw, model.head):
        set_weight(module, nearest(module.weight, 3, **KINDS[kind]))
    set_activations(model, TABLE)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_loaded_is_what_was_saved(kind: str, tmp_path: Path) -> None:
    model = quantized_net(0, kind)
    save_snapshot(model, tmp_path)
    other = conv_net(1)
    load_snapshot(other, tmp_path)
    assert torch.equal(run(other, images()), run(model, images()))
    assert quantized_activations(other) == TABLE
    first, second = model.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) and first[name].dtype == second[name].dtype for name in first)
    for name, weight in quantized_weights(other).items():
        assert (weight.num_bits, weight.group_size) == (3, KINDS[kind].get("group_size")), name


def test_a_snapshot_loads_over_a_model_that_is_quantized_already(tmp_path: Path) -> None:
    model = quantized_net(0, "channel")
    save_snapshot(model, tmp_path)
    other = quantized_net(1, "integer")
    load_snapshot(other, tmp_path)
    assert torch.equal(run(other, images()), run(model, images()))


def test_two_snapshots_of_one_model_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_snapshot(quantized_net(0, "channel"), tmp_path / name)
    for file in ("values.safetensors", "grids.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_float_model_and_a_single_layer_are_models_too(tmp_path: Path) -> None:
    for number, (model, other) in enumerate([(conv_net(0), conv_net(1)), (nn.Linear(3, 2), nn.Linear(3, 2))]):
        if number:
            set_weight(model, nearest(model.weight, 4))
        save_snapshot(model, tmp_path)
        load_snapshot(other, tmp_path)
        x = images() if number == 0 else torch.ones(1, 3)
        assert torch.equal(run(other, x), run(model, x))


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    def tied() -> nn.Module:
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        model[1].weight = model[0].weight
        return model

    model, other = tied(), tied()
    save_snapshot(model, tmp_path)
    load_snapshot(other, tmp_path)
    assert other[1].weight is other[0].weight
    assert torch.equal(other[0].weight, model[0].weight)


def test_a_bias_that_a_pass_gave_is_given_again(tmp_path: Path) -> None:
    model = conv_net()
    model.conv_stem.bias = nn.Parameter(torch.arange(6.0))
    save_snapshot(model, tmp_path)
    other = conv_net(1)
    load_snapshot(other, tmp_path)
    assert torch.equal(run(other, images()), run(model, images()))
    assert isinstance(other.conv_stem.bias, nn.Parameter)


def test_another_structure_is_refused_and_its_first_difference_named(tmp_path: Path) -> None:
    save_snapshot(nn.Sequential(nn.Linear(3, 2)), tmp_path)
    with pytest.raises(ModelError) as caught:
        load_snapshot(nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)), tmp_path)
    assert str(caught.value) == "the saved state is of another structure: 1.bias, 1.weight"
    with pytest.raises(ModelError, match=r"^the saved state is of another structure: 0.bias, 0.weight$"):
        load_snapshot(nn.Sequential(nn.Linear(3, 4)), tmp_path)


def test_nothing_on_disk_is_executable(tmp_path: Path) -> None:
    save_snapshot(quantized_net(0, "channel"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grids.json", "values.safetensors"]
    grids = json.loads((tmp_path / "grids.json").read_text())
    assert grids["weights"]["head.weight"] == {"num_bits": 3, "packing": "planes", "midrise": False}
    assert grids["activations"]["input"] == {"num_bits": 8, "scale": 0.1, "zero_point": 17}
