"""The layers of a model as data: which modules carry weights, in which order, in which role, and how to select them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence

from torch import nn

from compress.errors import ModelError, unknown
from compress.models.selectors import selector_problems

Layer = nn.Conv1d | nn.Conv2d | nn.Linear
WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Linear)


def weighted_layers(model: nn.Module) -> dict[str, Layer]:
    """The convolutions and linear layers by name, in the order of the model's definition."""
    return {name: module for name, module in model.named_modules() if isinstance(module, WEIGHTED)}


def is_depthwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv1d | nn.Conv2d) and module.groups == module.in_channels and module.groups > 1


def has_role(module: nn.Module, role: str) -> bool:
    """Whether a layer is what `role:…` says; 'first' and 'last' are places, not kinds."""
    if role == "linear":
        return isinstance(module, nn.Linear)
    if role == "conv":
        return isinstance(module, nn.Conv1d | nn.Conv2d)
    if role == "depthwise":
        return is_depthwise(module)
    return isinstance(module, nn.Conv1d | nn.Conv2d) and set(module.kernel_size) == {1}


def select(model: nn.Module, targets: Sequence[str], ignore: Sequence[str] = ()) -> dict[str, Layer]:
    """The weighted layers that `targets` name and `ignore` does not, in the model's order.

    A selector is an exact name, a glob (`blocks.*`), a regular expression (`re:conv_dw$`, searched), a prefix of
    names (`blocks.0` selects all below it) or a role (`role:depthwise`).  A role may match nothing; any other
    selector that matches nothing raises ModelError, which names the nearest layer.
    """
    layers = weighted_layers(model)
    wrong = selector_problems((*targets, *ignore)) or unmatched(layers, (*targets, *ignore))
    if wrong:
        raise ModelError("\n".join(wrong))
    chosen = _union(layers, targets) - _union(layers, ignore)
    return {name: module for name, module in layers.items() if name in chosen}


def unmatched(layers: Mapping[str, nn.Module], selectors: Iterable[str]) -> list[str]:
    """One message for each selector that matches none of `layers`."""
    return [
        unknown("layer", selector.removeprefix("re:"), layers)
        for selector in selectors
        if not selector.startswith("role:") and not matching(layers, selector)
    ]


def matching(layers: Mapping[str, nn.Module], selector: str) -> set[str]:
    """The names of the layers that one selector means."""
    names = list(layers)
    if selector.startswith("role:"):
        role = selector.removeprefix("role:")
        if role in ("first", "last"):
            return set(names[:1] if role == "first" else names[-1:])
        return {name for name, module in layers.items() if has_role(module, role)}
    if selector.startswith("re:"):
        return {name for name in names if re.search(selector.removeprefix("re:"), name)}
    return {
        name for name in names if fnmatch.fnmatchcase(name, selector) or name.startswith(selector.rstrip(".") + ".")
    }


def _union(layers: Mapping[str, nn.Module], selectors: Sequence[str]) -> set[str]:
    return set().union(*(matching(layers, selector) for selector in selectors))
