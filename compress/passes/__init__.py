"""The passes: one algorithm a file; importing this package registers them all.

No pass imports torch at the top, so that recipes are checked where torch is not installed."""

from compress.passes.base import REGISTRY, Context, Pass, register
from compress.passes.cache_steps import CacheSteps
from compress.passes.correct_bias import CorrectBias
from compress.passes.distill import Distill
from compress.passes.distill_guidance import DistillGuidance
from compress.passes.distill_quantized import DistillQuantized
from compress.passes.distill_sequence import DistillSequence
from compress.passes.distill_steps import DistillSteps
from compress.passes.equalize import Equalize
from compress.passes.factorize import Factorize
from compress.passes.finetune import Finetune
from compress.passes.fold_batchnorm import FoldBatchNorm
from compress.passes.prune_channels import PruneChannels
from compress.passes.prune_ffn import PruneFeedForward
from compress.passes.prune_heads import PruneHeads
from compress.passes.prune_layers import PruneLayers
from compress.passes.prune_magnitude import PruneMagnitude
from compress.passes.prune_sparsegpt import PruneSparseGPT
from compress.passes.prune_wanda import PruneWanda
from compress.passes.quantize_dynamic import QuantizeDynamic
from compress.passes.quantize_static import QuantizeStatic
from compress.passes.quantize_svd import QuantizeSvd
from compress.passes.quantize_ternary import QuantizeTernary
from compress.passes.quantize_weights import QuantizeWeights
from compress.passes.reconstruct import Reconstruct
from compress.passes.rotate import Rotate
from compress.passes.smooth import Smooth
from compress.passes.smooth_timesteps import SmoothTimesteps
from compress.passes.train_flow import TrainFlow
from compress.passes.train_quantized import TrainQuantized
from compress.passes.trim_vocabulary import TrimVocabulary
from compress.passes.tune_norms_and_scales import TuneNormsAndScales

__all__ = [
    "REGISTRY",
    "CacheSteps",
    "Context",
    "CorrectBias",
    "Distill",
    "DistillGuidance",
    "DistillQuantized",
    "DistillSequence",
    "DistillSteps",
    "Equalize",
    "Factorize",
    "Finetune",
    "FoldBatchNorm",
    "Pass",
    "PruneChannels",
    "PruneFeedForward",
    "PruneHeads",
    "PruneLayers",
    "PruneMagnitude",
    "PruneSparseGPT",
    "PruneWanda",
    "QuantizeDynamic",
    "QuantizeStatic",
    "QuantizeSvd",
    "QuantizeTernary",
    "QuantizeWeights",
    "Reconstruct",
    "Rotate",
    "Smooth",
    "SmoothTimesteps",
    "TrainFlow",
    "TrainQuantized",
    "TrimVocabulary",
    "TuneNormsAndScales",
    "register",
]
