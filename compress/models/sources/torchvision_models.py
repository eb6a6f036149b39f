"""torchvision:NAME, such as torchvision:resnet18: weights from download.pytorch.org, or fresh ones."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from compress.data.imagenet import imagenet_labels
from compress.data.preprocess import Preprocessor
from compress.errors import ModelError, require
from compress.models.loaded import LoadedModel, check_known, check_pretrained_classes, first_line, seeded, told
from compress.models.source import ModelSource


def load(source: ModelSource, allow_code: bool) -> LoadedModel:
    """Raises ModelError for an unknown name, or weights that cannot be had."""
    require("torchvision", "torchvision models", "torch")
    from torchvision import models

    check_known("torchvision", source.name, models.list_models(module=models))
    weights = models.get_model_weights(source.name).DEFAULT
    pretrained = source.weights == "pretrained"
    if pretrained:
        check_pretrained_classes(source, len(weights.meta["categories"]))
        model = _download(source, weights)
    else:
        changes = {} if source.num_classes is None else {"num_classes": source.num_classes}
        # Old networks remark on how they are initialised: of fresh weights nothing is promised here.
        with told(source.source), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            model = seeded(source.seed, lambda: models.get_model(source.name, weights=None, **changes))
    return LoadedModel(
        model,
        _preprocessor(weights.transforms()),
        imagenet_labels(),
        {"architecture": source.name},
        random_weights=not pretrained,
        description=f"{source.name} of torchvision" + (f", {weights.name}" if pretrained else ""),
        licence=weights.meta.get("license", "bsd-3-clause") if pretrained else None,
    )


def _download(source: ModelSource, weights: Any) -> Any:
    from torchvision import models

    try:
        with _weights_only(), told(source.source):
            return models.get_model(source.name, weights=weights)
    except ModelError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        raise ModelError(
            f"{source.source}: {weights.url} is not in the cache and cannot be downloaded "
            f"({first_line(error.__cause__)}): put the file into $TORCH_HOME/hub/checkpoints, or write weights: random"
        ) from error.__cause__


@contextmanager
def _weights_only() -> Iterator[None]:
    """Scope: torch.load unpickles tensors only, also where a library asks for less care."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _preprocessor(transform: Any) -> Preprocessor:
    return Preprocessor(
        resize=transform.resize_size[0],
        crop=(transform.crop_size[0], transform.crop_size[0]),
        interpolation=transform.interpolation.value,
        mean=tuple(transform.mean),
        std=tuple(transform.std),
    )
