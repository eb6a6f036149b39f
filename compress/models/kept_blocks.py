"""What a pass decided of a model's blocks, on disk after each block: a killed pass goes on behind the last one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compress.errors import ModelError
from compress.files import appearing
from compress.models.activations import QuantizedActivation, quantized_activations, set_activations
from compress.models.blocks import inside
from compress.models.layers import weighted_layers
from compress.models.quantized import as_values, give_values, stored


class KeptBlocks:
    """Files `directory`/NAME.safetensors, one a block, of which each is there whole or not at all.

    Kept are quantized weights, biases, and the grids of activations.  directory: None keeps nothing.
    """

    def __init__(self, model: nn.Module, directory: Path | None) -> None:
        self.model = model
        self.directory = None if directory is None else directory / "blocks"

    def take(self, block: str, generator: torch.Generator | None = None) -> str | None:
        """Give the block what was kept of it, and `generator` its state behind it.

        Returns the note that was kept, or None if nothing was.  Raises ModelError for a file of another model.
        """
        path = self._path(block)
        if path is None or not path.is_file():
            return None
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            told = {key: json.loads(value) for key, value in file.metadata().items()}
            values = {name: file.get_tensor(name) for name in sorted(file.keys())}
        layers = dict(self._layers(block))
        if set(told["weights"]) - set(layers):
            raise ModelError(f"{path}: is of another model: remove the run's directory")
        for name, grid in told["weights"].items():
            give_values(layers[name], name, values, grid, self.model)
        for name, layer in layers.items():
            bias = values.get(f"bias/{name}")
            if bias is not None:
                if layer.bias is None:
                    layer.bias = nn.Parameter(torch.empty_like(bias), requires_grad=False)
                layer.bias.data.copy_(bias)
        if told["activations"]:
            grids = {key: QuantizedActivation(**grid) for key, grid in told["activations"].items()}
            set_activations(self.model, quantized_activations(self.model) | grids)
        if generator is not None:
            generator.set_state(values["generator"])
        note: str = told["note"]
        return note

    def keep(self, block: str, note: str = "", generator: torch.Generator | None = None) -> None:
        """Write what the block is now."""
        path = self._path(block)
        if path is None:
            return
        from safetensors.torch import save_file

        values: dict[str, Tensor] = {} if generator is None else {"generator": generator.get_state()}
        weights = {}
        for name, layer in self._layers(block):
            part = stored(layer)
            if part is not None:
                tensors, weights[name] = as_values(name, part)
                values |= tensors
            if getattr(layer, "bias", None) is not None:
                values[f"bias/{name}"] = layer.bias
        grids = quantized_activations(self.model)
        mine = {key: asdict(grid) for key, grid in grids.items() if inside(key.split(":")[0], block)}
        told = {"note": note, "weights": weights, "activations": mine}
        kept = {name: value.detach().contiguous() for name, value in values.items()}
        with appearing(path) as partial:
            save_file(kept, partial, {key: json.dumps(value) for key, value in told.items()})

    def _path(self, block: str) -> Path | None:
        return None if self.directory is None else self.directory / f"{block or 'model'}.safetensors"

    def _layers(self, block: str) -> Iterator[tuple[str, Any]]:
        for name, layer in weighted_layers(self.model, embeddings=True).items():
            if inside(name, block):
                yield name, layer
