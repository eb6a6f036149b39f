"""Where models come from: one file a kind of source, each with `load(source, allow_code) -> LoadedModel`."""

from __future__ import annotations

from collections.abc import Callable

from compress.errors import ModelError, unknown
from compress.models.loaded import LoadedModel
from compress.models.source import ModelSource


def loader(kind: str) -> Callable[[ModelSource, bool], LoadedModel]:
    """The `load` of a kind of source.  Raises ModelError for an unknown kind."""
    # Imported here: each brings a library that the others do without.
    from compress.models.sources import (
        cifar_resnets,
        factory,
        huggingface,
        package,
        path,
        timm_models,
        torchvision_models,
    )

    loaders = {
        "cifar": cifar_resnets.load,
        "factory": factory.load,
        "hf": huggingface.load,
        "package": package.load,
        "path": path.load,
        "timm": timm_models.load,
        "torchvision": torchvision_models.load,
    }
    if kind not in loaders:
        raise ModelError(unknown("kind of model", kind, loaders))
    return loaders[kind]
