"""The residual stream of a language model as data: what enters it, what adds to it, and what reads it behind norms.

An RMSNorm without weights turns with its input: norm(x·Q) = norm(x)·Q for every orthogonal Q.  So where embeddings and
linear layers alone make the stream, and linear layers alone read it, each behind an RMSNorm, Q goes into their weights
and the model computes the same (SliceGPT, Ashkboos et al. 2024, arXiv:2401.15024, sec. 3.1).  Norms whose weights stand
on the stream's side (Gemma 3's after attention, Marian's after each sum) and positions that are added as they are
(M2M100's, Marian's) leave no such Q.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from compress.errors import ModelError
from compress.models.calls import Call, CallGraph
from compress.models.layers import raw_weight, sharing

ALIKE = frozenset({"to", "float", "type_as", "dropout", "contiguous"})  # functions that give the tensor that they got
SCALING = frozenset({"mul", "div"})
OWN = "no linear layer that runs once with a weight of its own"


@dataclass(frozen=True)
class Norm:
    """An RMSNorm on the stream, and the linear layers that alone read what it gives.

    offset  what it adds to its weight before it multiplies by it: 1 in Gemma, else 0.
    """

    name: str
    offset: float
    readers: tuple[str, ...]


@dataclass(frozen=True)
class Residual:
    """table: the embedding whose rows the stream begins with; writers: the linear layers that add to it."""

    width: int
    table: str
    writers: tuple[str, ...]
    norms: tuple[Norm, ...]


def find_residual(model: Any, graph: CallGraph) -> Residual:
    """The stream of a recorded forward.  Raises ModelError with the reason where it cannot be rotated."""
    if not hasattr(model, "get_input_embeddings"):
        raise ModelError("the model has no embedding of tokens")
    table = model.get_input_embeddings()
    found = _Stream(model, graph, table)
    return Residual(table.embedding_dim, found.names[table], found.writers(), found.norms())


class _Stream:
    """The keys of all tensors that are the stream, or a sum on the way, from the embedding's on."""

    def __init__(self, model: nn.Module, graph: CallGraph, table: nn.Embedding) -> None:
        self.model, self.graph, self.table = model, graph, table
        self.order = list(graph.calls)
        self.names = {module: name for name, module in model.named_modules()}
        self.keys: set[str] = set()
        self.sums: dict[str, Call] = {}
        self.others: list[Call] = []
        self.behind: dict[str, list[str]] = {}  # what each norm gives, by the norm's name
        rows = {self.names[module] for module in sharing(model, table)}
        waiting = [call.key for call in graph if call.function == "embedding" and call.module in rows]
        while waiting:
            key = waiting.pop(0)
            if key in self.keys:
                continue
            self.keys.add(key)
            for call in graph.consumers(key):
                if self._is_norm(call.module) and call.function not in ALIKE:
                    self.behind.setdefault(call.module, [])
                elif call.function == "add":
                    self.sums[call.key] = call
                    waiting.append(call.key)
                elif call.function in ALIKE or self._scales(call, key):
                    waiting.append(call.key)
                else:
                    self.others.append(call)

    def writers(self) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for call in self.sums.values():
            if len(call.inputs) != 2:
                raise ModelError(f"{call.module} adds to it what no layer gives")
            for made in (self._origin(key) for key in call.inputs if key not in self.keys):
                if made.function != "linear" or not self._is_own_linear(made.module):
                    raise ModelError(f"{made.module} adds to it, and is {OWN}")
                if self._reached(made.key) - self.sums.keys():
                    raise ModelError(f"{made.module} adds to it, and is read elsewhere too")
                found[made.module] = None
        return tuple(found)

    def norms(self) -> tuple[Norm, ...]:
        for call in self.others:
            raise ModelError(f"{call.module} reads it ({call.function}), and is no norm")
        if self.keys & set(self.graph.outputs[:1]):
            raise ModelError("the model gives it out")
        for call in self.graph:
            if call.module in self.behind and call.key not in self.keys and self._leaves(call):
                self.behind[call.module].append(call.key)
        norms = [Norm(name, self._offset(name), self._readers(name, keys)) for name, keys in self.behind.items()]
        readers = [reader for norm in norms for reader in norm.readers]
        if len(readers) != len(set(readers)):
            raise ModelError(f"{max(readers, key=readers.count)} reads it behind two norms")
        return tuple(norms)

    def _readers(self, norm: str, keys: list[str]) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for key in keys:
            if key in self.graph.outputs[:1]:
                raise ModelError(f"the model gives out what {norm} gives")
            for reached in sorted(self._reached(key), key=self.order.index):
                call = self.graph.calls[reached]
                tied = raw_weight(self.model.get_submodule(call.module)) is raw_weight(self.table)
                if call.function != "linear" or not (tied or self._is_own_linear(call.module)):
                    raise ModelError(f"{call.module} reads what {norm} gives ({call.function}), and is {OWN}")
                found[call.module] = None
        return tuple(found)

    def _reached(self, key: str) -> set[str]:
        """The first calls behind a tensor that do more than to hand it on: its positions, its multiples."""
        found, waiting = set(), [key]
        while waiting:
            key = waiting.pop()
            for call in self.graph.consumers(key):
                if call.function in ALIKE | {"__getitem__"} or self._scales(call, key):
                    waiting.append(call.key)
                else:
                    found.add(call.key)
        return found

    def _scales(self, call: Call, key: str) -> bool:
        """Whether a call multiplies a tensor by one number."""
        others = [self.graph.calls[other].shape for other in call.inputs if other != key and other in self.graph.calls]
        return call.function in SCALING and call.inputs.count(key) == 1 and all(math.prod(each) == 1 for each in others)

    def _origin(self, key: str) -> Call:
        call = self.graph.calls[key]
        while call.function in ALIKE and call.inputs:
            call = self.graph.calls[call.inputs[0]]
        return call

    def _leaves(self, call: Call) -> bool:
        """Whether something outside of its module reads what a call gives."""
        return call.key in self.graph.outputs or any(
            reader.module != call.module for reader in self.graph.consumers(call.key)
        )

    def _is_norm(self, name: str) -> bool:
        module = self.model.get_submodule(name)
        weight = raw_weight(module)
        return weight is not None and weight.shape == (self.table.embedding_dim,) and not isinstance(module, nn.Linear)

    def _is_own_linear(self, name: str) -> bool:
        """A linear layer that runs once, and whose weight is no other's."""
        module = self.model.get_submodule(name)
        runs = sum(call.module == name and call.function == "linear" for call in self.graph)
        return isinstance(module, nn.Linear) and runs == 1 and len(sharing(self.model, module)) == 1

    def _offset(self, name: str) -> float:
        """As numbers tell: x / √mean(x²) · (weight + offset) is what an RMSNorm gives."""
        norm: Any = self.model.get_submodule(name)
        x = torch.linspace(-1, 2, self.table.embedding_dim, device=norm.weight.device)
        with torch.no_grad():
            given, root = norm(x), x.square().mean().sqrt()
            for offset in (0.0, 1.0):
                if torch.allclose(given, x / root * (norm.weight + offset), rtol=1e-3, atol=1e-4):
                    return offset
        raise ModelError(f"{name} is no RMSNorm")
