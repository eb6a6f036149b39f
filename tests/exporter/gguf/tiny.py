"""Tiny decoders as GGUF files are written of them, and what is read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from compress.models.layers import raw_weight
from compress.models.source import ModelSource
from compress.models.translators import LoadedTranslator, load_translator

SHAPES = {
    "tiny-gemma3": "gemma3",
    "tiny-hunyuan": "hunyuan-dense",
    "tiny-llama": "llama",
    "tiny-qwen2": "qwen2",
    "tiny-qwen3": "qwen3",
}


def tiny(shape: str, **changed: Any) -> LoadedTranslator:
    """A shape with norms that are not all ones, on a grid that the 1 of Gemma's norms leaves exact."""
    loaded = load_translator(ModelSource(f"random:{shape}"))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randint(-64, 65, parameter.shape, generator=generator) / 256)
    for key, value in changed.items():
        setattr(loaded.model.config, key, value)
    return loaded


def matrices(loaded: LoadedTranslator) -> dict[str, torch.nn.Module]:
    """Modules with a matrix by the names of their parameters, a tied head left out."""
    modules = {f"{name}.weight": module for name, module in loaded.model.named_modules()}
    weights = {name: raw_weight(module) for name, module in modules.items() if module is not loaded.model.lm_head}
    return {name: modules[name] for name, value in weights.items() if value is not None and value.dim() == 2}


def read(path: Path, name: str) -> torch.Tensor:
    """A tensor of a file by transformers' name, dequantized and in transformers' order of rows."""
    loaded = load_translator(ModelSource(f"gguf:{path}"))
    return loaded.model.get_parameter(name).detach()


def logits(loaded: LoadedTranslator) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = loaded.model(torch.arange(4, 60)[None]).logits
    return found
