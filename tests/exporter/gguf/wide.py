"""A Llama of one layer whose rows are multiples of 256, which super-blocks fill."""

from __future__ import annotations

from dataclasses import replace

import torch

from compress.models.quantized import set_weight
from compress.models.source import ModelSource
from compress.models.translators import LoadedTranslator, load_translator
from compress.numerics.weight import QuantizedWeight

WIDTH, INNER = 256, 512


def wide_llama() -> LoadedTranslator:
    import transformers

    loaded = load_translator(ModelSource("random:tiny-llama"))
    wider = {"hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": 1, "head_dim": WIDTH // 4}
    config = transformers.LlamaConfig(**{**loaded.model.config.to_dict(), **wider})
    model = transformers.LlamaForCausalLM(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise * 0.1 if parameter.dim() > 1 else 1 + 0.2 * noise)
    return replace(loaded, model=model)


def ternary_weight(weight: torch.Tensor, group_size: int | None) -> QuantizedWeight:
    """Codes of what is larger than half the standard deviation; a scale a row or group, as float16 holds it."""
    rows = weight.detach()
    codes = torch.where(rows.abs() > 0.5 * rows.std(), rows.sign(), 0.0)
    size = group_size or rows.shape[1]
    parts = [part.abs().sum(1) / part.count_nonzero(1) for part in (rows * codes.abs()).split(size, dim=1)]
    return QuantizedWeight(codes.to(torch.int8), torch.stack(parts, 1).half().float(), None, None, 2, group_size)


def make_ternary(loaded: LoadedTranslator) -> None:
    """The layers of the body, with a scale a row or, where rows are longer, a scale for 256."""
    for layer in loaded.model.model.layers.modules():
        if isinstance(layer, torch.nn.Linear):
            group = 256 if layer.in_features > 256 else None
            set_weight(layer, ternary_weight(layer.weight, group), loaded.model)
