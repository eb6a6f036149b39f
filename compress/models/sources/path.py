"""path:FILE: weights in a local file (safetensors, or a pickle of tensors only); the recipe names the network.

path:DIRECTORY: a smaller model, as `compress.models.saved.save_model` writes it; the network is the one that it was
made from."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import ModelError
from compress.models.loaded import LoadedModel, first_line
from compress.models.source import ModelSource
from compress.models.sources import loader

if TYPE_CHECKING:
    from torch import Tensor, nn

PICKLES = (".pth", ".pt", ".bin")
WEIGHTS = "model.safetensors"  # of a directory
SHOWN = 3  # wrong weights named in an error


def load(source: ModelSource, allow_code: bool) -> LoadedModel:
    """Raises ModelError for a file that is missing, damaged, unsafe, or does not fit the architecture."""
    if source.architecture is None:
        raise ModelError(f"{source.source}: a file of weights needs its network: write architecture: timm:resnet18")
    file = Path(source.name).expanduser()
    weights = file / WEIGHTS if file.is_dir() else file
    state = read_state_dict(weights)
    architecture = ModelSource(source.architecture, weights="random", num_classes=source.num_classes)
    if architecture.kind == "path":
        raise ModelError(f"architecture: {source.architecture} is a file of weights, not a network")
    loaded = loader(architecture.kind)(architecture, allow_code)
    if file.is_dir():
        from compress.models.attention import split_attention
        from compress.models.saved import open_structure

        loaded = dataclasses.replace(loaded, model=open_structure(split_attention(loaded.model), file))
    fill(loaded.model, state, str(file))
    return dataclasses.replace(
        loaded, random_weights=False, description=f"{file.name} ({loaded.description})", licence=_licence(weights)
    )


def read_state_dict(file: Path) -> dict[str, Tensor]:
    """The tensors of a file by name.  Runs no code that the file may hold.

    A training checkpoint's 'state_dict' or 'model' is taken out, and the 'module.' of DataParallel cut off.
    """
    if not file.is_file():
        raise ModelError(f"there is no file {file}")
    if file.suffix == ".safetensors":
        return _read_safetensors(file)
    if file.suffix in PICKLES:
        return _read_pickle(file)
    known = ", ".join((".safetensors", *PICKLES))
    raise ModelError(f"{file}: weights are read from {known} files: save them with safetensors.torch.save_file")


def fill(model: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load `state` into `model`, each weight of the one into the other.  Raises ModelError, listing what is wrong."""
    own = model.state_dict()
    # Files from before torch 0.4.1 do not count batches.
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    strangers = [name for name in state if name not in own]
    shapes = [
        f"'{name}' is {list(state[name].shape)}, {list(own[name].shape)} in the architecture"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    integers = [
        f"'{name}' holds {state[name].dtype}"
        for name in own
        if name in state and own[name].is_floating_point() and not state[name].is_floating_point()
    ]
    problems = [
        f"{len(names)} {what}: {', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''}"
        for what, names in (
            ("weights are missing", missing),
            ("are not the architecture's", strangers),
            ("have another shape", shapes),
            ("are not floating point", integers),
        )
        if names
    ]
    if problems:
        raise ModelError(f"{where} does not fit the architecture: {'; '.join(problems)}")
    model.load_state_dict(dict(state), strict=False)


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(file))
    except (SafetensorError, OSError) as error:
        size = file.stat().st_size
        raise ModelError(f"{file} is damaged or not a safetensors file ({size} bytes): {first_line(error)}") from error


def _read_pickle(file: Path) -> dict[str, Tensor]:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on what is refused below
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # UnpicklingError, and of damaged archives RuntimeError, EOFError, KeyError, …
        if "weights_only" in str(error):
            raise ModelError(
                f"{file} holds more than tensors, and reading that could run any code: refused: save its state_dict "
                f"with safetensors.torch.save_file"
            ) from error
        raise ModelError(f"{file} is damaged or not a file of torch.save ({file.stat().st_size} bytes)") from error
    return _tensors(file, content)


def _tensors(file: Path, content: Any) -> dict[str, Tensor]:
    import torch

    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise ModelError(f"{file} holds a {type(content).__name__}, not a state_dict: names and tensors are wanted")
    others = [str(name) for name, value in content.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise ModelError(f"{file} is not a state_dict: {', '.join(others[:SHOWN])} are not tensors")
    prefix = "module." if all(str(name).startswith("module.") for name in content) else ""
    return {str(name).removeprefix(prefix): tensor for name, tensor in content.items()}


def _licence(file: Path) -> str | None:
    """What a safetensors header says under 'license'."""
    if file.suffix != ".safetensors":
        return None
    with file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    licence = header.get("__metadata__", {}).get("license")
    return str(licence) if licence else None
