"""A UNet2DConditionModel of diffusers as a function of tensors, from its config; and its fresh weights."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compress.errors import ModelError
from compress.models.denoisers.schedule import own_settings
from compress.models.loaded import told
from compress.models.paging import page, wants_paging

CLASS_NAME = "UNet2DConditionModel"
_EMBEDDING_STD = 0.02
# Parts of a config that ask for more inputs than a sample, its timestep and the text's states.
_MORE_INPUTS = (
    "addition_embed_type",
    "class_embed_type",
    "num_class_embeds",
    "encoder_hid_dim_type",
    "time_cond_proj_dim",
)


def blank_unet(config: Mapping[str, Any], where: str) -> Any:
    """The model on the meta device, without weights.

    Its forward is sample [N, C, H, W], timestep float32 [N], encoder_hidden_states [N, L, D] → [N, C', H, W].
    Raises ModelError for a config that diffusers does not take, or that asks for more inputs.
    """
    from diffusers import UNet2DConditionModel

    name = config.get("_class_name", CLASS_NAME)
    if name != CLASS_NAME:
        raise ModelError(f"{where}: _class_name is {name}: only {CLASS_NAME} of diffusers can be compressed here")
    for key in _MORE_INPUTS:
        if config.get(key) is not None:
            raise ModelError(
                f"{where}: {key} is {config[key]}: this UNet takes more than a sample, its timestep and one text's "
                f"states: only such as Stable Diffusion 1.5's, without it, can be compressed here"
            )
    with told(where), torch.device("meta"):
        model = UNet2DConditionModel(**own_settings(config))
    return _takes_tensors(model).eval()


def unfilled(model: nn.Module) -> nn.Module:
    """The meta model in memory, its values still to be written; one too large for the memory is paged."""
    model = model.to_empty(device="cpu")
    if wants_paging(sum(torch.float32.itemsize * value.numel() for value in model.parameters())):
        page(model, filled=False)
    return model


def filled_at_random(model: nn.Module, seed: int) -> nn.Module:
    """The meta model with normal weights of variance 1 / (3 · inputs), as torch's own layers begin, and norms of one;
    those of embeddings of variance 0.02², as CLIP's.

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
            else:  # norms
                value.data.fill_(1.0 if key == "weight" else 0.0)
    with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool:
        list(pool.map(lambda item: _draw(seed, *item), drawn))
    return model


def stride_of(model: Any) -> int:
    """By what height and width of a latent must be divisible: twice for each block that halves them."""
    return int(2 ** (len(model.config.block_out_channels) - 1))


def _draw(seed: int, name: str, values: Tensor, std: float) -> None:
    array = values.numpy()
    random = np.random.Generator(np.random.SFC64([seed, zlib.crc32(name.encode())]))
    random.standard_normal(dtype=np.float32, out=array)
    array *= np.float32(std)


def _takes_tensors(model: Any) -> Any:
    """The model itself, its modules under their own names; its class becomes a subclass, since a wrapper would put a
    prefix before every layer's name."""
    original = type(model)

    def forward(self: Any, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        out: Tensor = original.forward(self, sample, timestep, encoder_hidden_states, return_dict=False)[0]
        return out

    model.__class__ = type(original.__name__, (original,), {"forward": forward, "__module__": original.__module__})
    return model
