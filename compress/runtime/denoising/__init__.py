"""A denoiser's artefact, without torch: opened, run, measured."""

from compress.runtime.denoising.unet import UNet, open_unet

__all__ = ["UNet", "open_unet"]
