"""hf:ORG/NAME@REVISION: image classifiers of transformers and of timm on the Hugging Face hub, or in a local folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.data.preprocess import Preprocessor
from compress.errors import DataError, ModelError, require
from compress.models.hub import from_hub
from compress.models.loaded import LoadedModel, check_pretrained_classes, seeded, told
from compress.models.source import ModelSource
from compress.models.sources import timm_models

if TYPE_CHECKING:
    from torch import Tensor, nn


def load(source: ModelSource, allow_code: bool) -> LoadedModel:
    """Raises ModelError for what is neither in the cache nor to be had, is no image classifier, or lacks weights."""
    require("transformers", "hf: models", "torch")
    config = json.loads(Path(_file(source, "config.json")).read_text(encoding="utf-8"))
    if "architecture" in config and "model_type" not in config:  # how timm writes its repositories
        revision = f"@{source.revision}" if source.revision else ""
        place = f"local-dir:{source.name}" if Path(source.name).is_dir() else f"hf-hub:{source.name}{revision}"
        return timm_models.build(source, place, source.name)
    model = _pretrained(source) if source.weights == "pretrained" else _random(source)
    labels = model.config.id2label
    return LoadedModel(
        returns_logits(model),
        _preprocessor(source),
        tuple(str(labels[number]) for number in sorted(labels)),
        {"architecture": type(model).__name__, "model_type": model.config.model_type},
        random_weights=source.weights == "random",
        description=f"{source.name} of the Hugging Face hub" + (f", {source.revision}" if source.revision else ""),
        licence=_licence(source) if source.weights == "pretrained" else None,
    )


def returns_logits(model: nn.Module) -> nn.Module:
    """The model itself, its modules under their own names, with a forward [N, 3, H, W] → logits [N, classes].

    Its class becomes a subclass: a wrapper around it would put a prefix before every layer's name.
    """
    original = type(model)

    def forward(self: Any, pixel_values: Tensor) -> Tensor:
        logits: Tensor = original.forward(self, pixel_values=pixel_values).logits
        return logits

    model.__class__ = type(original.__name__, (original,), {"forward": forward, "__module__": original.__module__})
    return model


def _pretrained(source: ModelSource) -> Any:
    from transformers import AutoModelForImageClassification

    with told(source.source):
        model, report = from_hub(
            source.source,
            source.name,
            lambda: AutoModelForImageClassification.from_pretrained(
                source.name, revision=source.revision, output_loading_info=True, dtype="float32"
            ),
        )
    absent = sorted([*report["missing_keys"], *(str(key[0]) for key in report["mismatched_keys"])])
    if absent:
        raise ModelError(
            f"{source.source} has no weights for {', '.join(absent[:3])}{', …' if len(absent) > 3 else ''}: "
            f"it is not a finished image classifier"
        )
    check_pretrained_classes(source, model.config.num_labels)
    return model


def _random(source: ModelSource) -> Any:
    from transformers import AutoConfig, AutoModelForImageClassification

    def read() -> Any:
        return AutoConfig.from_pretrained(source.name, revision=source.revision)

    with told(source.source):
        config = from_hub(source.source, source.name, read)
        if source.num_classes is not None:
            config.num_labels = source.num_classes
        return seeded(source.seed, lambda: AutoModelForImageClassification.from_config(config))


def _preprocessor(source: ModelSource) -> Preprocessor:
    from transformers import AutoImageProcessor

    processor = from_hub(
        source.source,
        source.name,
        lambda: AutoImageProcessor.from_pretrained(source.name, revision=source.revision),
    )
    try:
        preprocessor = Preprocessor.from_hugging_face(json.loads(processor.to_json_string()))
    except DataError as error:
        raise ModelError(f"{source.source}: {error}") from error
    check_same_input(processor, preprocessor, source.source)
    return preprocessor


def check_same_input(processor: Any, preprocessor: Preprocessor, where: str) -> None:
    """Raise ModelError unless both make the same input of an image, up to three levels of 255.

    Image processors may do what no key of their config says (LeViT resizes by 256/224, MobileViT swaps channels).
    """
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (5, 8, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((640, 400), Image.Resampling.BICUBIC)
    ours = preprocessor(image)
    theirs = np.asarray(processor(images=image, return_tensors="pt")["pixel_values"][0])
    level = preprocessor.rescale / min(preprocessor.std)
    if ours.shape != theirs.shape or float(np.abs(ours - theirs).max()) > 3 * level:
        raise ModelError(f"{where}: what its {type(processor).__name__} does to images cannot be expressed")


def _file(source: ModelSource, name: str) -> str:
    """Where a file of the repository lies, downloaded if need be."""
    from huggingface_hub import hf_hub_download

    local = Path(source.name) / name
    if Path(source.name).is_dir():
        if not local.is_file():
            raise ModelError(f"{source.source}: there is no file {local}")
        return str(local)
    return from_hub(source.source, source.name, lambda: hf_hub_download(source.name, name, revision=source.revision))


def _licence(source: ModelSource) -> str | None:
    """What the model card says; None where there is no card."""
    from huggingface_hub import ModelCard

    try:
        text = Path(_file(source, "README.md")).read_text(encoding="utf-8")
    except ModelError:  # a model without a card is still a model
        return None
    licence = ModelCard(text, ignore_metadata_errors=True).data.get("license")
    return licence if isinstance(licence, str) else None
