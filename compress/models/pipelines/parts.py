"""A pipeline as one model: its parts are submodules, so that selectors name them: `unet`, `text_encoder.encoder`, …"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from compress.errors import ModelError
from compress.models.denoisers.noise import signal_shares
from compress.models.pipelines.sampling import PipelineConfig

PARTS = ("text_encoder", "unet", "vae_decoder")


class PipelineParts(nn.Module):
    """(input_ids [N, L], sample [N, C, h, w], timestep [N]) → pixels [N, 3, H, W].

    One step, as if it were the last: the text's states, the noise that the UNet finds in the latents, the latents
    without it, and what the VAE's decoder makes of them.  So passes see all parts on inputs that are about right.

    sampling_config  of the scheduler: how much of a latent is noise at a timestep, and what the UNet predicts.
    """

    shares: Tensor
    config: PipelineConfig  # how it is sampled; noted by who knows it

    def __init__(self, text_encoder: Any, unet: Any, vae_decoder: Any, sampling_config: Mapping[str, Any]) -> None:
        super().__init__()
        self.text_encoder, self.unet, self.vae_decoder = text_encoder, unet, vae_decoder
        self.predicts_velocity = sampling_config.get("prediction_type") == "v_prediction"
        shares = signal_shares(sampling_config, "the scheduler", ModelError)
        self.register_buffer("shares", torch.from_numpy(shares).float(), persistent=False)

    def forward(self, input_ids: Tensor, sample: Tensor, timestep: Tensor) -> Tensor:
        found = self.unet(sample, timestep, self.text_encoder(input_ids))
        share = self.shares[timestep.long()][:, None, None, None]
        signal, noise = share.sqrt(), (1 - share).sqrt()
        clean = signal * sample - noise * found if self.predicts_velocity else (sample - noise * found) / signal
        pixels: Tensor = self.vae_decoder(clean / self.vae_decoder.config.scaling_factor)
        return pixels


def check_fit(model: PipelineParts, where: str) -> None:
    """Raise ModelError unless each part takes what the one before it gives."""
    unet, text, vae = model.unet.config, model.text_encoder.config, model.vae_decoder.config
    if unet.cross_attention_dim != text.hidden_size:
        raise ModelError(
            f"{where}: the UNet's cross_attention_dim is {unet.cross_attention_dim}, the text encoder's hidden_size "
            f"{text.hidden_size}: they belong to different pipelines"
        )
    if not unet.in_channels == unet.out_channels == vae.latent_channels:
        raise ModelError(
            f"{where}: the UNet takes latents of {unet.in_channels} channels and gives {unet.out_channels}, the VAE "
            f"has {vae.latent_channels}: only pipelines that make images of texts alone can be compressed here"
        )
