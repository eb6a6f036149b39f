"""What a GGUF header says of an architecture, from transformers' config, by the keys of llama.cpp's converter.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md lists them.  What no key can say is refused: a file that loads
and computes something else would be worse than none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from compress.errors import ModelError
from compress.exporter.gguf.file import StoredTensor, Value
from compress.models.translators.gguf import GEMMA_27B_LAYERS, GEMMA_LOCAL_THETA, GEMMA_PERIOD
from compress.models.translators.gguf_names import MODEL_TYPES

_ACTIVATIONS = {"gemma3": ("gelu_pytorch_tanh", "gelu_tanh")}
_FULL = "full_attention"


def architecture_of(config: Any) -> str:
    """What llama.cpp calls it.  Raises ModelError for one that is not written as GGUF here."""
    for architecture, model_type in MODEL_TYPES.items():
        if model_type == config.model_type:
            return architecture
    known = ", ".join(sorted(MODEL_TYPES.values()))
    kind = "encoder–decoder" if getattr(config, "is_encoder_decoder", False) else "architecture"
    raise ModelError(f"the {kind} '{config.model_type}' is not written as GGUF here: only decoders are: {known}")


def architecture_values(config: Any) -> dict[str, Value]:
    """The keys under the architecture's name.  Raises ModelError for what they cannot say."""
    architecture = architecture_of(config)
    _check(config, architecture)
    heads = config.num_attention_heads
    values: dict[str, Value] = {
        "vocab_size": config.vocab_size,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": heads,
        "attention.head_count_kv": config.num_key_value_heads or heads,
        "attention.key_length": _head_dim(config),
        "attention.value_length": _head_dim(config),
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "rope.dimension_count": _head_dim(config),
    }
    parameters = config.rope_parameters
    if architecture == "gemma3":
        values |= _gemma_layers(config)
        parameters = parameters[_FULL]
    values |= _rope(parameters, architecture, _head_dim(config))
    return {f"{architecture}.{key}": value for key, value in values.items()}


def rope_factors(model: Any) -> StoredTensor | None:
    """By what llama.cpp divides each rotary frequency of a Llama 3, float32 [head / 2]; None where it does not."""
    config = model.config
    if config.model_type != "llama" or config.rope_parameters["rope_type"] != "llama3":
        return None
    head = _head_dim(config)
    plain = 1.0 / float(config.rope_parameters["rope_theta"]) ** (torch.arange(0, head, 2).double() / head)
    factors = (plain / model.model.rotary_emb.inv_freq.double().cpu()).numpy().astype(np.float32)
    return StoredTensor("rope_freqs.weight", factors.shape, "F32", factors.nbytes, lambda: iter([factors]))


def _check(config: Any, architecture: str) -> None:
    """Raises ModelError for what llama.cpp takes for granted and the config has otherwise."""
    activation = getattr(config, "hidden_activation", None) or getattr(config, "hidden_act", None)
    wanted = _ACTIVATIONS.get(architecture, ("silu", "swish"))
    if activation not in wanted:
        raise ModelError(f"llama.cpp's '{architecture}' has the activation {wanted[0]}, and this model {activation}")
    for key in ("attn_logit_softcapping", "final_logit_softcapping", "use_bidirectional_attention"):
        if getattr(config, key, None):
            raise ModelError(f"llama.cpp's '{architecture}' knows no {key}, which this model's config sets")
    if getattr(config, "use_sliding_window", False):
        raise ModelError(f"llama.cpp's '{architecture}' sees the whole text, and this model a sliding window")
    if architecture == "gemma3":
        large = config.num_hidden_layers == GEMMA_27B_LAYERS
        width = config.hidden_size // config.num_attention_heads if large else config.head_dim
        if config.query_pre_attn_scalar != width:
            told = f"{width}, and this model's query_pre_attn_scalar is {config.query_pre_attn_scalar}"
            raise ModelError(f"llama.cpp's 'gemma3' scales queries by the width {told}")


def _gemma_layers(config: Any) -> dict[str, Value]:
    """Which layers see how much, and how those that see less are turned."""
    local = config.rope_parameters["sliding_attention"]
    if local["rope_type"] != "default":
        raise ModelError(
            f"llama.cpp's 'gemma3' scales no local rotary frequencies, and this model '{local['rope_type']}'"
        )
    values: dict[str, Value] = {"attention.sliding_window": config.sliding_window}
    period = _period(config.layer_types)
    if period != GEMMA_PERIOD:  # what llama.cpp takes where the key is absent
        values["attention.sliding_window_pattern"] = period
    if float(local["rope_theta"]) != GEMMA_LOCAL_THETA:
        values["rope.freq_base_swa"] = float(local["rope_theta"])
    return values


def _period(layer_types: list[str]) -> int:
    """Of the layers that see the whole text: each such-and-such one."""
    full = [layer_type == _FULL for layer_type in layer_types]
    periods: list[int] = [GEMMA_PERIOD, *range(2, len(full) + 2)]
    for period in periods:
        if full == [(layer + 1) % period == 0 for layer in range(len(full))]:
            return period
    raise ModelError("llama.cpp's 'gemma3' sees the whole text in each n-th layer, and this model in others")


def _rope(parameters: dict[str, Any], architecture: str, head: int) -> dict[str, Value]:
    kind, theta = parameters["rope_type"], float(parameters["rope_theta"])
    if parameters.get("partial_rotary_factor", 1.0) != 1.0:
        raise ModelError(f"llama.cpp's '{architecture}' turns whole heads, and this model a part of each")
    if kind == "default" or (kind == "llama3" and architecture == "llama"):
        return {"rope.freq_base": theta}
    if kind == "linear":
        factor = float(parameters["factor"])
        return {"rope.freq_base": theta, "rope.scaling.type": "linear", "rope.scaling.factor": factor}
    if kind == "dynamic" and architecture == "hunyuan-dense" and parameters.get("alpha"):
        # A fixed alpha is another base (NTK-aware scaling), whatever the length of the text.
        return {"rope.freq_base": theta * parameters["alpha"] ** (head / (head - 2))}
    raise ModelError(f"the rotary scaling '{kind}' is not written as GGUF here: default, linear and llama3 are")


def _head_dim(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
