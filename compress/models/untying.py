"""A head that shares its weight with the embedding gets one of its own, and a snapshot's model too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from compress.models.layers import sharing, tied, weighted_layers
from compress.models.paging import is_paged, paged
from compress.models.structure import recording


def head_is_tied(model: Any) -> bool:
    """Whether a language model's head and embedding share their weight."""
    if not hasattr(model, "get_input_embeddings") or model.get_output_embeddings() is None:
        return False
    return model.get_output_embeddings() in sharing(model, model.get_input_embeddings())


def untie_head(model: Any) -> None:
    """Give the head of a language model a copy of the embedding that it shared; the config says so, and the model
    computes the same.

    A T5 with a tied head scales what it reads, one with a head of its own does not: the scale goes into the head.
    """
    head, config = model.get_output_embeddings(), model.config
    with recording(model):
        _give_own(head)
        if getattr(config, "scale_decoder_outputs", False):
            head.weight.data.mul_(config.d_model**-0.5)
            config.scale_decoder_outputs = False
        else:
            config.tie_word_embeddings = False


def untie_saved(model: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Weights of their own for the layers that have some among the saved parameters, and are tied in the model."""
    layers = weighted_layers(model, embeddings=True)
    for name, layer in layers.items():
        if f"{name}.weight" in saved and tied(layers, name)[0] != name:
            _give_own(layer)


def _give_own(layer: nn.Module) -> None:
    weight = layer.weight
    assert isinstance(weight, nn.Parameter)
    values = paged(weight) if is_paged(weight) else weight.detach().clone()
    layer.weight = nn.Parameter(values, requires_grad=weight.requires_grad)
