"""timm:NAME, such as timm:resnet18 or timm:resnet18.a1_in1k: weights from the Hugging Face hub, or fresh ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from compress.data.imagenet import imagenet_labels
from compress.data.preprocess import Preprocessor
from compress.errors import ModelError, require
from compress.models.hub import from_hub
from compress.models.loaded import LoadedModel, check_known, check_pretrained_classes, seeded, told
from compress.models.source import ModelSource

if TYPE_CHECKING:
    from torch import nn


def load(source: ModelSource, allow_code: bool) -> LoadedModel:
    """Raises ModelError for an unknown name, weights that cannot be had, or a preprocessing that cannot be kept."""
    require("timm", "timm models", "torch")
    import timm

    architecture, _, tag = source.name.partition(".")
    check_known("timm", architecture, timm.list_models())
    if tag:
        check_known("timm", source.name, timm.list_pretrained(f"{architecture}.*"))
    with told(source.source):
        wanted = timm.models.get_pretrained_cfg(source.name, allow_unregistered=False)
    return build(source, source.name, (wanted.hf_hub_id if wanted else None) or source.name)


def build(source: ModelSource, name: str, repository: str) -> LoadedModel:
    """The model that timm calls `name` ('hf-hub:…' too); its pretrained weights lie in `repository` of the hub."""
    import timm

    if source.weights == "pretrained":
        model = from_hub(
            source.source,
            repository,
            lambda: timm.create_model(name, pretrained=True),
            instead=", or write weights: random",
        )
        check_pretrained_classes(source, model.num_classes)
    else:
        changes = {} if source.num_classes is None else {"num_classes": source.num_classes}
        with told(source.source):
            model = seeded(source.seed, lambda: timm.create_model(name, pretrained=False, **changes))
    if model.num_classes == 0:
        raise ModelError(f"{source.source} gives features, not classes: it is not an image classifier")
    config = model.pretrained_cfg
    tag = f".{config['tag']}" if config.get("tag") else ""
    return LoadedModel(
        model,
        preprocessor(model, source.source),
        tuple(config.get("label_names") or imagenet_labels()),
        {"architecture": config["architecture"]},
        random_weights=source.weights == "random",
        description=f"{config['architecture']}{tag if source.weights == 'pretrained' else ''} of timm",
        licence=config.get("license") if source.weights == "pretrained" else None,
    )


def preprocessor(model: nn.Module, where: str) -> Preprocessor:
    """timm's own evaluation transform, as data.  Raises ModelError for a transform that has no such form."""
    from timm.data import resolve_model_data_config

    config: dict[str, Any] = resolve_model_data_config(model)
    channels, height, width = config["input_size"]
    resize = tuple(math.floor(side / config["crop_pct"]) for side in (height, width))
    mode = config["crop_mode"] or "center"
    if channels != 3 or mode == "border" or (mode == "center" and height != width):
        raise ModelError(f"{where}: crop mode '{mode}' to {channels} × {height} × {width} is not supported")
    return Preprocessor(
        resize=(resize[0], resize[1]) if mode == "squash" else resize[0],
        crop=(height, width),
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
