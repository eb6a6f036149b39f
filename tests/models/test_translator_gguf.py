"""GGUF files: small ones written here are read back as the model and tokenizer that they were made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from compress.errors import ModelError
from compress.models.source import ModelSource
from compress.models.translators import load_translator, model_layer_names
from compress.models.translators.gguf_file import read_gguf
from compress.models.translators.gguf_names import renamed

TEXT = "Ab  c\n\nß"


def places(architecture: str, names: list[str]) -> dict[str, str]:
    """Each of transformers' names → its name in a file."""
    own = ["attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "attn_q_norm", "attn_k_norm", "ffn_norm"]
    own += ["ffn_gate", "ffn_up", "ffn_down", "post_attention_norm", "post_ffw_norm"]
    known = [f"blk.{i}.{name}.{kind}" for i in range(2) for name in own for kind in ("weight", "bias")]
    found = {renamed(name, architecture): name for name in [*known, "token_embd.weight", "output_norm.weight"]}
    return {name: found[name] for name in names}


def permuted(values: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Rotary pairs beside each other, as llama.cpp's converter writes Llama's queries and keys."""
    return values.reshape(heads, 2, values.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(values.shape)


def write(path: Path, architecture: str, shape: str, *, byte_level: bool = False, merged: str = "Ab") -> Any:
    """A file with the weights of a tiny shape, matrices in Q8_0; its model."""
    loaded = load_translator(ModelSource(f"random:{shape}"))
    config = loaded.model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_license("mit")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim if hasattr(config, "head_dim") else 16)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if architecture == "gemma3":
        writer.add_rope_freq_base(1e6)
        writer.add_sliding_window(config.sliding_window)
    else:
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if byte_level:
        vocabulary = loaded.tokenizer.get_vocab()
        tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
        tokens[400] = merged
        special = loaded.tokenizer.get_added_tokens_decoder()
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("qwen2")
        writer.add_token_list(tokens)
        writer.add_token_types([3 if number in special else 1 for number in range(len(tokens))])
        writer.add_token_merges(["A b"])
        writer.add_eos_token_id(502)
    else:
        bytes_ = [f"<0x{value:02X}>" for value in range(256)]
        tokens = ["<pad>", "<eos>", "<bos>", "<unk>", *bytes_, "\n\n", "▁▁", "A", "b", "▁", "c", "Ab", "▁c"]
        tokens += [f"w{number}" for number in range(512 - len(tokens))]
        kinds = [3, 3, 3, 2, *[6] * 256, 4, 4, *[1] * (512 - 262)]
        writer.add_tokenizer_model("llama")
        writer.add_token_list(tokens)
        writer.add_token_scores([-float(number) for number in range(512)])
        writer.add_token_types(kinds)
        writer.add_bos_token_id(2)
        writer.add_eos_token_id(1)
        writer.add_pad_token_id(0)
        writer.add_unk_token_id(3)
        writer.add_add_space_prefix(False)
    state = {name: value for name, value in loaded.model.state_dict().items() if name != "lm_head.weight"}
    for name, place in places(architecture, list(state)).items():
        values = state[name].numpy()
        if architecture == "llama" and ("q_proj" in name or "k_proj" in name):
            values = permuted(values, config.num_attention_heads if "q_proj" in name else config.num_key_value_heads)
        if architecture == "gemma3" and name.endswith("norm.weight"):
            values = values + 1
        if values.ndim == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            packed = gguf.quantize(values, kind)
            writer.add_tensor(place, packed, raw_dtype=kind)
        else:
            writer.add_tensor(place, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return loaded.model


@pytest.mark.parametrize(
    ("architecture", "shape", "byte_level"),
    [
        ("llama", "tiny-llama", False),
        ("gemma3", "tiny-gemma3", False),
        ("qwen2", "tiny-qwen2", True),
        ("qwen3", "tiny-qwen3", True),
    ],
)
def test_a_file_gives_the_model_that_was_written_to_eight_bits(
    tmp_path: Path, architecture: str, shape: str, byte_level: bool
) -> None:
    path = tmp_path / "m.gguf"
    written = write(path, architecture, shape, byte_level=byte_level)
    loaded = load_translator(ModelSource(f"gguf:{path}"))
    assert type(loaded.model) is type(written)
    own = written.state_dict()
    for name, value in loaded.model.state_dict().items():
        assert float((value - own[name]).abs().max()) <= float(own[name].abs().max()) / 254 * 1.02
    assert loaded.model.lm_head.weight is loaded.model.model.embed_tokens.weight
    assert (loaded.licence, loaded.random_weights, loaded.family) == ("mit", False, "decoder")
    assert loaded.model.config.rope_parameters == written.config.rope_parameters
    tokens = torch.arange(4, 20)[None]
    with torch.inference_mode():
        assert (
            torch.corrcoef(torch.stack([loaded.model(tokens).logits, written(tokens).logits]).flatten(1))[0, 1] > 0.99
        )
    assert set(model_layer_names(ModelSource(f"gguf:{path}"))) == set(model_layer_names(ModelSource(f"random:{shape}")))


def test_tokens_are_found_as_sentencepiece_finds_them(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    write(path, "gemma3", "tiny-gemma3")
    tokenizer = load_translator(ModelSource(f"gguf:{path}")).tokenizer
    numbers = tokenizer.encode(TEXT).ids
    assert [tokenizer.id_to_token(number) for number in numbers] == [
        "<bos>", "Ab", "▁▁", "c", "\n\n", "<0xC3>", "<0x9F>",
    ]  # fmt: skip
    assert tokenizer.decode(numbers) == TEXT
    assert tokenizer.encode("b c").tokens == ["<bos>", "b", "▁c"]


def test_byte_level_tokens_are_merged_within_words(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    write(path, "qwen3", "tiny-qwen3", byte_level=True)
    tokenizer = load_translator(ModelSource(f"gguf:{path}")).tokenizer
    assert tokenizer.encode("Ab<|im_end|>A b").tokens == ["Ab", "<|im_end|>", "A", "Ġ", "b"]
    assert tokenizer.decode(tokenizer.encode(TEXT).ids) == TEXT
    write(path, "qwen3", "tiny-qwen3", byte_level=True, merged="another")
    with pytest.raises(ModelError, match=r"its tokenizer is damaged: .*`Ab` out of vocabulary"):
        load_translator(ModelSource(f"gguf:{path}"))


@pytest.mark.parametrize("kept", [0, 3, 23, 60, 5000, -1])
def test_a_truncated_file_is_told(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "m.gguf"
    write(path, "llama", "tiny-llama")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match=r"truncated|is not a GGUF file"):
        read_gguf(path)


def test_foreign_files_are_told(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    with pytest.raises(ModelError, match="there is no file"):
        read_gguf(path)
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(ModelError, match=r"is not a GGUF file: it begins with b'PK"):
        read_gguf(path)
    path.write_bytes(b"GGUF" + (9).to_bytes(4, "little") + bytes(100))
    with pytest.raises(ModelError, match="is of version 9"):
        read_gguf(path)
    path.write_bytes(b"GGUF" + (3).to_bytes(4, "big") + bytes(100))
    with pytest.raises(ModelError, match="is big-endian"):
        read_gguf(path)


def test_an_architecture_that_is_not_known_is_told(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_tensor("token_embd.weight", np.zeros((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelError, match="its architecture 'bert' is not read from GGUF here, but: gemma3, "):
        load_translator(ModelSource(f"gguf:{path}"))
