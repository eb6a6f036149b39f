"""What llama.cpp and transformers call the same architecture and the same tensor."""

from __future__ import annotations

import re

# llama.cpp's architecture → transformers' model type.
MODEL_TYPES = {"gemma3": "gemma3_text", "hunyuan-dense": "hunyuan_v1_dense"}
MODEL_TYPES |= {name: name for name in ("llama", "qwen2", "qwen3")}
_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# Where an architecture has other names.
_OWN_NAMES = {
    "gemma3": {
        "ffn_norm": "pre_feedforward_layernorm",
        "post_attention_norm": "post_attention_layernorm",
        "post_ffw_norm": "post_feedforward_layernorm",
    },
    "hunyuan-dense": {"attn_q_norm": "self_attn.query_layernorm", "attn_k_norm": "self_attn.key_layernorm"},
}
# The biases that llama.cpp reads.
_BIASED = {"llama": ("attn_q", "attn_k", "attn_v", "attn_output"), "qwen2": ("attn_q", "attn_k", "attn_v")}


def renamed(name: str, architecture: str) -> str:
    """'blk.3.attn_q.weight' → 'model.layers.3.self_attn.q_proj.weight'; what is not known stays."""
    block = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name)
    if block:
        inner = _inner(architecture).get(block[2], block[2])
        return f"model.layers.{block[1]}.{inner}.{block[3]}"
    stem, _, kind = name.rpartition(".")
    return f"{_OUTER.get(stem, stem)}.{kind}"


def gguf_name(name: str, architecture: str) -> str | None:
    """The other way: 'model.layers.3.self_attn.q_proj.weight' → 'blk.3.attn_q.weight'.

    None for a tensor that llama.cpp would not read.
    """
    stem, _, kind = name.rpartition(".")
    block = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", stem)
    theirs = _inner(architecture) if block else _OUTER
    found = next((short for short, own in theirs.items() if own == (block[2] if block else stem)), None)
    if found is None or (kind == "bias" and found not in _BIASED.get(architecture, ())):
        return None
    return f"blk.{block[1]}.{found}.{kind}" if block else f"{found}.{kind}"


def _inner(architecture: str) -> dict[str, str]:
    return {**_INNER, **_OWN_NAMES.get(architecture, {})}
