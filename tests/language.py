"""Language models of a few thousand random weights, of the architectures that translate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from compress.passes.base import Context
from compress.targets import load

VOCABULARY = 199


def decoder(kind: str = "gemma", seed: int = 0, **options: Any) -> nn.Module:
    """A decoder of two layers, 16 wide, whose head is tied to its embedding unless `options` say otherwise."""
    import transformers as hf

    shape = {"vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "tie_word_embeddings": True} | options
    if kind == "gemma":
        config: Any = hf.Gemma3TextConfig(**shape, layer_types=["sliding_attention", "full_attention"])
        return lively(hf.Gemma3ForCausalLM, config, seed)
    if kind == "qwen":
        return lively(hf.Qwen3ForCausalLM, hf.Qwen3Config(**shape), seed)
    return lively(hf.LlamaForCausalLM, hf.LlamaConfig(**shape), seed)


def encoder_decoder(kind: str = "marian", seed: int = 0) -> nn.Module:
    """An encoder and a decoder of two layers each, 16 wide, all embeddings and the head tied."""
    import transformers as hf

    if kind == "t5":
        config: Any = hf.T5Config(
            vocab_size=VOCABULARY, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0
        )
        return lively(hf.T5ForConditionalGeneration, config, seed)
    shape = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2}
    shape |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "vocab_size": VOCABULARY}
    shape |= {"max_position_embeddings": 32, "pad_token_id": 1, "decoder_start_token_id": 1}
    if kind == "m2m100":
        return lively(hf.M2M100ForConditionalGeneration, hf.M2M100Config(**shape), seed)
    return lively(hf.MarianMTModel, hf.MarianConfig(**shape, eos_token_id=0, forced_eos_token_id=0), seed)


def lively(make: Callable[[Any], nn.Module], config: Any, seed: int) -> nn.Module:
    """In eval mode, with weights large enough that every layer matters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make(config).eval()
        with torch.no_grad():
            for parameter in {id(p): p for p in model.parameters()}.values():
                if parameter.dim() > 1 and parameter.requires_grad:
                    parameter.normal_(0, parameter.shape[-1] ** -0.5)
                elif parameter.requires_grad:
                    parameter.add_(torch.rand_like(parameter) * 0.3)
    return model


def sentences(model: nn.Module, lengths: tuple[int, ...] = (7, 4, 9), seed: int = 1) -> list[tuple[Tensor, ...]]:
    """Batches of two sentences each, of different lengths, as the model's positional arguments."""
    generator = torch.Generator().manual_seed(seed)
    batches: list[tuple[Tensor, ...]] = []
    for length in lengths:
        ids = torch.randint(2, VOCABULARY, (2, length), generator=generator)
        mask = torch.ones_like(ids)
        target = torch.randint(2, VOCABULARY, (2, length + 1), generator=generator)
        batches.append((ids, mask, target) if model.config.is_encoder_decoder else (ids, mask))
    return batches


def context(model: nn.Module, seed: int = 0) -> Context:
    """Calibration on `sentences`."""
    return Context(lambda: iter(sentences(model)), load("generic"), seed)


def logits(model: nn.Module) -> list[Tensor]:
    """What the model gives for `sentences`."""
    with torch.no_grad():
        return [model(*batch, use_cache=False).logits for batch in sentences(model)]


MODELS: dict[str, Callable[[], nn.Module]] = {
    "gemma": decoder,
    "llama": lambda: decoder("llama"),
    "marian": encoder_decoder,
    "m2m100": lambda: encoder_decoder("m2m100"),
    "t5": lambda: encoder_decoder("t5"),
}
