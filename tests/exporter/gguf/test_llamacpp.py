"""llama.cpp itself opens what was written, cuts texts as the tokenizer does, and chooses torch's tokens."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
import torch

from compress.exporter.gguf import write_gguf
from compress.models.source import ModelSource
from compress.models.translators import LoadedTranslator, load_translator
from compress.models.translators.package import MODULE

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
    # Half letters and special tokens, whose probabilities llama.cpp does not list one by one.
    special = loaded.tokenizer.get_added_tokens_decoder()
    banned = [number for number in range(512) if number in special or HALF in loaded.tokenizer.decode([number])]
    path = write_gguf(loaded, tmp_path / "m.gguf", type="F32").path
    answer = asked(path, TEXT, banned)
    assert answer.num_prompt == len(loaded.tokenizer.encode(TEXT).ids)
    assert answer.tokens == expected(loaded, TEXT, banned)


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
