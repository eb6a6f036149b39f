"""Input: what a denoiser is given beside its weights, one tensor of it.  No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["latent", "timestep", "states", "pooled", "sizes", "mask", "label", "class"]


@dataclass(frozen=True)
class Input:
    """name  as diffusers calls it.
    kind   latent    float32 (C, H, W): what is to be denoised.
           timestep  float32 (): how noisy it is.
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
