"""load_generator: from what a recipe says to a model that makes images.

flow:digits      the one that ships, for 8 × 8 digits: what the demonstration distills.
flow:cifar10     its shape for 32 × 32 colours, without weights of its own.
path:DIRECTORY   config.json and model.safetensors, as `save_generator` writes them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import ModelError, require, unknown
from compress.models.loaded import seeded
from compress.models.source import ModelSource

if TYPE_CHECKING:
    from torch import nn

    from compress.models.generators.transformer import FlowTransformer, GeneratorConfig

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_SHIPPED = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class LoadedGenerator:
    """model: in eval mode, float32.  labels: of its classes.  See `LoadedModel` for the rest."""

    model: FlowTransformer
    labels: tuple[str, ...]
    random_weights: bool
    description: str
    licence: str | None = None


def load_generator(source: ModelSource) -> LoadedGenerator:
    """Raises ModelError for a model that cannot be had, is damaged, or holds weights that are no numbers; MissingExtra
    without torch."""
    require("torch", "loading a model", "torch")
    from compress.models.finite import check_finite

    loaded = _known(source) if source.kind == "flow" else _saved(source)
    check_finite(loaded.model, source.source)
    return loaded


def layer_names(source: ModelSource) -> dict[str, nn.Module]:
    """What selectors can match.  Raises ModelError."""
    from compress.models.layers import weighted_layers

    blank = replace(source, weights="random") if source.kind == "flow" else source
    return dict(weighted_layers(load_generator(blank).model, True))


def save_generator(model: nn.Module, directory: Path, *, half: bool = False) -> None:
    """Write `config.json` and `model.safetensors`, in float16 if `half`, into `directory`."""
    import torch
    from safetensors.torch import save_file

    from compress.models.generators.noted import config_of

    directory.mkdir(parents=True, exist_ok=True)
    kind = torch.float16 if half else torch.float32
    state = {name: value.detach().to(kind).contiguous() for name, value in model.state_dict().items()}
    save_file(state, directory / WEIGHTS)
    text = json.dumps(config_of(model).to_dict(), indent=2, sort_keys=True)
    (directory / CONFIG).write_text(text + "\n", encoding="utf-8")


def config_from(plain: Mapping[str, Any], where: str) -> GeneratorConfig:
    """Raises ModelError for keys that are unknown, or sizes that do not fit each other."""
    from compress.models.generators.transformer import GeneratorConfig

    known = {field.name for field in fields(GeneratorConfig)}
    for key in plain:
        if key not in known:
            raise ModelError(f"{where}: {unknown('key', key, known)}")
    config = GeneratorConfig(**plain)
    if config.sample_size % config.patch_size:
        raise ModelError(f"{where}: patch_size {config.patch_size} does not divide sample_size {config.sample_size}")
    if config.hidden_size % config.num_heads:
        raise ModelError(f"{where}: num_heads {config.num_heads} does not divide hidden_size {config.hidden_size}")
    if config.in_channels not in (1, 3):
        raise ModelError(f"{where}: in_channels is {config.in_channels}: 1 is grey, 3 is coloured")
    return config


def _known(source: ModelSource) -> LoadedGenerator:
    from compress.models.generators.transformer import FlowTransformer, GeneratorConfig
    from compress.models.resnet_cifar import CIFAR10_LABELS

    configs = {
        "digits": (GeneratorConfig(), tuple(map(str, range(10)))),
        "cifar10": (GeneratorConfig(32, 3, 4, 256, 8, 8, 4), CIFAR10_LABELS),
    }
    config, labels = configs[source.name]
    if source.weights == "random":
        model = seeded(source.seed, lambda: FlowTransformer(config))
        return LoadedGenerator(model.eval(), labels, True, f"Flow transformer for {source.name}, untrained")
    if source.name != "digits":
        raise ModelError(
            f"{source.source} has no weights of its own: write weights: random, and train it by train.flow"
        )
    model = _opened(_SHIPPED / source.name)
    return LoadedGenerator(model, labels, False, "Flow transformer for scikit-learn's digits", "apache-2.0")


def _saved(source: ModelSource) -> LoadedGenerator:
    directory = Path(source.name).expanduser()
    model = _opened(directory)
    labels = tuple(map(str, range(model.config.num_classes)))
    return LoadedGenerator(model, labels, False, f"{directory.name} (flow transformer)")


def _opened(directory: Path) -> FlowTransformer:
    """Raises ModelError for a directory that holds no generator, or a damaged one."""
    from compress.models.generators.transformer import FlowTransformer
    from compress.models.sources.path import fill, read_state_dict

    try:
        plain = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{directory / CONFIG}: cannot be read: {error}: name the directory of a generator") from error
    model = FlowTransformer(config_from(plain, str(directory / CONFIG)))
    fill(model, read_state_dict(directory / WEIGHTS), str(directory))
    return model.float().eval()
