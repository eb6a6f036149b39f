"""Models of transformers from their configs: which class, on which device, with which random weights."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from compress.errors import ModelError
from compress.models.paging import page, wants_paging

DECODERS = ("gemma3_text", "hunyuan_v1_dense", "llama", "qwen2", "qwen3")
ENCODER_DECODERS = ("m2m_100", "marian", "t5")
DEFAULT_STD = 0.02


def family_of(config: Any, where: str) -> Literal["decoder", "encoder-decoder"]:
    """Raises ModelError for an architecture that is not translated with here."""
    if config.model_type in DECODERS:
        return "decoder"
    if config.model_type in ENCODER_DECODERS:
        return "encoder-decoder"
    known = ", ".join((*DECODERS, *ENCODER_DECODERS))
    raise ModelError(f"{where}: its architecture '{config.model_type}' is not one that is compressed here: {known}")


def auto_class(config: Any, where: str) -> Any:
    """AutoModelForCausalLM or AutoModelForSeq2SeqLM.  Raises ModelError as `family_of`."""
    import transformers

    decoder = family_of(config, where) == "decoder"
    return transformers.AutoModelForCausalLM if decoder else transformers.AutoModelForSeq2SeqLM


def blank_model(config: Any, where: str) -> Any:
    """The model on the meta device, where a weight takes neither time nor memory."""
    with torch.device("meta"):
        model = auto_class(config, where).from_config(config, dtype=torch.float32)
    _untie(model)
    return model


def unfilled_model(config: Any, where: str) -> Any:
    """The model with its buffers and the weights of fixed value computed, all others still to be filled.

    Memory that nothing was written to is not taken from the system yet; a model too large for it is paged.
    """
    from transformers.initialization import no_init_weights

    with no_init_weights():
        model = auto_class(config, where).from_config(config, dtype=torch.float32)
    model.tie_weights()
    _untie(model)
    if wants_paging(float_bytes(model)):
        page(model, filled=False)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):
                module.weight.fill_(1)
                module.bias.zero_()
            if hasattr(module, "create_weight"):  # sinusoidal positions that are kept as a weight
                module.weight.copy_(module.create_weight())
    return model.eval()


def random_model(config: Any, seed: int, std: float, where: str, embedding_std: float | None = None) -> Any:
    """Normal weights of standard deviation `std`, norms one, the row of the padding token zero.

    embedding_std  of embeddings, where it is another.

    Each weight is drawn in place from `seed` and its own name: the same on any number of threads, and 1.8 billion of
    them in seconds, where torch's single generator takes minutes.
    """
    model = unfilled_model(config, where)
    fixed = {
        id(parameter)
        for module in model.modules()
        if _is_norm(module) or hasattr(module, "create_weight")
        for parameter in module.parameters(recurse=False)
    }
    own = {id(module.weight): embedding_std or std for module in model.modules() if isinstance(module, nn.Embedding)}
    drawn = [(name, value) for name, value in model.named_parameters() if id(value) not in fixed]
    with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool:
        list(pool.map(lambda item: _draw(item[1], own.get(id(item[1]), std), seed, item[0]), drawn))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Embedding) and module.padding_idx is not None and id(module.weight) not in fixed:
                module.weight[module.padding_idx].zero_()
    return model


def float_bytes(model: nn.Module) -> int:
    """Of all weights in float32, tied ones once."""
    return sum(torch.float32.itemsize * value.numel() for value in model.parameters())


@contextmanager
def quiet() -> Iterator[None]:
    """Scope: transformers shows no progress bar and no remark; its own settings come back after."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _untie(model: Any) -> None:
    """Give a T5 that does not scale its output its own head: transformers ties whatever no file fills."""
    if getattr(model.config, "scale_decoder_outputs", True) is False:
        model.lm_head.weight = nn.Parameter(torch.empty_like(model.lm_head.weight))


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.LayerNorm) or type(module).__name__.lower().endswith(("rmsnorm", "layernorm"))


def _draw(parameter: nn.Parameter, std: float, seed: int, name: str) -> None:
    values = parameter.detach().numpy()
    random = np.random.Generator(np.random.SFC64([seed, zlib.crc32(name.encode())]))
    random.standard_normal(dtype=np.float32, out=values)
    values *= std
