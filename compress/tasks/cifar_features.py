"""Features of images of CIFAR-10 by a ResNet-56 (He et al. 2015, arXiv:1512.03385) that the user has the weights of."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from compress.errors import require
from compress.tasks.base import Float
from compress.tasks.image_features import Features

if TYPE_CHECKING:
    from torch import nn

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # that such checkpoints are trained with
_BATCH = 250


def cifar_resnet56(weights: str) -> Features:
    """64 numbers, the mean over the places of the last stage; the class is that of the layer behind.

    weights  file of a state dict: conv1, bn1, layer1 … layer3, linear.

    Raises MissingExtra without torch, ModelError for a file that is missing, or of another network.
    """
    require("torch", "features of cifar-resnet56", "torch")
    body, head = _network(weights)

    def of(images: Float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        import torch

        light = (np.clip(images, -1, 1) + 1) / 2
        scaled = (light - np.reshape(_MEAN, (1, 3, 1, 1))) / np.reshape(_STD, (1, 3, 1, 1))
        with torch.inference_mode():
            given = torch.from_numpy(scaled.astype(np.float32))
            features = torch.cat([body(given[start : start + _BATCH]) for start in range(0, len(given), _BATCH)])
            seen = head(features).argmax(dim=1)
        return features.double().numpy(), seen.numpy()

    return Features("cifar-resnet56", (3, 32, 32), of)


@lru_cache(maxsize=2)
def _network(weights: str) -> tuple[nn.Module, nn.Module]:
    """What gives the features, and what tells the class of them."""
    from torch import nn

    from compress.models.resnet_cifar import CifarResNet
    from compress.models.sources.path import fill, read_state_dict

    model = CifarResNet(9)
    file = Path(weights).expanduser()
    fill(model, read_state_dict(file), str(file))
    head = model.linear
    model.linear = nn.Identity()  # type: ignore[assignment]  # so that what goes into it comes out
    return model.eval(), head.eval()
