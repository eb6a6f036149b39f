"""A denoiser's artefact, without torch: opened, run, measured."""

from compress.runtime.denoising.graph import NoiseGraph, open_denoiser, open_unet

__all__ = ["NoiseGraph", "open_denoiser", "open_unet"]
