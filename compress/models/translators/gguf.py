"""gguf:FILE.gguf: decoders in llama.cpp's format, dequantized to float32 as they are read.

Names and conventions are those of llama.cpp's converter: Llama's queries and keys are stored with each head's rotary
pairs beside each other, and Gemma's norms with the 1 added that its network adds by itself.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.errors import ModelError
from compress.models.loaded import told
from compress.models.source import ModelSource
from compress.models.translators.building import blank_model, family_of, quiet, unfilled_model
from compress.models.translators.gguf_file import GgufFile, read_gguf
from compress.models.translators.gguf_tokenizer import special_tokens, tokenizer_of
from compress.models.translators.loaded import LoadedTranslator
from compress.models.translators.prompts import default_prompt

_MODEL_TYPES = {"gemma3": "gemma3_text", "hunyuan-dense": "hunyuan_v1_dense"}
_MODEL_TYPES |= {name: name for name in ("llama", "qwen2", "qwen3")}
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
_GEMMA_27B_LAYERS = 62


def load(source: ModelSource) -> LoadedTranslator:
    """Raises ModelError for a file that is missing, foreign, truncated, or of an architecture that is not known."""
    return load_file(Path(source.name).expanduser())


def blank(source: ModelSource) -> Any:
    """The model on the meta device."""
    file = read_gguf(Path(source.name).expanduser())
    return blank_model(config_of(file), str(file.path))


def load_file(path: Path) -> LoadedTranslator:
    """As `load`, of a path."""
    file = read_gguf(path)
    config = config_of(file)
    tokenizer = tokenizer_of(file)
    with told(str(path)), quiet():
        model = unfilled_model(config, str(path))
    fill(model, file)
    template = file.values.get("tokenizer.chat_template")
    numbers = special_tokens(file)
    specials = {name.removesuffix("_id"): str(tokenizer.id_to_token(number)) for name, number in numbers.items()}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": config.max_position_embeddings}
    settings |= {**specials, "clean_up_tokenization_spaces": False} | ({"chat_template": template} if template else {})
    return LoadedTranslator(
        model,
        family_of(config, str(path)),
        tokenizer,
        default_prompt(config, tokenizer, template, specials),
        files={"tokenizer_config.json": (json.dumps(settings, indent=2, ensure_ascii=False) + "\n").encode()},
        description=f"{file.values.get('general.name', path.stem)} of {path.name}, dequantized",
        licence=_text(file.values.get("general.license")),
    )


def config_of(file: GgufFile) -> Any:
    """The config of transformers that the header describes.  Raises ModelError for what has no equal there."""
    from transformers import AutoConfig

    kind = file.architecture
    if kind not in _MODEL_TYPES:
        known = ", ".join(sorted(_MODEL_TYPES))
        raise ModelError(f"{file.path}: its architecture '{kind}' is not read from GGUF here, but: {known}")
    if "token_embd.weight" not in file.tensors:
        raise ModelError(f"{file.path}: it has no tensor 'token_embd.weight': it is no whole model")
    if "rope_freqs.weight" in file.tensors:
        raise ModelError(f"{file.path}: its rotary frequencies are scaled one by one: use the model's safetensors")
    heads, width = file.value("attention.head_count"), file.value("embedding_length")
    config = {
        "vocab_size": file.tensors["token_embd.weight"].shape[0],
        "hidden_size": width,
        "num_hidden_layers": file.value("block_count"),
        "intermediate_size": file.value("feed_forward_length"),
        "num_attention_heads": heads,
        "num_key_value_heads": file.value("attention.head_count_kv", heads),
        "head_dim": file.value("attention.key_length", width // heads),
        "rms_norm_eps": file.value("attention.layer_norm_rms_epsilon"),
        "max_position_embeddings": file.value("context_length"),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "attention_bias": "blk.0.attn_q.bias" in file.tensors,
        "rope_parameters": _rope(file),
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
        **{key: number for key, number in special_tokens(file).items() if key != "unk_token_id"},
    }
    if kind == "gemma3":
        attended = width // heads if config["num_hidden_layers"] == _GEMMA_27B_LAYERS else config["head_dim"]
        local = {"rope_type": "default", "rope_theta": 10000.0}
        config |= {"query_pre_attn_scalar": attended, "sliding_window": file.value("attention.sliding_window")}
        config["rope_parameters"] = {"full_attention": config["rope_parameters"], "sliding_attention": local}
    with told(str(file.path)), quiet():
        return AutoConfig.for_model(_MODEL_TYPES[kind], **config)


def fill(model: Any, file: GgufFile) -> None:
    """Write each tensor of the file into the model.  Raises ModelError for one too many or too few."""
    import torch

    parameters, filled = dict(model.named_parameters()), set()
    for name in file.tensors:
        target = renamed(name, file.architecture)
        parameter = parameters.get(target)
        if parameter is None:
            raise ModelError(f"{file.path}: the tensor '{name}' has no place in a {type(model).__name__}")
        values = _as_trained(file.read(name), name, file.architecture, model.config)
        if values.shape != tuple(parameter.shape):
            shapes = f"{list(values.shape)}, and {list(parameter.shape)} is wanted"
            raise ModelError(f"{file.path}: damaged: '{name}' has shape {shapes}")
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(values))
        filled.add(target)
    missing = sorted(set(parameters) - filled)
    if missing:
        raise ModelError(f"{file.path}: it has no weights for {', '.join(missing[:3])}: the file is not whole")


def renamed(name: str, architecture: str) -> str:
    """'blk.3.attn_q.weight' → 'model.layers.3.self_attn.q_proj.weight'; what is not known stays."""
    block = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name)
    if block:
        inner = {**_INNER, **_OWN_NAMES.get(architecture, {})}.get(block[2], block[2])
        return f"model.layers.{block[1]}.{inner}.{block[3]}"
    stem, _, kind = name.rpartition(".")
    return f"{_OUTER.get(stem, stem)}.{kind}"


def _as_trained(values: NDArray[np.float32], name: str, architecture: str, config: Any) -> NDArray[np.float32]:
    """What llama.cpp's converter changed, changed back."""
    if architecture == "gemma3" and name.endswith("norm.weight"):
        return values - 1
    if architecture == "llama" and re.search(r"attn_[qk]\.", name):
        heads = config.num_attention_heads if "attn_q." in name else config.num_key_value_heads
        # [heads, pairs, 2, …] → [heads, 2, pairs, …]
        pairs = values.reshape(heads, values.shape[0] // heads // 2, 2, *values.shape[1:])
        return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(values.shape)
    return values


def _rope(file: GgufFile) -> dict[str, Any]:
    theta = {"rope_theta": float(file.value("rope.freq_base", 10000.0))}
    kind = file.value("rope.scaling.type", "none")
    if kind == "none":
        return {"rope_type": "default", **theta}
    if kind == "linear":
        return {"rope_type": "linear", "factor": float(file.value("rope.scaling.factor")), **theta}
    raise ModelError(f"{file.path}: its rotary scaling '{kind}' is not read from GGUF: use the model's safetensors")


def _text(value: Any) -> str | None:
    return str(value) if value else None
