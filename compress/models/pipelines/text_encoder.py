"""A CLIPTextModel of transformers as a function of tensors, from its config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from compress.errors import ModelError
from compress.models.loaded import told

MODEL_TYPES = ("clip_text_model", "clip")
_PREFIX = "text_model."  # of the names in files; the model itself has it no more


def blank_text_encoder(config: Mapping[str, Any], where: str) -> Any:
    """The model on the meta device, without weights.

    Its forward is input_ids [N, L], of any L up to the config's → the last layer's states, normed [N, L, D].
    Raises ModelError for a config that transformers does not take, or of another model.
    """
    from transformers import CLIPTextConfig, CLIPTextModel

    kind = config.get("model_type", MODEL_TYPES[0])
    if kind not in MODEL_TYPES:
        raise ModelError(f"{where}: model_type is {kind}: only CLIPTextModel of transformers can be compressed here")
    settings = {key: value for key, value in config.items() if key not in ("model_type", "torch_dtype", "dtype")}
    with told(where):
        known = CLIPTextConfig(**settings, attn_implementation="eager")
        with torch.device("meta"):
            model = CLIPTextModel(known)
    return _gives_states(model).eval()


def numbered(model: Any) -> Any:
    """The model, taken from the meta device, with the numbers of its positions, which no file holds."""
    places = model.embeddings.position_ids
    places.copy_(torch.arange(places.shape[-1])[None])
    return model


def text_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A CLIPTextModel's weights under the names that they have now."""
    return {
        name.removeprefix(_PREFIX): value
        for name, value in state.items()
        if not name.endswith("embeddings.position_ids")
    }


def _gives_states(model: nn.Module) -> nn.Module:
    """The model itself, its class a subclass whose forward takes and gives one tensor."""
    original = type(model)

    def forward(self: Any, input_ids: Tensor) -> Tensor:
        states: Tensor = original.forward(self, input_ids).last_hidden_state
        return states

    model.__class__ = type(original.__name__, (original,), {"forward": forward, "__module__": original.__module__})
    return model
