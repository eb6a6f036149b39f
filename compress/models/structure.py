"""A model's structure as data: what passes took away from it, and how a freshly built model comes to the same.

A pass that makes a model smaller works inside `recording(model)`.  What has changed afterwards (sizes that modules
hold, items of their lists, fields of a config) is noted on the modules that it belongs to, so that it is copied with
them, goes when they go, and keeps its place when items are numbered anew.  `structure_of` reads it as plain data, and
`restructure` brings a model as it was first built into that structure: no pruner is needed for it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import Tensor, nn

from compress.errors import ModelError
from compress.models.paging import paged_like

NOTED = "structure_changes"  # the attribute of a module in which its changes are noted
Structure = dict[str, dict[str, Any]]
_Config = TypeVar("_Config")
List = nn.Sequential | nn.ModuleList


@contextmanager
def recording(model: nn.Module) -> Iterator[None]:
    """Scope: what is made smaller in it is noted on the modules.  Nothing else may change their plain integers."""
    before = {module: _Sizes(module) for module in model.modules()}
    configs = {id(config): _entries(config) for _, config in configs_of(model)}
    yield
    for module in model.modules():
        old, new = before.get(module), _Sizes(module)
        if old is None:
            continue
        known = old.integers
        changed = {name: known.get(name) for name, value in new.integers.items() if known.get(name) != value}
        if changed or old.shapes != new.shapes:
            first = _noted(module).setdefault("integers", {})
            for name, value in changed.items():
                first.setdefault(name, value)
        if old.items != new.items:
            first_items = _noted(module).get("items", list(range(len(old.items))))
            _noted(module).setdefault("num_items", len(old.items))
            _noted(module)["items"] = [first_items[old.items.index(item)] for item in new.items]
    for name, config in configs_of(model):
        fields = configs.get(id(config))
        for key, value in _entries(config).items():
            if fields is not None and fields.get(key) != value:  # what is not set, a config need not tell
                _noted(model.get_submodule(name)).setdefault("config", {}).setdefault(key, fields.get(key))


def structure_of(model: nn.Module) -> Structure:
    """What differs from the model as it was first built, by the name of the module; empty where nothing does.

    integers   sizes that the module holds as attributes: `out_channels`, `num_heads`, …
    shapes     of its own parameters and buffers.
    items      which of its first items a list still has, by their first numbers; num_items: how many there were.
    config     fields of the config that it holds.
    """
    found: Structure = {}
    for name, module in model.named_modules():
        noted = getattr(module, NOTED, None)
        if noted is None:
            continue
        entry: dict[str, Any] = {}
        if "integers" in noted:
            entry["integers"] = {key: getattr(module, key) for key in sorted(noted["integers"])}
            entry["first"] = dict(sorted(noted["integers"].items()))
            entry["shapes"] = {key: list(value.shape) for key, value in sorted(_own(module).items())}
        if "items" in noted:
            entry |= {"items": list(noted["items"]), "num_items": noted["num_items"]}
        if "config" in noted:
            config = module.config
            entry["config"] = {key: copy.deepcopy(getattr(config, key)) for key in sorted(noted["config"])}
            entry["first_config"] = dict(sorted(noted["config"].items()))
        found[name] = entry
    return found


def restructure(model: nn.Module, structure: Structure) -> nn.Module:
    """Bring `model`, as it was first built or already smaller, into `structure`; its values are not looked at.

    Raises ModelError for a structure that is another model's.
    """
    resized: dict[nn.Parameter, nn.Parameter] = {}  # what was tied stays tied
    # a list is cut before what lies in it is looked for: names are those of the result
    for name in sorted(structure, key=lambda name: (name.count(".") if name else -1, name)):
        entry = structure[name]
        try:
            module = model.get_submodule(name)
        except AttributeError:
            raise ModelError(f"the saved structure has '{name}', and the model has no such part") from None
        noted: dict[str, Any] = {}
        if "items" in entry:
            _restore_items(module, name, entry["items"])
            noted |= {"items": list(entry["items"]), "num_items": entry["num_items"]}
        if "integers" in entry:
            for key, value in entry["integers"].items():
                setattr(module, key, tuple(value) if isinstance(value, list) else value)
            for key, shape in entry["shapes"].items():
                _resize(module, key, shape, resized)
            noted["integers"] = {key: _untangled(value) for key, value in entry["first"].items()}
        if "config" in entry:
            for key, value in entry["config"].items():
                setattr(module.config, key, copy.deepcopy(value))
            noted["config"] = dict(entry["first_config"])
        setattr(module, NOTED, noted)
    return model


def first_size(module: nn.Module, name: str) -> Any:
    """An integer that a module holds, as it was before any pass: `first_size(conv, "out_channels")`."""
    noted = getattr(module, NOTED, {}).get("integers", {})
    return noted[name] if name in noted else getattr(module, name)


def num_removed(model: nn.Module) -> int:
    """How many items passes have taken from the model's lists."""
    notes = (getattr(module, NOTED, {}) for module in model.modules())
    return sum(noted["num_items"] - len(noted["items"]) for noted in notes if "items" in noted)


def keep_items(container: List, places: Sequence[int]) -> None:
    """Keep the items at these places; those that are called by number are numbered anew."""
    children = list(container.named_children())
    kept = [children[place] for place in places]
    numbered = all(name.isdigit() for name, _ in children)
    for name, _ in children:
        del container._modules[name]
    for number, (name, child) in enumerate(kept):
        container._modules[str(number) if numbered else name] = child


def set_parameter(module: nn.Module, name: str, value: Tensor) -> None:
    """Put a smaller tensor in the place of a parameter or buffer; in a file, if that was in one."""
    old = getattr(module, name)
    value = paged_like(value.detach().contiguous(), old)
    if isinstance(old, nn.Parameter):
        setattr(module, name, nn.Parameter(value, requires_grad=old.requires_grad))
    else:
        setattr(module, name, value)


def configs_of(model: nn.Module) -> list[tuple[str, Any]]:
    """Each config once, with the name of the first module that holds it."""
    found: dict[int, tuple[str, Any]] = {}
    for name, module in model.named_modules():
        config = getattr(module, "config", None)
        if hasattr(config, "to_dict"):
            found.setdefault(id(config), (name, config))
    return list(found.values())


def config_held(model: nn.Module, kind: type[_Config], what: str) -> _Config:
    """The config of that kind that the model holds.  Raises ModelError for a model without: `what` it does not make."""
    config = getattr(model, "config", None)
    if not isinstance(config, kind):
        raise ModelError(f"{type(model).__name__} has no note of how it is sampled: it makes no {what}")
    return config


def is_translator(model: nn.Module) -> bool:
    """Whether it is a language model of transformers."""
    return hasattr(model, "get_input_embeddings") and getattr(model, "generation_config", None) is not None


class _Sizes:
    """The plain integers that a module holds, the shapes of its own tensors, and the items of a list."""

    def __init__(self, module: nn.Module) -> None:
        plain = {name: value for name, value in vars(module).items() if not name.startswith("_")}
        self.integers = {name: value for name, value in plain.items() if _is_size(value)}
        self.shapes = {name: tuple(value.shape) for name, value in _own(module).items()}
        self.items = [id(child) for child in module.children()] if isinstance(module, List) else []


def _is_size(value: Any) -> bool:
    if isinstance(value, tuple):
        return bool(value) and all(_is_size(each) for each in value)
    return isinstance(value, int) and not isinstance(value, bool)


def _own(module: nn.Module) -> dict[str, Tensor]:
    """The module's own parameters and buffers, a quantized weight as its float original."""
    from compress.models.quantized import original_weight, stored

    found: dict[str, Tensor] = {name: value for name, value in module._parameters.items() if value is not None}
    found |= {name: value for name, value in module._buffers.items() if value is not None}
    if stored(module) is not None:
        found["weight"] = original_weight(module)
    return found


def _noted(module: nn.Module) -> dict[str, Any]:
    if not hasattr(module, NOTED):
        setattr(module, NOTED, {})
    noted: dict[str, Any] = getattr(module, NOTED)
    return noted


def _entries(config: Any) -> dict[str, Any]:
    return {key: copy.deepcopy(getattr(config, key, None)) for key in config.to_dict()}


def _restore_items(module: nn.Module, name: str, items: Sequence[int]) -> None:
    if not isinstance(module, List):
        raise ModelError(f"the saved structure has a list '{name}', and the model has a {type(module).__name__} there")
    present = getattr(module, NOTED, {}).get("items", list(range(len(module))))
    gone = [item for item in items if item not in present]
    if gone:
        raise ModelError(f"the saved structure keeps item {gone[0]} of '{name}', and the model has no such item")
    keep_items(module, [present.index(item) for item in items])


def _resize(module: nn.Module, name: str, shape: Sequence[int], resized: dict[nn.Parameter, nn.Parameter]) -> None:
    old = getattr(module, name, None)
    if not isinstance(old, Tensor) or list(old.shape) == list(shape):
        return
    if isinstance(old, nn.Parameter) and old in resized:
        setattr(module, name, resized[old])
        return
    set_parameter(module, name, old.new_zeros(tuple(shape)))
    if isinstance(old, nn.Parameter):
        resized[old] = getattr(module, name)


def _untangled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
