"""Input: what a denoiser is given beside its weights, one tensor of it.  No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal[
    "latent", "patches", "timestep", "share", "guidance", "states", "pooled", "sizes", "mask", "label", "class"
]
TIMES: tuple[Kind, ...] = ("timestep", "share")


@dataclass(frozen=True)
class Input:
    """name  as diffusers calls it.
    kind   latent    float32 (C, H, W): what is to be denoised.
           patches   float32 (n, D): a square latent, cut into patches, row after row.
           timestep  float32 (): how noisy it is.
           share     float32 (): the same as a share of 1000 timesteps.
           guidance  float32 (): the scale of the guidance that the model was distilled from.
           states    float32 (L, D): of a text's tokens.
           pooled    float32 (D): of the whole text.
           sizes     float32 (n): heights and widths of images, in pixels.
           mask      int64 (L): 1 for each token that is read, 0 for those that fill the text up.
           label     int64 (): a class, from 0 on; `count` stands for none.
           class     int64 (): a class, from 0 on.
    shape  after the batch.
    count  of the classes; 0 for other inputs, and where it is not known.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...] = ()
    count: int = 0

    @property
    def dtype(self) -> type[np.generic]:
        return np.int64 if self.kind in ("mask", "label", "class") else np.float32
