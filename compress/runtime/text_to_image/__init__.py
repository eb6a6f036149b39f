"""Images of texts from an artefact, without torch: opened, run, measured."""

from compress.runtime.text_to_image.pipeline import TextToImage, is_pipeline, open_pipeline

__all__ = ["TextToImage", "is_pipeline", "open_pipeline"]
