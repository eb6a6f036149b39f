"""Tiny random models of every architecture that is exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from compress.exporter.text import write_graphs
from compress.models.quantized import set_weight
from compress.numerics.grid import nearest

VOCABULARY = 97
_DECODER = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_LAYERS = ["sliding_attention", "full_attention", "sliding_attention"]
DECODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "gemma3": (
        "Gemma3TextConfig",
        {
            "head_dim": 32,
            "num_key_value_heads": 1,
            "sliding_window": 4,
            "layer_types": _LAYERS,
            "query_pre_attn_scalar": 24,
            "final_logit_softcapping": 3.0,
        },
    ),
    "gemma3-two-key-heads": ("Gemma3TextConfig", {"head_dim": 32, "sliding_window": 4, "layer_types": _LAYERS}),
    "llama": ("LlamaConfig", {}),
    "llama-tied-biased": (
        "LlamaConfig",
        {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, "num_key_value_heads": 4},
    ),
    "llama3-rope": (
        "LlamaConfig",
        {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 10000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            }
        },
    ),
    "qwen2": ("Qwen2Config", {}),
    "qwen2-sliding": ("Qwen2Config", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}),
    "qwen3": ("Qwen3Config", {"head_dim": 32}),
    "hunyuan": (
        "HunYuanDenseV1Config",
        {
            "head_dim": 32,
            "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "alpha": 1000.0, "factor": 1.0},
        },
    ),
}
_SEQ2SEQ = {
    "vocab_size": VOCABULARY,
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 80,
    "max_position_embeddings": 64,
    "scale_embedding": True,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}
_T5 = {
    "vocab_size": VOCABULARY,
    "d_model": 64,
    "d_kv": 16,
    "d_ff": 96,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 4,
    "decoder_start_token_id": 0,
    "relative_attention_max_distance": 16,
    "relative_attention_num_buckets": 8,
}
ENCODER_DECODERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "marian": ("MarianConfig", "MarianMTModel", {**_SEQ2SEQ, "activation_function": "swish"}),
    "marian-two-vocabularies": (
        "MarianConfig",
        "MarianMTModel",
        {
            **_SEQ2SEQ,
            "activation_function": "swish",
            "share_encoder_decoder_embeddings": False,
            "decoder_vocab_size": 61,
        },
    ),
    "m2m100": ("M2M100Config", "M2M100ForConditionalGeneration", {**_SEQ2SEQ, "activation_function": "relu"}),
    "t5-gated": ("T5Config", "T5ForConditionalGeneration", {**_T5, "feed_forward_proj": "gated-gelu"}),
    "t5": ("T5Config", "T5ForConditionalGeneration", {**_T5, "feed_forward_proj": "relu"}),
}


def decoder(name: str, **changes: Any) -> Any:
    import transformers

    kind, special = DECODERS[name]
    config = getattr(transformers, kind)(**{**_DECODER, **special, **changes})
    return _random(transformers.AutoModelForCausalLM.from_config(config))


def encoder_decoder(name: str) -> Any:
    import transformers

    kind, model, special = ENCODER_DECODERS[name]
    built = _random(getattr(transformers, model)(getattr(transformers, kind)(**special)))
    if hasattr(built, "final_logits_bias"):
        built.final_logits_bias.normal_(generator=torch.Generator().manual_seed(1))
    return built


def _random(model: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" in name:
                continue
            if parameter.dim() == 1:
                parameter.normal_(0.5, 0.3, generator=generator)
            else:
                parameter.normal_(0, 0.1, generator=generator)
    return model.eval().float()


def quantize(model: Any, num_bits: int, group_size: int | None, symmetric: bool = True, integer: bool = False) -> Any:
    """Every linear layer, and the embeddings that are tied to one."""
    for module in list(model.modules()):
        if isinstance(module, nn.Linear | nn.Embedding) and "relative" not in str(type(module)):
            if isinstance(module, nn.Embedding) and module.weight.shape[0] < 60:
                continue  # relative positions
            if "Sinusoidal" in type(module).__name__ or hasattr(module, "parametrizations"):
                continue
            quantized = nearest(module.weight, num_bits, group_size, symmetric=symmetric, integer_scales=integer)
            set_weight(module, quantized, model)
    return model


def written(model: Any, directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    write_graphs(model, directory, "0")
    return directory
