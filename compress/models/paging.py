"""Weights in files that the system reads and drops page by page, for models that do not fit into memory.

A paged tensor is an ordinary one to torch; its memory is a file without a name, which vanishes with the last tensor on
it.  A model of paged weights is compressed block by block in little more memory than its largest layer takes, and disk
of 5 bytes a weight (float32 and codes) in the directory of temporary files (TMPDIR).

It is done where the float32 weights would take more than half of the memory that is free, or where COMPRESS_PAGING
says `always` (`never`: not at all).
"""

from __future__ import annotations

import os
import tempfile
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from compress.errors import ModelError

SETTING = "COMPRESS_PAGING"
SHARE = 0.5  # of the free memory
SMALLEST = 1 << 18  # bytes of a tensor that is worth a file
Setting = Literal["always", "never", "auto"]


def wants_paging(num_bytes: int) -> bool:
    """Whether a model of so many bytes should be paged.  Raises ModelError for a setting that is unknown."""
    setting = os.environ.get(SETTING, "auto")
    if setting not in get_args(Setting):
        raise ModelError(f"{SETTING} is '{setting}': write {', '.join(get_args(Setting))}")
    if cast(Setting, setting) != "auto":
        return setting == "always"
    import psutil

    return num_bytes > SHARE * int(psutil.virtual_memory().available)


def is_paged(tensor: Tensor) -> bool:
    return tensor.untyped_storage().filename is not None


def paged(tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A paged tensor of the same shape and values.  Raises OSError where the disk is full."""
    return _empty_like(tensor, dtype or tensor.dtype).copy_(tensor.detach())


def page(model: nn.Module, *, filled: bool = True) -> None:
    """Move the large weights of `model`, one after another, into files, as float32; tied ones stay tied.

    filled  whether the matrices have values already.
    """
    for module in model.modules():
        for values in (module._parameters, module._buffers):
            for value in values.values():
                if value is None or not value.is_floating_point() or is_paged(value):
                    continue
                if value.numel() * torch.float32.itemsize < SMALLEST:
                    value.data = value.data.float()
                elif filled or values is module._buffers or value.dim() < 2:
                    value.data = paged(value.data, torch.float32)
                else:
                    value.data = _empty_like(value, torch.float32)


def paged_like(value: Tensor, reference: Tensor) -> Tensor:
    """`value`, paged if it is large and `reference` is paged."""
    large = value.numel() * value.element_size() >= SMALLEST
    return paged(value) if large and is_paged(reference) else value


def _empty_like(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    handle, name = tempfile.mkstemp(prefix="compress-", suffix=".weights")
    size = tensor.numel() * dtype.itemsize
    try:
        if hasattr(os, "posix_fallocate"):  # a full disk is an error here, not a signal later
            os.posix_fallocate(handle, 0, size)
        else:
            os.truncate(handle, size)
        return torch.from_file(name, shared=True, size=tensor.numel(), dtype=dtype).view(tensor.shape)
    finally:
        os.close(handle)
        os.unlink(name)
