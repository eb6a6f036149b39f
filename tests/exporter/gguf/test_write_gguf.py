"""write_gguf: files that are read back as the model, the tokenizer and the grids that they were written from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from compress.errors import ArtefactError, ModelError
from compress.exporter.gguf import file, write_gguf
from compress.exporter.gguf.tokens import TEXTS
from compress.models.layers import raw_weight
from compress.models.masks import set_mask
from compress.models.quantized import set_weight
from compress.models.source import ModelSource
from compress.models.translators import load_translator
from compress.models.translators.gguf_file import GgufFile, read_gguf
from compress.numerics.grid import nearest
from tests.exporter.gguf.tiny import SHAPES, logits, read, tiny
from tests.exporter.gguf.wide import wide_llama


@pytest.mark.parametrize("shape", SHAPES)
def test_a_file_of_float32_gives_the_same_model_bit_for_bit(tmp_path: Path, shape: str) -> None:
    loaded = tiny(shape)
    written = write_gguf(loaded, tmp_path / "m.gguf", type="F32")
    assert written.num_bytes == written.path.stat().st_size
    assert (set(written.types), written.notes) == ({"F32"}, ())
    again = load_translator(ModelSource(f"gguf:{written.path}"))
    assert type(again.model) is type(loaded.model)
    theirs = again.model.state_dict()
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(theirs[name], value), name
    assert again.model.lm_head.weight is again.model.model.embed_tokens.weight
    # HunYuan's alpha becomes another base, which the file holds in 32 bits.
    torch.testing.assert_close(logits(again), logits(loaded), rtol=0, atol=1e-3 if shape == "tiny-hunyuan" else 0)
    for text in (*TEXTS, "w300 Ġw300 <|im_end|>"):
        assert again.tokenizer.encode(text).ids == loaded.tokenizer.encode(text).ids
        assert again.tokenizer.decode(again.tokenizer.encode(text).ids) == loaded.tokenizer.decode(
            loaded.tokenizer.encode(text).ids
        )
    assert again.prompt == loaded.prompt
    for key in ("bos_token_id", "eos_token_id", "pad_token_id", "max_position_embeddings"):
        assert getattr(again.model.config, key) == getattr(loaded.model.config, key)


def test_the_header_says_what_llama_cpp_asks_for(tmp_path: Path) -> None:
    loaded = replace(tiny("tiny-gemma3"), licence="https://example.org/terms", description="a tiny one")
    header = read_gguf(write_gguf(loaded, tmp_path / "m.gguf", type="Q8_0", name="tiny").path).values
    expected = {
        "general.architecture": "gemma3",
        "general.name": "tiny",
        "general.description": "a tiny one",
        "general.license": "https://example.org/terms",
        "general.file_type": int(gguf.LlamaFileType.MOSTLY_Q8_0),
        "general.quantization_version": 2,
        "gemma3.vocab_size": 512,
        "gemma3.context_length": 1024,
        "gemma3.embedding_length": 64,
        "gemma3.block_count": 2,
        "gemma3.feed_forward_length": 128,
        "gemma3.attention.head_count": 4,
        "gemma3.attention.head_count_kv": 1,
        "gemma3.attention.key_length": 32,
        "gemma3.attention.value_length": 32,
        "gemma3.attention.sliding_window": 16,
        "gemma3.attention.sliding_window_pattern": 2,
        "gemma3.rope.freq_base": 1e6,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
    }
    assert {key: header.get(key) for key in expected} == expected
    assert header["gemma3.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-6)
    # The package's own reader agrees about where everything lies.
    fields = gguf.GGUFReader(tmp_path / "m.gguf")
    assert {tensor.name for tensor in fields.tensors} == set(read_gguf(tmp_path / "m.gguf").tensors)


def test_a_tied_embedding_is_stored_once_and_a_head_of_its_own_too(tmp_path: Path) -> None:
    loaded = tiny("tiny-qwen3")
    embedding = loaded.model.get_input_embeddings()
    set_weight(embedding, nearest(embedding.weight.detach(), 4, group_size=32), loaded.model)
    written = write_gguf(loaded, tmp_path / "m.gguf")
    tensors = read_gguf(written.path).tensors
    assert "output.weight" not in tensors
    assert gguf.GGMLQuantizationType(tensors["token_embd.weight"].kind).name == "Q4_0"
    assert torch.equal(read(written.path, "model.embed_tokens.weight"), embedding.weight.detach())

    apart = tiny("tiny-qwen3", tie_word_embeddings=False)
    apart.model.lm_head.weight = torch.nn.Parameter(torch.randn(512, 64, generator=torch.Generator().manual_seed(2)))
    written = write_gguf(apart, tmp_path / "apart.gguf", type="F32")
    assert torch.equal(read(written.path, "lm_head.weight"), apart.model.lm_head.weight.detach())


def test_a_pruned_matrix_has_its_zeros_in_the_file(tmp_path: Path) -> None:
    loaded = tiny("tiny-llama")
    name = "model.layers.0.mlp.down_proj"
    layer = loaded.model.get_submodule(name)
    mask = torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(0)) > 0.5
    set_mask(layer, mask)
    raw_weight(layer).data.add_(1.0)  # as an optimizer moves what is pruned
    write_gguf(loaded, tmp_path / "a.gguf", type="F32")
    found = read(tmp_path / "a.gguf", f"{name}.weight")
    assert torch.equal(found, layer.weight)
    assert bool((found[~mask] == 0).all())


def test_the_same_model_gives_the_same_bytes_however_its_rows_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = tiny("tiny-llama")
    layer = loaded.model.model.layers[0].mlp.up_proj
    set_weight(layer, nearest(layer.weight.detach(), 4, group_size=32), loaded.model)
    wide = wide_llama()
    first = write_gguf(loaded, tmp_path / "a.gguf").path.read_bytes()
    second = write_gguf(wide, tmp_path / "wide-a.gguf", type="Q2_K").path.read_bytes()
    monkeypatch.setattr("compress.exporter.gguf.tensors._CHUNK", 4000)
    assert write_gguf(loaded, tmp_path / "b.gguf").path.read_bytes() == first
    assert write_gguf(wide, tmp_path / "wide-b.gguf", type="Q2_K").path.read_bytes() == second


def test_a_file_is_not_replaced_unless_it_is_forced_and_appears_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, path = tiny("tiny-qwen2"), tmp_path / "deep" / "m.gguf"
    write_gguf(loaded, path)
    before = path.read_bytes()
    with pytest.raises(ArtefactError, match=r"m\.gguf: exists already: "):
        write_gguf(loaded, path, type="F32")
    with pytest.raises(ArtefactError, match="is a directory"):
        write_gguf(loaded, path.parent, force=True)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(file, "_write", full)
        with pytest.raises(ArtefactError, match="cannot be written: No space left on device"):
            write_gguf(loaded, path, type="F32", force=True)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    assert write_gguf(loaded, path, type="F32", force=True).num_bytes == path.stat().st_size > len(before)


def test_a_type_that_is_not_known_is_told_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"unknown GGUF type 'IQ1': known: auto, F32, F16, .*, TQ1_0"):
        write_gguf(tiny("tiny-qwen2"), tmp_path / "m.gguf", type="IQ1")


def test_an_encoder_decoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the encoder–decoder 'marian' is not written as GGUF here: only decoders"):
        write_gguf(load_translator(ModelSource("random:tiny-marian")), tmp_path / "m.gguf")


PARTIAL = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}


@pytest.mark.parametrize(
    ("shape", "changed", "told"),
    [
        ("tiny-llama", {"rope_parameters": YARN}, "rotary scaling 'yarn'"),
        ("tiny-llama", {"hidden_act": "gelu"}, "has the activation silu, and this model gelu"),
        ("tiny-qwen3", {"use_sliding_window": True}, "a sliding window"),
        ("tiny-qwen3", {"rope_parameters": PARTIAL}, "a part of each"),
        ("tiny-gemma3", {"final_logit_softcapping": 30.0}, "knows no final_logit_softcapping"),
        ("tiny-gemma3", {"query_pre_attn_scalar": 99}, "query_pre_attn_scalar is 99"),
        ("tiny-gemma3", {"layer_types": ["full_attention", "sliding_attention"]}, "each n-th layer"),
    ],
)  # fmt: skip
def test_what_llama_cpp_would_compute_otherwise_is_refused(
    tmp_path: Path, shape: str, changed: dict[str, Any], told: str
) -> None:
    with pytest.raises(ModelError, match=told):
        write_gguf(tiny(shape, **changed), tmp_path / "m.gguf")
    assert not (tmp_path / "m.gguf").exists()


def test_a_tensor_that_has_no_place_is_told(tmp_path: Path) -> None:
    loaded = tiny("tiny-qwen3")
    loaded.model.model.layers[1].mlp.up_proj.bias = torch.nn.Parameter(torch.ones(128))
    with pytest.raises(ModelError, match=r"no place for the tensor 'model\.layers\.1\.mlp\.up_proj\.bias'"):
        write_gguf(loaded, tmp_path / "m.gguf")


def test_linear_scaling_and_gemma_s_own_bases_are_read_back(tmp_path: Path) -> None:
    linear = {"rope_type": "linear", "rope_theta": 5e5, "factor": 8.0}
    rope = {"full_attention": linear, "sliding_attention": {"rope_type": "default", "rope_theta": 2e4}}
    written = write_gguf(tiny("tiny-gemma3", rope_parameters=rope), tmp_path / "m.gguf")
    again = load_translator(ModelSource(f"gguf:{written.path}")).model.config
    assert again.rope_parameters == rope
    assert again.layer_types == ["sliding_attention", "full_attention"]


def test_llama_3_s_frequencies_are_written_as_what_divides_them(tmp_path: Path) -> None:
    import transformers

    loaded = tiny("tiny-llama")
    scaled = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaled |= {"original_max_position_embeddings": 64}
    config = transformers.LlamaConfig(**{**loaded.model.config.to_dict(), "rope_parameters": scaled})
    model = transformers.LlamaForCausalLM(config).eval()
    model.load_state_dict(loaded.model.state_dict())
    opened: GgufFile = read_gguf(write_gguf(replace(loaded, model=model), tmp_path / "m.gguf").path)
    factors = opened.read("rope_freqs.weight")
    assert factors.min() == 1.0
    assert factors.max() == pytest.approx(8.0)
    plain = 5e5 ** -(np.arange(0, 16, 2) / 16)
    np.testing.assert_allclose(plain / factors, model.model.rotary_emb.inv_freq.numpy(), rtol=1e-6)
