"""LPIPS: how far images look from others, in AlexNet's features (Zhang et al. 2018, arXiv:1801.03924), by torchmetrics,
which holds the weights of its sum; torchvision fetches AlexNet's own, once."""

from __future__ import annotations

import numpy as np

from compress.errors import DataError, require
from compress.tasks.base import Figure, Float
from compress.tasks.statistics import mean_interval

_LEAST = 32  # pixels of a side, of which AlexNet's poolings leave one
_BATCH = 50


def perceptual_distance(images: Float, reference: Float) -> Figure:
    """Mean over the images, with Student's interval.  [N, C, H, W] twice, between −1 and 1; grey ones as grey colours.

    Raises MissingExtra without torchmetrics, DataError for images that are too small, or where AlexNet's weights can
    neither be found nor fetched.
    """
    require("torchmetrics", "lpips", "lpips")
    if min(images.shape[2:]) < _LEAST:
        raise DataError(
            f"lpips wants images of {_LEAST} pixels or more, these have {min(images.shape[2:])}: take it out"
        )
    import torch
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    def coloured(each: Float) -> torch.Tensor:
        inside = torch.from_numpy(np.clip(each, -1, 1).astype(np.float32))
        return inside.expand(-1, 3, -1, -1) if inside.shape[1] == 1 else inside

    try:
        distance = LearnedPerceptualImagePatchSimilarity(net_type="alex", reduction=None)
    except OSError as error:  # urllib's are OSErrors
        raise DataError(
            f"lpips: AlexNet's weights cannot be fetched: {error}: put torchvision's file into "
            f"{torch.hub.get_dir()}/checkpoints"
        ) from error
    pairs = zip(*(torch.split(coloured(each), _BATCH) for each in (images, reference)), strict=True)
    with torch.inference_mode():
        found = torch.cat([distance(one, other).reshape(-1) for one, other in pairs])
    return mean_interval(found.double().numpy())
