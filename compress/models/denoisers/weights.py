"""The weights of a denoiser that has none yet: room for them, fresh ones, and what is computed and no weight."""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compress.models.paging import page, wants_paging

_EMBEDDING_STD = 0.02


def unfilled(model: nn.Module) -> nn.Module:
    """The meta model in memory, its values still to be written; one too large for the memory is paged."""
    model = model.to_empty(device="cpu")
    if wants_paging(sum(torch.float32.itemsize * value.numel() for value in model.parameters())):
        page(model, filled=False)
    _place_patches(model)
    return model


def filled_at_random(model: nn.Module, seed: int) -> nn.Module:
    """The meta model with normal weights of variance 1 / (3 · inputs), as torch's own layers begin, and norms of one;
    those of embeddings of variance 0.02², as CLIP's; shifts and scales that are a block's own of variance 1 / width.

    Each weight is drawn from `seed` and its own name: the same on any number of threads.
    """
    model = unfilled(model)
    drawn = []
    for name, module in model.named_modules():
        for key, value in module.named_parameters(recurse=False):
            if isinstance(module, nn.Linear | nn.Conv2d):
                drawn.append((f"{name}.{key}", value.detach(), (3 * module.weight[0].numel()) ** -0.5))
            elif isinstance(module, nn.Embedding):
                drawn.append((f"{name}.{key}", value.detach(), _EMBEDDING_STD))
            elif key == "scale_shift_table":
                drawn.append((f"{name}.{key}", value.detach(), value.shape[-1] ** -0.5))
            else:  # norms
                value.data.fill_(1.0 if key == "weight" else 0.0)
    with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool:
        list(pool.map(lambda item: _draw(seed, *item), drawn))
    return model


def _draw(seed: int, name: str, values: Tensor, std: float) -> None:
    array = values.numpy()
    random = np.random.Generator(np.random.SFC64([seed, zlib.crc32(name.encode())]))
    random.standard_normal(dtype=np.float32, out=array)
    array *= np.float32(std)


def _place_patches(model: nn.Module) -> None:
    """Write where each patch lies: sines that diffusers computes and no file holds."""
    from diffusers.models.embeddings import PatchEmbed, get_2d_sincos_pos_embed

    for module in model.modules():
        if isinstance(module, PatchEmbed) and module.pos_embed is not None:
            places: Any = get_2d_sincos_pos_embed(
                module.pos_embed.shape[-1],
                module.pos_embed_max_size or module.base_size,
                base_size=module.base_size,
                interpolation_scale=module.interpolation_scale,
                output_type="pt",
            )
            module.pos_embed.copy_(places[None])
