"""The decoder of an AutoencoderKL of diffusers as a function of tensors, from its config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from compress.errors import ModelError
from compress.models.denoisers.schedule import own_settings
from compress.models.loaded import told

CLASS_NAME = "AutoencoderKL"
_OWN = ("decoder.", "post_quant_conv.")
# What attention's layers were called when diffusers was young, as in the files of Stable Diffusion 1.5.
_YOUNG = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


class VaeDecoder(nn.Module):
    """Latents [N, C, h, w], in the units of the VAE → pixels [N, 3, H, W], about between −1 and 1.

    config  that of the whole AutoencoderKL.
    """

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.config = vae.config
        self.post_quant_conv, self.decoder = vae.post_quant_conv, vae.decoder

    def forward(self, latent_sample: Tensor) -> Tensor:
        latents = latent_sample if self.post_quant_conv is None else self.post_quant_conv(latent_sample)
        pixels: Tensor = self.decoder(latents)
        return pixels

    @property
    def scale(self) -> int:
        """Pixels that a latent becomes, in height and width."""
        return int(2 ** (len(self.config.block_out_channels) - 1))


def blank_decoder(config: Mapping[str, Any], where: str) -> VaeDecoder:
    """The decoder on the meta device, without weights.

    Raises ModelError for a config that diffusers does not take, or whose latents are not those of a UNet as they are.
    """
    from diffusers import AutoencoderKL

    name = config.get("_class_name", CLASS_NAME)
    if name != CLASS_NAME:
        raise ModelError(f"{where}: _class_name is {name}: only {CLASS_NAME} of diffusers can be compressed here")
    for key in ("shift_factor", "latents_mean", "latents_std"):
        if config.get(key) is not None:
            raise ModelError(
                f"{where}: {key} is {config[key]}: only a VAE whose latents are scaled alone is known here"
            )
    with told(where), torch.device("meta"):
        vae = AutoencoderKL(**own_settings(config))
    return VaeDecoder(vae).eval()


def decoder_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of an AutoencoderKL's weights those of the decoder, under the names that they have now."""
    return {_renamed(name): value for name, value in state.items() if name.startswith(_OWN)}


def _renamed(name: str) -> str:
    *path, layer, kind = name.split(".")
    return ".".join((*path, _YOUNG.get(layer, layer), kind)) if "attentions" in path else name
