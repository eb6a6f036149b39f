"""Open a translator that ships as ONNX, and let it write: onnxruntime, numpy and tokenizers, nothing else."""

from __future__ import annotations

from compress.runtime.text.opening import open_translator
from compress.runtime.text.translator import Translator
from compress.runtime.text.values import Decoding, Likelihood, Translation

__all__ = ["Decoding", "Likelihood", "Translation", "Translator", "open_translator"]
