"""A model's weights as the tensors of a GGUF file: which there are, in which type, and how llama.cpp wants them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compress.errors import ModelError
from compress.exporter.gguf.bits import LARGEST_HALF
from compress.exporter.gguf.choosing import Choice, choose
from compress.exporter.gguf.file import StoredTensor
from compress.exporter.gguf.fitting import blocks_of
from compress.exporter.gguf.k_quants import GRIDS, nearest_blocks
from compress.models.layers import raw_weight
from compress.models.masks import settle_masks
from compress.models.quantized import stored
from compress.models.translators.gguf_names import gguf_name
from compress.numerics.weight import odd, rows_of

if TYPE_CHECKING:
    from compress.numerics.weight import QuantizedWeight

_CHUNK = 1 << 22  # values that are made ready at a time
_NAMES_TOLD = 3


@dataclass
class Notes:
    """What became other than was asked, by the reason."""

    by_reason: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, reason: str, name: str) -> None:
        self.by_reason[reason].append(name)

    def lines(self) -> tuple[str, ...]:
        """One for each reason, with how many tensors and the first of their names."""
        return tuple(
            f"{reason}: {len(names)} tensor{'s' * (len(names) > 1)}: {', '.join(names[:_NAMES_TOLD])}"
            + (", …" if len(names) > _NAMES_TOLD else "")
            for reason, names in self.by_reason.items()
        )


def tensors_of(model: Any, architecture: str, kind: str, notes: Notes) -> list[StoredTensor]:
    """The tensors of a decoder of transformers, in the order of its modules; a tied head is not there.

    kind   of the matrices: one of TYPES or AUTO; `choosing` says what becomes of each.
    notes  takes each matrix that becomes another type than was asked, or whose scales are rounded.

    Norms and biases are F32.  Raises ModelError for a tensor that llama.cpp would not read.
    """
    settle_masks(model)  # rows of the originals are written as they are
    embedding = raw_weight(model.get_input_embeddings())
    head = model.get_output_embeddings()
    found = []
    for prefix, module in model.named_modules():
        if module is head and raw_weight(head) is embedding:
            continue
        for leaf in ("weight", "bias"):
            value = raw_weight(module) if leaf == "weight" else getattr(module, leaf, None)
            if not isinstance(value, nn.Parameter):
                continue
            name = gguf_name(f"{prefix}.{leaf}", architecture)
            if name is None:
                told = f"llama.cpp's '{architecture}' has no place for the tensor '{prefix}.{leaf}'"
                raise ModelError(f"{told}: it cannot be written as GGUF")
            order = _row_order(name, architecture, model.config, value.shape[0])
            found.append(_matrix(module, name, order, kind, notes) if value.dim() > 1 else _vector(value, name, order))
            if architecture == "gemma3" and name.endswith("norm.weight"):
                found[-1] = _vector(value.detach().float() + 1, name, order)
    _refuse_others(model)
    return found


def _refuse_others(model: Any) -> None:
    """Raises ModelError for parameters that are neither weights nor biases of modules."""
    known = {"weight", "bias", "original"}
    for name, _ in model.named_parameters():
        if name.rpartition(".")[2] not in known:
            raise ModelError(f"GGUF has no place for the parameter '{name}'")


def _row_order(name: str, architecture: str, config: Any, rows: int) -> Tensor | None:
    """Which row of torch's lies at each row of the file; None: the same.

    llama.cpp turns the neighbours 2i and 2i + 1 of a Llama's head together, transformers i and i + half a head.
    """
    part = name.rpartition(".")[0].rpartition(".")[2]
    if architecture != "llama" or part not in ("attn_q", "attn_k"):
        return None
    heads = config.num_attention_heads if part == "attn_q" else config.num_key_value_heads
    return torch.arange(rows).reshape(heads, 2, rows // heads // 2).swapaxes(1, 2).reshape(-1)


def _vector(value: Tensor, name: str, order: Tensor | None) -> StoredTensor:
    values = value.detach().float() if order is None else value.detach().float()[order]
    return StoredTensor(name, tuple(values.shape), "F32", 4 * values.numel(), lambda: iter([values.numpy()]))


def _matrix(module: nn.Module, name: str, order: Tensor | None, kind: str, notes: Notes) -> StoredTensor:
    """A matrix [rows, columns] in the type that was asked for, or in one that holds it."""
    part = stored(module)
    quantized = odd(part.quantized) if part is not None else None
    raw = raw_weight(module)
    assert raw is not None
    chosen = choose(quantized, raw.shape[1], kind)
    if not chosen.from_codes and chosen.kind not in ("F32", "BF16") and _largest(raw, quantized) > LARGEST_HALF:
        chosen = Choice("F32", instead="values leave the range of float16")
    for reason in chosen.reasons():
        notes.add(reason, name)
    if chosen.from_codes:
        assert quantized is not None
        return _stored(name, tuple(raw.shape), chosen.kind, partial(_from_codes, quantized, order, chosen.kind))
    return _stored(name, tuple(raw.shape), chosen.kind, partial(_from_values, raw, quantized, order, chosen.kind))


def _stored(name: str, shape: tuple[int, ...], kind: str, made: Callable[[Tensor], NDArray[Any]]) -> StoredTensor:
    """made: gives the bytes of rows by their numbers."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    length, size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    rows, columns = shape
    step = max(1, _CHUNK // columns)

    def parts() -> Iterator[NDArray[Any]]:
        for start in range(0, rows, step):
            yield np.ascontiguousarray(made(torch.arange(start, min(start + step, rows))))

    return StoredTensor(name, shape, kind, rows * columns // length * size, parts)


def _from_codes(quantized: QuantizedWeight, order: Tensor | None, kind: str, numbers: Tensor) -> NDArray[Any]:
    return blocks_of(rows_of(quantized, numbers if order is None else order[numbers]), kind)


def _from_values(
    raw: Tensor, quantized: QuantizedWeight | None, order: Tensor | None, kind: str, numbers: Tensor
) -> NDArray[Any]:
    from gguf import GGMLQuantizationType, quantize

    numbers = numbers if order is None else order[numbers]
    rows = raw.detach()[numbers].float() if quantized is None else rows_of(quantized, numbers).dequantize()
    if kind in GRIDS:
        return nearest_blocks(rows, kind)
    return quantize(rows.contiguous().numpy(), GGMLQuantizationType[kind])


def _largest(raw: Tensor, quantized: QuantizedWeight | None) -> float:
    """The largest absolute value of a matrix."""
    if quantized is None:
        low, high = torch.aminmax(raw.detach())
        return float(max(-low, high))
    step = max(1, _CHUNK // quantized.codes.shape[1])
    numbers = torch.arange(quantized.codes.shape[0])
    parts = (numbers[start : start + step] for start in range(0, len(numbers), step))
    return max(float(rows_of(quantized, part).dequantize().abs().max()) for part in parts)
