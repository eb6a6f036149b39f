"""A model's values on disk, without pickle: parameters and buffers, quantized weights, activation grids.

The structure is not saved: a resumed run rebuilds it (`Pass.restructure`) and loads the values into it.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from torch import Tensor, nn

from compress.errors import ModelError
from compress.models.quantized import (
    QuantizedActivation,
    original_weight,
    quantized_activations,
    quantized_weights,
    set_activations,
    set_weight,
)
from compress.numerics.weight import QuantizedWeight

PARTS = ("codes", "scales", "zero_points", "multipliers")


def save_snapshot(model: nn.Module, directory: Path) -> None:
    """Write `values.safetensors` and `grids.json` into `directory`, which exists."""
    from safetensors.torch import save_file

    weights = quantized_weights(model)
    values = {f"value/{name}": value.contiguous() for name, value in _float_state(model).items()}
    for name, weight in weights.items():
        parts = {part: getattr(weight, part) for part in PARTS}
        values |= {f"{part}/{name}": value.contiguous() for part, value in parts.items() if value is not None}
    save_file({name: value.detach().clone() for name, value in values.items()}, directory / "values.safetensors")
    grids = {
        "weights": {name: [weight.num_bits, weight.group_size] for name, weight in weights.items()},
        "activations": {key: asdict(grid) for key, grid in quantized_activations(model).items()},
    }
    (directory / "grids.json").write_text(json.dumps(grids, indent=1, sort_keys=True), encoding="utf-8")


def load_snapshot(model: nn.Module, directory: Path) -> None:
    """Give `model`, of the structure that was saved, the saved values and grids.

    Raises ModelError if the structure is another.
    """
    from safetensors.torch import load_file

    values = load_file(directory / "values.safetensors")
    grids = json.loads((directory / "grids.json").read_text(encoding="utf-8"))
    state = _float_state(model)
    saved = {name.removeprefix("value/"): value for name, value in values.items() if name.startswith("value/")}
    if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in saved.items()}:
        different = sorted(set(state) ^ set(saved)) or sorted(k for k in state if state[k].shape != saved[k].shape)
        raise ModelError(f"the saved state is of another structure: {', '.join(different[:3])}")
    for name, value in saved.items():
        state[name].data.copy_(value)
    for name, (num_bits, group_size) in grids["weights"].items():
        parts = [values.get(f"{part}/{name}") for part in PARTS]
        weight = QuantizedWeight(*parts, num_bits, group_size)  # type: ignore[arg-type]
        set_weight(model.get_submodule(name.removesuffix(".weight")), weight)
    if grids["activations"]:
        set_activations(model, {key: QuantizedActivation(**grid) for key, grid in grids["activations"].items()})


def _float_state(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by the names they have without parametrizations, quantized weights as their originals."""
    state = {name: value for name, value in model.state_dict(keep_vars=True).items() if ".parametrizations." not in name}
    originals = {name: original_weight(model.get_submodule(name.removesuffix(".weight"))) for name in quantized_weights(model)}
    # a root that is itself a layer has names without a dot
    return {name: value for name, value in (state | originals).items() if not name.startswith("parametrizations.")}
