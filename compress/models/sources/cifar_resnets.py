"""cifar:resnet8, cifar:resnet20 … cifar:resnet110: this project's own networks for 32 × 32 images, with fresh weights.

As the architecture of a `path:` they take the weights of a file.
"""

from __future__ import annotations

from compress.data.preprocess import Preprocessor
from compress.errors import ModelError
from compress.models.loaded import LoadedModel, check_known, seeded
from compress.models.source import ModelSource

DEPTHS = (8, 20, 32, 44, 56, 110)  # of the paper's table 6, and the smallest that 6n + 2 allows
# Images of 32 pixels are left as they are.
PREPROCESSOR = Preprocessor(resize=32, crop=(32, 32), interpolation="bilinear")


def load(source: ModelSource, allow_code: bool) -> LoadedModel:
    """Raises ModelError for another depth, or if pretrained weights are wanted."""
    from compress.models.resnet_cifar import CIFAR10_LABELS, CifarResNet

    depths = {f"resnet{depth}": depth for depth in DEPTHS}
    check_known("cifar", source.name, depths)
    if source.weights == "pretrained":
        raise ModelError(
            f"{source.source} has no weights of its own: write path:FILE.safetensors with architecture: {source.source}"
            f", or weights: random"
        )
    classes = source.num_classes or len(CIFAR10_LABELS)
    return LoadedModel(
        seeded(source.seed, lambda: CifarResNet((depths[source.name] - 2) // 6, classes)),
        PREPROCESSOR,
        CIFAR10_LABELS,
        {"architecture": source.name},
        random_weights=True,
        description=f"CIFAR {source.name} (He et al. 2015)",
    )
