"""The layers of a model as data: which modules carry weights, in which order, in which role, and how to select them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, overload

from torch import Tensor, nn
from torch.nn.utils import parametrize

from compress.errors import ModelError, unknown
from compress.models.selectors import selector_problems

Layer = nn.Conv1d | nn.Conv2d | nn.Linear
Weighted = Layer | nn.Embedding
WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Linear)
SMALL_TABLE = 0.25  # an embedding with fewer rows than this share of the largest's holds positions, not tokens


@overload
def weighted_layers(model: nn.Module, embeddings: Literal[False] = False) -> dict[str, Layer]: ...
@overload
def weighted_layers(model: nn.Module, embeddings: bool) -> dict[str, Weighted]: ...
def weighted_layers(model: nn.Module, embeddings: bool = False) -> Mapping[str, Weighted]:
    """The convolutions and linear layers by name, in the order of the model's definition; with `embeddings`, also
    the embeddings."""
    kinds = (*WEIGHTED, nn.Embedding) if embeddings else WEIGHTED
    return {name: module for name, module in model.named_modules() if isinstance(module, kinds)}


def raw_weight(module: nn.Module) -> Tensor | None:
    """The parameter behind `module.weight`, whatever is computed from it; None for a module without one."""
    if parametrize.is_parametrized(module, "weight"):
        chains = module.parametrizations
        assert isinstance(chains, nn.ModuleDict)
        original = chains["weight"].original
        return original if isinstance(original, Tensor) else None
    weight = getattr(module, "weight", None)
    return weight if isinstance(weight, Tensor) else None


def parametrizations(module: nn.Module) -> parametrize.ParametrizationList:
    """What lies between the module's own weight and the weight that it computes with."""
    chains = module.parametrizations
    assert isinstance(chains, nn.ModuleDict)
    chain = chains["weight"]
    assert isinstance(chain, parametrize.ParametrizationList)
    return chain


def sharing(model: nn.Module, module: nn.Module) -> list[nn.Module]:
    """The modules of `model` whose weight is the same parameter as `module`'s, itself among them."""
    weight = raw_weight(module)
    return [other for other in model.modules() if other is module or (raw_weight(other) is weight is not None)]


def tied(layers: Mapping[str, nn.Module], name: str) -> list[str]:
    """The names among `layers` whose weight is the same parameter as that of `name`, itself among them."""
    weight = raw_weight(layers[name])
    return [other for other, module in layers.items() if raw_weight(module) is weight]


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
    if role == "embedding":
        return isinstance(module, nn.Embedding)
    return isinstance(module, nn.Conv1d | nn.Conv2d) and set(module.kernel_size) == {1}


@overload
def select(
    model: nn.Module, targets: Sequence[str], ignore: Sequence[str] = (), embeddings: Literal[False] = False
) -> dict[str, Layer]: ...
@overload
def select(
    model: nn.Module, targets: Sequence[str], ignore: Sequence[str] = (), *, embeddings: bool
) -> dict[str, Weighted]: ...
def select(
    model: nn.Module, targets: Sequence[str], ignore: Sequence[str] = (), embeddings: bool = False
) -> Mapping[str, Weighted]:
    """The weighted layers that `targets` name and `ignore` does not, in the model's order.

    A selector is an exact name, a glob (`blocks.*`), a regular expression (`re:conv_dw$`, searched), a prefix of
    names (`blocks.0` selects all below it) or a role (`role:depthwise`).  A role may match nothing; any other
    selector that matches nothing raises ModelError, which names the nearest layer.

    An embedding, and a linear layer whose weight is an embedding's (a tied head), is never meant by a selector that
    also means other layers: `*`, `model` and `role:linear` leave both alone.  One that names nothing else
    (`model.embed_tokens`, `*embed*`, `lm_head`, `role:embedding`) means the embedding and all that is tied to it.
    `embeddings`: whether the caller takes embeddings at all; else they are no layers, and tied heads stay float.
    """
    layers = weighted_layers(model, True)
    if not embeddings:
        shared = _shared(layers)
        layers = {name: module for name, module in layers.items() if name not in shared}
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
    """The names of the layers that one selector means; of `weighted_layers(model, embeddings=True)` if embeddings and
    tied heads are to be known as such."""
    shared = _shared(layers)
    if selector == "role:embedding":
        tables = [module for module in layers.values() if isinstance(module, nn.Embedding)]
        rows = max((table.num_embeddings for table in tables), default=0)
        found = {n for n, m in layers.items() if isinstance(m, nn.Embedding) and m.num_embeddings >= SMALL_TABLE * rows}
        return {other for name in found for other in tied(layers, name)}
    found = _named({name: module for name, module in layers.items() if name not in shared}, selector)
    if found or selector.startswith("role:"):
        return found
    alone = _named({name: layers[name] for name in shared}, selector)
    return {other for name in alone for other in tied(layers, name)}


def _shared(layers: Mapping[str, nn.Module]) -> list[str]:
    """The embeddings, and the layers whose weight is an embedding's."""
    tables = [raw_weight(module) for module in layers.values() if isinstance(module, nn.Embedding)]
    return [name for name, module in layers.items() if any(raw_weight(module) is table for table in tables)]


def _named(layers: Mapping[str, nn.Module], selector: str) -> set[str]:
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
