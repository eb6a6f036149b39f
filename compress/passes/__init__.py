"""The passes: one algorithm a file; importing this package registers them all.  No pass imports torch at the top,
so that recipes are checked where torch is not installed."""

from compress.passes import (  # noqa: F401  (imported to be registered)
    correct_bias,
    equalize,
    fold_batchnorm,
    quantize_static,
    quantize_weights,
    reconstruct,
)
from compress.passes.base import REGISTRY, Context, Pass, register

__all__ = ["REGISTRY", "Context", "Pass", "register"]
