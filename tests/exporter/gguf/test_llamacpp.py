"""llama.cpp itself opens what was written, cuts texts as the tokenizer does, and chooses torch's tokens."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from compress.exporter.gguf import write_gguf
from compress.exporter.gguf.k_quants import nearest_blocks
from compress.models.source import ModelSource
from compress.models.translators import LoadedTranslator, load_translator
from compress.models.translators.package import MODULE
from tests.exporter.gguf.wide import make_ternary, wide_llama

pytestmark = pytest.mark.slow
xllamacpp: Any = pytest.importorskip("xllamacpp", reason="llama.cpp is not installed: the extra [llamacpp] brings it")

STEPS = 20
TEXT = "English: Where can I buy a ticket, please?\nFrench:"
HALF = "\ufffd"  # what stands for a part of a letter


@dataclass(frozen=True)
class Answer:
    """Tokens that llama.cpp chose, the logarithms of their probabilities, and how many tokens the text was cut into."""

    tokens: list[int]
    log_probabilities: list[float]
    num_prompt: int


def asked(path: Path, text: str, banned: list[int]) -> Answer:
    """The most likely tokens after a text, one thread, the cache in float32 as torch's is."""
    options = xllamacpp.CommonParams()
    options.model.path = str(path)
    options.n_ctx, options.n_gpu_layers, options.n_parallel, options.verbosity = 512, 0, 1, 0
    options.cpuparams.n_threads = options.cpuparams_batch.n_threads = 1
    options.warmup = options.fit_params = False
    options.cache_type_k = options.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    options.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    wanted = {"prompt": text, "max_tokens": STEPS, "temperature": 0, "top_k": 1, "logprobs": 1, "ignore_eos": True}
    answer = xllamacpp.Server(options).handle_completions(
        {**wanted, "cache_prompt": False, "logit_bias": [[token, False] for token in banned]}
    )
    found = answer["choices"][0]["logprobs"]["content"]
    return Answer([each["id"] for each in found], [each["logprob"] for each in found], answer["usage"]["prompt_tokens"])


def unlisted(loaded: LoadedTranslator) -> list[int]:
    """Half letters and special tokens, whose probabilities llama.cpp does not list one by one."""
    special = loaded.tokenizer.get_added_tokens_decoder()
    return [number for number in range(512) if number in special or HALF in loaded.tokenizer.decode([number])]


def expected(loaded: LoadedTranslator, text: str, banned: list[int]) -> list[int]:
    ids = list(loaded.tokenizer.encode(text).ids)
    begin = len(ids)
    cache, given = None, torch.tensor([ids])
    with torch.inference_mode():
        for _ in range(STEPS):
            output = loaded.model(given, past_key_values=cache, use_cache=True)
            logits, cache = output.logits[0, -1], output.past_key_values
            logits[banned] = -torch.inf
            ids.append(int(logits.argmax()))
            given = torch.tensor([ids[-1:]])
    return ids[begin:]


@pytest.mark.parametrize("shape", ["tiny-gemma3", "tiny-hunyuan", "tiny-llama", "tiny-qwen2", "tiny-qwen3"])
def test_every_architecture_gives_the_tokens_that_torch_gives(tmp_path: Path, shape: str) -> None:
    loaded = load_translator(ModelSource(f"random:{shape}"))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    banned = unlisted(loaded)
    path = write_gguf(loaded, tmp_path / "m.gguf", type="F32").path
    answer = asked(path, TEXT, banned)
    assert answer.num_prompt == len(loaded.tokenizer.encode(TEXT).ids)
    assert answer.tokens == expected(loaded, TEXT, banned)


def scored(loaded: LoadedTranslator, text: str, tokens: list[int]) -> list[float]:
    """The logarithm of the probability of each token after a text and those before it, in torch."""
    ids = [*loaded.tokenizer.encode(text).ids, *tokens]
    with torch.inference_mode():
        logits = loaded.model(torch.tensor([ids[:-1]])).logits[0, -len(tokens) :]
    return [float(row[token]) for row, token in zip(logits.log_softmax(-1), tokens, strict=True)]


@pytest.mark.parametrize("kind", ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "TQ1_0", "TQ2_0"])
def test_super_blocks_give_the_probabilities_that_torch_gives_with_the_same_values(tmp_path: Path, kind: str) -> None:
    loaded = wide_llama()
    if kind.startswith("TQ"):
        make_ternary(loaded)
    path = write_gguf(loaded, tmp_path / "m.gguf", type=kind).path
    answer = asked(path, TEXT, unlisted(loaded))  # probabilities are those from before tokens are banned
    assert len(answer.tokens) == STEPS
    again = load_translator(ModelSource(f"gguf:{path}"))
    same = scored(again, TEXT, answer.tokens)
    # llama.cpp rounds what comes into a layer to 8 bits with a scale for 256 values; torch does not.
    away = [abs(ours - theirs) for ours, theirs in zip(same, answer.log_probabilities, strict=True)]
    assert max(away) < 0.25
    assert sum(away) / STEPS < 0.08
    if kind in ("Q2_K", "Q3_K"):  # and not those of the model that was not rounded
        whole = scored(loaded, TEXT, answer.tokens)
        assert sum(abs(a - b) for a, b in zip(whole, answer.log_probabilities, strict=True)) > 3 * sum(away)


def its_own(values: torch.Tensor, kind: str) -> torch.Tensor:
    """What is left of values [n, columns] after llama.cpp's own encoder, which the module that holds it exports."""
    [file] = Path(xllamacpp.__file__).parent.glob("xllamacpp.*.so")
    library = ctypes.CDLL(str(file))
    if not hasattr(library, "ggml_quantize_chunk"):
        pytest.skip("this build of llama.cpp exports no encoder")
    encode = library.ggml_quantize_chunk
    encode.restype = ctypes.c_size_t
    encode.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    number = gguf.GGMLQuantizationType[kind]
    packed = np.zeros(gguf.quants.quant_shape_to_byte_shape(values.shape, number), np.uint8)
    assert encode(number, values.data_ptr(), packed.ctypes.data, 0, *values.shape, None) == packed.nbytes
    return torch.from_numpy(gguf.dequantize(packed, number))


@pytest.mark.parametrize("kind", ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"])
@pytest.mark.parametrize("freedom", [4, 1000])
def test_less_squared_error_is_left_than_by_llama_cpp_s_own_encoder(kind: str, freedom: int) -> None:
    noise = torch.from_numpy(np.random.default_rng(0).standard_t(freedom, (1024, 256)).astype(np.float32)) * 0.02
    packed = nearest_blocks(noise, kind)
    ours = torch.from_numpy(gguf.dequantize(packed, gguf.GGMLQuantizationType[kind]))
    lost, theirs = (float((each - noise).square().sum()) for each in (ours, its_own(noise, kind)))
    print(f"{kind}, {freedom} degrees of freedom: {lost / theirs:.3f} of llama.cpp's squared error")
    assert lost < theirs


@pytest.fixture(scope="module")
def gemma() -> LoadedTranslator:
    if find_spec(MODULE) is None:
        pytest.skip("Gemma 3 270M is not installed: the extra [translator] brings it")
    return load_translator(ModelSource("package:gemma-3-270m"))


def test_gemma_in_half_precision_gives_the_tokens_that_torch_gives(tmp_path: Path, gemma: LoadedTranslator) -> None:
    answer = asked(write_gguf(gemma, tmp_path / "m.gguf", type="F16").path, TEXT, [])
    assert answer.num_prompt == len(gemma.tokenizer.encode(TEXT).ids)
    assert answer.tokens == expected(gemma, TEXT, [])


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_gemma_in_fewer_bits_loads_and_stays_finite(tmp_path: Path, gemma: LoadedTranslator, kind: str) -> None:
    answer = asked(write_gguf(gemma, tmp_path / "m.gguf", type=kind).path, TEXT, [])
    assert len(answer.tokens) == STEPS
    assert all(isfinite(each) and each <= 0 for each in answer.log_probabilities)
