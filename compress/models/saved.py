"""A model that passes made smaller, as a directory: its structure beside its weights.  To open it takes the model that
it was made from, as it was first built, and neither the passes nor a pruner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from compress.errors import ArtefactError, ModelError
from compress.models.activations import quantized_activations
from compress.models.quantized import quantized_weights
from compress.models.sources.path import WEIGHTS
from compress.models.structure import restructure, structure_of

CONFIG = "config.json"
FORMAT = "compress-structure"  # what config.json calls itself


def save_model(model: nn.Module, directory: str | Path) -> None:
    """Write a float model into `directory`: `config.json` (its structure) and `model.safetensors` (its state dict).

    Raises ModelError for one that is quantized (export that), and ArtefactError if there is a model already.
    """
    from safetensors.torch import save_file

    directory = Path(directory)
    if quantized_weights(model) or quantized_activations(model):
        raise ModelError(f"{directory}: the model is quantized, and only float models are saved so: save it before")
    if (directory / CONFIG).exists() or (directory / WEIGHTS).exists():
        raise ArtefactError(f"{directory}: holds a model already: name another directory")
    directory.mkdir(parents=True, exist_ok=True)
    config = {"format": FORMAT, "structure": structure_of(model)}
    # safetensors wants memory of its own for each name, also of weights that are tied
    state = {name: value.detach().contiguous().clone() for name, value in model.state_dict().items()}
    save_file(state, directory / WEIGHTS)
    (directory / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def open_model(base_model: nn.Module, directory: str | Path) -> nn.Module:
    """`base_model`, the network as it was first built, brought into the saved structure with the saved weights.

    Raises ModelError for a directory that holds no such model, or one of another network.
    """
    from compress.models.sources.path import fill, read_state_dict

    directory = Path(directory)
    model = open_structure(base_model, directory)
    fill(model, read_state_dict(directory / WEIGHTS), str(directory))
    return model


def open_structure(base_model: nn.Module, directory: Path) -> nn.Module:
    """`base_model` in the saved structure, its values what they may be."""
    structure = read_structure(directory)
    try:
        return restructure(base_model, structure)
    except ModelError as error:
        raise ModelError(f"{directory} does not fit the architecture: {error}") from error


def read_structure(directory: Path) -> Any:
    """Raises ModelError for a directory that `save_model` did not write."""
    file = directory / CONFIG
    if not file.is_file():
        raise ModelError(f"there is no file {file}: a directory of a smaller model is written by save_model")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{file} is damaged: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT or not isinstance(config.get("structure"), dict):
        raise ModelError(f"{file} describes no structure: a directory of a smaller model is written by save_model")
    return config["structure"]
