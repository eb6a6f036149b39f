"""load_model: from what a recipe says to a model that can be compressed, checked before any work is done on it.

Each kind of source is a module of `compress.models.sources` with `load(source, allow_code) -> LoadedModel`; this one
chooses among them and holds what they return to the same promises.
"""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from compress.errors import ModelError, require
from compress.models.loaded import LoadedModel, class_labels, first_line
from compress.models.source import ModelSource
from compress.models.sources import loader

if TYPE_CHECKING:
    from torch import nn

    from compress.models.layers import Layer

__all__ = ["LoadedModel", "layer_names", "load_model"]


def load_model(source: ModelSource, *, allow_code: bool = False) -> LoadedModel:
    """The model that `source` names, in eval mode and float32, with its preprocessing, labels and licence.

    allow_code lets `factory:` run the user's Python file.

    Raises ModelError for a model that cannot be had (with how to get it), is damaged, holds NaN or infinite weights, or
    does not map float32 [N, 3, H, W] to logits [N, classes]; MissingExtra without torch.
    """
    require("torch", "loading a model", "torch")
    from compress.models.attention import split_attention
    from compress.models.finite import check_finite

    loaded = loader(source.kind)(source, allow_code)
    model = split_attention(loaded.model).float().eval()
    check_finite(model, source.source)
    classes = count_classes(model, loaded.preprocessor.crop, source.source)
    labels = class_labels(source, classes, loaded.labels)
    return dataclasses.replace(loaded, model=model, labels=labels, config={**loaded.config, "num_classes": classes})


def layer_names(source: ModelSource, *, allow_code: bool = False) -> dict[str, Layer]:
    """The convolutions and linear layers by name, their weights not loaded: what selectors can match.

    Built on the meta device, where a weight takes neither time nor memory.  Raises ModelError for an unknown model.
    """
    require("torch", "checking selectors", "torch")
    import torch

    from compress.models.attention import split_attention
    from compress.models.layers import weighted_layers
    from compress.models.saved import open_structure

    # A path: is its architecture; the others are themselves with weights that are never made.
    name = source.architecture if source.kind == "path" and source.architecture else source.source
    blank = ModelSource(name, weights="random", num_classes=source.num_classes)
    # the user's code decides how it makes its weights
    with nullcontext() if blank.kind == "factory" else torch.device("meta"):
        model = split_attention(loader(blank.kind)(blank, allow_code).model)
    directory = Path(source.name).expanduser()
    if source.kind == "path" and directory.is_dir():  # a smaller one of that architecture
        model = open_structure(model, directory)
    return weighted_layers(model)


def count_classes(model: nn.Module, crop: tuple[int, int], where: str) -> int:
    """Run two black images through the model.  Raises ModelError unless it returns logits [2, classes]."""
    import torch

    shape = (2, 3, *crop)
    try:
        with torch.inference_mode():
            output = model(torch.zeros(shape))
    except Exception as error:  # any code may be in there
        raise ModelError(
            f"{where}: the model does not take an input of shape {list(shape)}: {first_line(error)}"
        ) from error
    if not isinstance(output, torch.Tensor):
        raise ModelError(f"{where}: the model returns a {type(output).__name__}: logits [N, classes] are wanted")
    if output.ndim != 2 or output.shape[0] != 2:
        raise ModelError(
            f"{where}: the model returns shape {list(output.shape)} for an input of {list(shape)}: "
            f"logits [2, classes] are wanted"
        )
    return output.shape[1]
