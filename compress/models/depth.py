"""The depth of a model: which of its blocks can be taken out, and the model without some of them.

A block can go if it gives what it is given: one tensor of the same shape.  Those of a translator are the layers of its
stacks; those of other networks are the items of a Sequential, or of a ModuleList that is walked through, that hold at
least two weighted layers and no smaller such item.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from compress.errors import ModelError
from compress.models.blocks import find_blocks
from compress.models.calls import forward, tensors
from compress.models.hooks import removing
from compress.models.structure import configs_of, is_translator, keep_items

# The stacks of translators, with the field of the config that counts their layers, and that of the stack's own config.
STACKS = {
    "model.layers": ("num_hidden_layers", ""),
    "model.encoder.layers": ("encoder_layers", ""),
    "model.decoder.layers": ("decoder_layers", ""),
    "encoder.block": ("num_layers", "num_layers"),
    "decoder.block": ("num_decoder_layers", "num_layers"),
}


def removable_blocks(model: nn.Module, example: Sequence[Tensor]) -> list[str]:
    """Names of the blocks that can be taken out, in the order in which they run."""
    blocks = [name for name in _blocks(model, example) if not _bears_bias(model.get_submodule(name))]
    shapes: dict[str, tuple[Any, Any]] = {}

    def observe(name: str) -> Any:
        def hook(module: nn.Module, args: Any, keywords: dict[str, Any], output: Any) -> None:
            given, made = tensors((args, keywords)), tensors(output)
            shapes[name] = (given[0].shape if given else None, made[0].shape if made else None)

        return hook

    hooks = (model.get_submodule(name).register_forward_hook(observe(name), with_kwargs=True) for name in blocks)
    with removing(hooks), torch.no_grad():
        forward(model, *example)
    return [name for name, (given, made) in shapes.items() if given is not None and given == made]


def remove_blocks(model: nn.Module, names: Iterable[str]) -> None:
    """Take these blocks out: later items of their lists are numbered anew, and so is what a config says of them.

    Raises ModelError for a block that is no item of a list.
    """
    gone: dict[str, set[str]] = defaultdict(set)
    for name in names:
        container, _, item = name.rpartition(".")
        gone[container].add(item)
    for container, items in gone.items():
        blocks = model.get_submodule(container)
        if not isinstance(blocks, nn.Sequential | nn.ModuleList):
            raise ModelError(f"{container} is no list of blocks: {container}.{min(items)} cannot be taken out")
        names_there = [name for name, _ in blocks.named_children()]
        places = [place for place, name in enumerate(names_there) if name not in items]
        keep_items(blocks, places)
        _tell_config(model, container, places, len(names_there))
        for place, block in enumerate(blocks):
            for module in block.modules():
                if isinstance(getattr(module, "layer_idx", None), int):  # of the cache of keys and values
                    module.layer_idx = place  # type: ignore[assignment]


@contextmanager
def without(model: nn.Module, names: Sequence[str]) -> Iterator[nn.Module]:
    """Scope: the model lacks these blocks; then it has them again."""
    containers = [model.get_submodule(name) for name in {name.rpartition(".")[0] for name in names}]
    items = [(container, dict(container._modules)) for container in containers]
    numbers: list[tuple[Any, Any]] = [(m, m.layer_idx) for m in model.modules() if hasattr(m, "layer_idx")]
    fields = [(config, key, getattr(config, key)) for config in _configs(model) for key in _counting(config)]
    remove_blocks(model, names)
    try:
        yield model
    finally:
        for container, modules in items:
            container._modules.clear()
            container._modules.update(modules)
        for module, number in numbers:
            module.layer_idx = number
        for config, key, value in fields:
            setattr(config, key, value)


def runs_of(names: Sequence[str], count: int) -> list[list[str]]:
    """Each `count` of the blocks that follow one another in one list."""
    found = []
    for start in range(len(names) - count + 1):
        run = list(names[start : start + count])
        places = [name.rpartition(".") for name in run]
        numbers = [int(item) for _, _, item in places if item.isdigit()]
        neighbours = all(b - a == 1 for a, b in pairwise(numbers))
        if len({container for container, _, _ in places}) == 1 and len(numbers) == count and neighbours:
            found.append(run)
    return found


def _blocks(model: nn.Module, example: Sequence[Tensor]) -> list[str]:
    if is_translator(model):
        stacks = [name for name in STACKS if _has(model, name)]
        if stacks:
            return [f"{name}.{place}" for name in stacks for place in range(len(model.get_submodule(name)))]  # type: ignore[arg-type]
    blocks = find_blocks(model, *example)
    lists = {name for name, module in model.named_modules() if isinstance(module, nn.Sequential | nn.ModuleList)}
    return [name for name in blocks if name.rpartition(".")[0] in lists and not _is_layer(model.get_submodule(name))]


def _has(model: nn.Module, name: str) -> bool:
    try:
        return isinstance(model.get_submodule(name), nn.ModuleList)
    except AttributeError:
        return False


def _is_layer(module: nn.Module) -> bool:
    """A block of one layer is no block here: to take it out would change a network's function, not its depth."""
    return not any(True for _ in module.children())


def _bears_bias(block: nn.Module) -> bool:
    """T5's first block: the bias by distance that all others add to their scores is its own."""
    return any(getattr(module, "has_relative_attention_bias", False) is True for module in block.modules())


def _tell_config(model: Any, container: str, places: Sequence[int], before: int) -> None:
    """What a config says of the layers of this list: their number, and what it lists for each."""
    config = getattr(model, "config", None)
    field, own_field = STACKS.get(container, ("num_hidden_layers", ""))
    if getattr(config, field, None) != before:
        return
    setattr(config, field, len(places))
    if field == "num_hidden_layers":
        for key in _counting(config):
            value = getattr(config, key)
            if isinstance(value, list) and len(value) == before:
                setattr(config, key, [value[place] for place in places])
    if own_field:  # T5 gives each stack a config
        setattr(model.get_submodule(container.rpartition(".")[0]).config, own_field, len(places))


def _counting(config: Any) -> list[str]:
    """Fields that count layers, or list something for each."""
    counts = {field for fields in STACKS.values() for field in fields if field}
    plain = config.to_dict()
    return [key for key, value in plain.items() if key in counts or (isinstance(value, list) and "layer" in key)]


def _configs(model: nn.Module) -> list[Any]:
    return [config for _, config in configs_of(model)]
