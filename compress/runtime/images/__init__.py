"""Images from an artefact, without torch: the scheduler, the denoiser, guidance, and how fast and large they are."""

from compress.runtime.images.generator import Generator, open_generator

__all__ = ["Generator", "open_generator"]
