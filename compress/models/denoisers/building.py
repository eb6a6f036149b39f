"""A denoiser of diffusers as a function of tensors, from its config, without weights."""

from __future__ import annotations

from inspect import signature
from typing import Any

import torch

from compress.errors import ModelError
from compress.models.denoisers.architecture import Architecture, Config
from compress.models.denoisers.known import LEGACY
from compress.models.denoisers.schedule import own_settings
from compress.models.loaded import told


def blank(architecture: Architecture, config: Config, where: str) -> Any:
    """The model on the meta device; its forward takes the architecture's inputs, [N, …] each, → [N, C', H, W].

    Raises ModelError for a config that diffusers does not take, is of another class, or asks for more inputs.
    """
    import diffusers

    name = config.get("_class_name", architecture.class_name)
    if name not in (architecture.class_name, LEGACY):
        raise ModelError(f"{where}: _class_name is {name}: {architecture.class_name} of diffusers is wanted")
    architecture.check(config, where)
    kind = getattr(diffusers, architecture.class_name)
    settings = own_settings(config)
    if name == LEGACY:
        settings = _taken(settings, kind, where)
    with told(where), torch.device("meta"):
        model = kind(**settings)
    if architecture.adapt is not None:
        architecture.adapt(model)
    return _takes_tensors(model, architecture).eval()


def _taken(settings: dict[str, Any], kind: type, where: str) -> dict[str, Any]:
    """Those that the class has of the settings of all transformers.  Raises ModelError for another that is set."""
    known = signature(kind).parameters
    for key, value in settings.items():
        if key not in known and value:
            raise ModelError(f"{where}: {key} is {value}: {kind.__name__} of diffusers does not know it")
    return {key: value for key, value in settings.items() if key in known}


def _takes_tensors(model: Any, architecture: Architecture) -> Any:
    """The model itself, its modules under their own names; its class becomes a subclass, since a wrapper would put a
    prefix before every layer's name."""
    original = type(model)
    named = {"forward": architecture.forward(original.forward), "__module__": original.__module__}
    model.__class__ = type(original.__name__, (original,), named)
    return model
