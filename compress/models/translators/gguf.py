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
from compress.models.translators.gguf_names import MODEL_TYPES, renamed
from compress.models.translators.gguf_tokenizer import special_tokens, tokenizer_of
from compress.models.translators.loaded import SETTINGS, LoadedTranslator
from compress.models.translators.prompts import default_prompt

# llama.cpp knows Gemma 3's largest model, whose queries are scaled by another width, by its number of layers.
GEMMA_27B_LAYERS = 62
# What holds in a Gemma 3 whose header says nothing: each sixth layer sees the whole text, the others turn by this base.
GEMMA_PERIOD, GEMMA_LOCAL_THETA = 6, 10000.0


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
        files={SETTINGS: (json.dumps(settings, indent=2, ensure_ascii=False) + "\n").encode()},
        description=f"{file.values.get('general.name', path.stem)} of {path.name}, dequantized",
        licence=_text(file.values.get("general.license")),
    )


def config_of(file: GgufFile) -> Any:
    """The config of transformers that the header describes.  Raises ModelError for what has no equal there."""
    from transformers import AutoConfig

    kind = file.architecture
    if kind not in MODEL_TYPES:
        known = ", ".join(sorted(MODEL_TYPES))
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
        attended = width // heads if config["num_hidden_layers"] == GEMMA_27B_LAYERS else config["head_dim"]
        local = {"rope_type": "default", "rope_theta": float(file.value("rope.freq_base_swa", GEMMA_LOCAL_THETA))}
        period = int(file.value("attention.sliding_window_pattern", GEMMA_PERIOD))
        config |= {"query_pre_attn_scalar": attended, "sliding_window": file.value("attention.sliding_window")}
        config["layer_types"] = [
            "sliding_attention" if (layer + 1) % period else "full_attention"
            for layer in range(file.value("block_count"))
        ]
        config["rope_parameters"] = {"full_attention": config["rope_parameters"], "sliding_attention": local}
    with told(str(file.path)), quiet():
        return AutoConfig.for_model(MODEL_TYPES[kind], **config)


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
