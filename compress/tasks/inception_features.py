"""Features of photographs by Inception (Szegedy et al. 2015, arXiv:1512.00567), as FID takes them (Heusel et al. 2017,
arXiv:1706.08500): the network of 2015 that torch-fidelity holds, with its resizing."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import ModelError, require
from compress.tasks.base import Float
from compress.tasks.image_features import Features, Seen

if TYPE_CHECKING:
    from torch import nn

_BATCH = 50
_WIDTH = "2048"  # torch-fidelity's name of the last pooling


def inception_2015(weights: str) -> Features:
    """2,048 numbers, of images of any size, grey ones as grey colours; they are resized to 299 pixels.

    weights  torch-fidelity's file of a state dict, weights-inception-2015-12-05-6726825d.pth; nothing in it is run.

    Raises MissingExtra without torch-fidelity, ModelError for a file that is missing, or of another network.
    """
    require("torch_fidelity", "features of inception-2015", "fid")
    network = _network(weights)

    def of(images: Float) -> Seen:
        import torch

        light = np.rint((np.clip(images, -1, 1) + 1) * 127.5).astype(np.uint8)
        coloured = torch.from_numpy(np.repeat(light, 3, axis=1) if light.shape[1] == 1 else light)
        parts = [network(coloured[start : start + _BATCH])[0] for start in range(0, len(coloured), _BATCH)]
        return torch.cat(parts).double().numpy(), None

    return Features("inception-2015", None, of)


@lru_cache(maxsize=1)
def _network(weights: str) -> nn.Module:
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    from compress.models.sources.path import read_state_dict

    file = Path(weights).expanduser()
    checked = io.BytesIO()  # torch-fidelity unpickles what it is given: here, what was read as tensors alone
    torch.save(read_state_dict(file), checked)
    checked.seek(0)
    source: Any = checked
    try:
        network: nn.Module = FeatureExtractorInceptionV3("inception", [_WIDTH], feature_extractor_weights_path=source)
    except RuntimeError as error:
        raise ModelError(
            f"feature_weights {file}: not the state dict of torch-fidelity's Inception: {error}"
        ) from error
    return network
