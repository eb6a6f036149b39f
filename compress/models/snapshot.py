"""A model's values on disk, without pickle: parameters and buffers, masks, quantized weights, activation grids.

Of the structure only what passes made smaller is saved (`compress.models.structure`); the rest a resumed run rebuilds
(`Pass.restructure`) before it loads the values.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from compress.errors import ModelError
from compress.models.activations import QuantizedActivation, quantized_activations, set_activations
from compress.models.dynamic import add_dynamic_layers, dynamic_layers
from compress.models.layers import raw_weight, weighted_layers
from compress.models.low_rank import give_ranks
from compress.models.masks import masks, set_mask
from compress.models.quantized import StoredWeight, as_values, give_values, quantized_weights, stored
from compress.models.structure import restructure, structure_of
from compress.models.untying import untie_saved
from compress.models.vocabulary import KEPT, keep_tokens, kept_tokens


def save_snapshot(model: nn.Module, directory: Path) -> None:
    """Write `values.safetensors` and `grids.json` into `directory`, which exists."""
    from safetensors.torch import save_file

    values = {f"value/{name}": value for name, value in _float_state(model).items()}
    grids_of_weights = {}
    for name in quantized_weights(model):
        tensors, grids_of_weights[name] = as_values(name, _stored(model, name))
        values |= tensors
    values |= {f"mask/{name}": mask for name, mask in masks(model).items()}
    save_file({name: _alone(value) for name, value in values.items()}, directory / "values.safetensors")
    grids = {
        "weights": grids_of_weights,
        "activations": {key: asdict(grid) for key, grid in quantized_activations(model).items()},
        "dynamic": sorted(dynamic_layers(model)),
        "structure": structure_of(model),
    }
    (directory / "grids.json").write_text(json.dumps(grids, indent=1, sort_keys=True), encoding="utf-8")


def _alone(value: Tensor) -> Tensor:
    """The value in memory that no other tensor shares, as files want it; itself, if it is so already."""
    value = value.detach().contiguous()
    return value if value.untyped_storage().nbytes() == value.nbytes else value.clone()


def load_snapshot(model: nn.Module, directory: Path) -> None:
    """Give `model`, of the structure that was saved, the saved values and grids.

    A layer without a bias gets the one that a pass gave it, what passes took away (tokens, channels, heads, blocks) is
    taken away, layers that a pass factorized get their ranks, and a head that it untied gets a weight of its own.
    Raises ModelError if the structure is another.
    """
    from safetensors.torch import load_file

    values = load_file(directory / "values.safetensors")
    grids = json.loads((directory / "grids.json").read_text(encoding="utf-8"))
    saved = {name.removeprefix("value/"): value for name, value in values.items() if name.startswith("value/")}
    if KEPT in saved and kept_tokens(model) is None:
        keep_tokens(model, saved[KEPT])
    restructure(model, grids["structure"])
    give_ranks(model, saved)
    untie_saved(model, saved)
    for name, layer in weighted_layers(model).items():
        bias = saved.get(f"{name}.bias".removeprefix("."))
        if layer.bias is None and bias is not None:
            layer.bias = nn.Parameter(torch.empty_like(bias), requires_grad=False)
    state = _float_state(model)
    if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in saved.items()}:
        different = sorted(set(state) ^ set(saved)) or sorted(k for k in state if state[k].shape != saved[k].shape)
        raise ModelError(f"the saved state is of another structure: {', '.join(different[:3])}")
    for name, mask in values.items():
        if name.startswith("mask/"):
            module = model.get_submodule(name.removeprefix("mask/").removesuffix("weight").removesuffix("."))
            set_mask(module, mask, model)
    for name, value in saved.items():
        state[name].data.copy_(value)
    for name, grid in grids["weights"].items():
        give_values(model.get_submodule(name.removesuffix(".weight")), name, values, grid, model)
    add_dynamic_layers(model, grids["dynamic"])
    if grids["activations"]:
        set_activations(model, {key: QuantizedActivation(**grid) for key, grid in grids["activations"].items()})


def _stored(model: nn.Module, name: str) -> StoredWeight:
    part = stored(model.get_submodule(name.removesuffix(".weight")))
    assert part is not None
    return part


def _float_state(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by the names they have without parametrizations; quantized and pruned weights as their
    originals.

    A tensor that has several names (a tied weight) is there once, under the first.
    """
    state = model.state_dict(keep_vars=True)
    floats = {name: value for name, value in state.items() if "parametrizations" not in name.split(".")}
    # a root that is itself a layer has names without a dot
    for name, module in model.named_modules():
        original = raw_weight(module)
        if original is not None and parametrize.is_parametrized(module, "weight"):
            floats[f"{name}.weight".removeprefix(".")] = original
    order = {f"{name}.weight".removeprefix("."): place for place, (name, _) in enumerate(model.named_modules())}
    once: dict[int, str] = {}
    for name in sorted(floats, key=lambda name: order.get(name, -1)):
        once.setdefault(id(floats[name]), name)
    return {name: floats[name] for name in once.values()}
