"""Preprocessor: from a photograph to a model's input, as numbers that fit in preprocessor_config.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt
from numpy.typing import NDArray

from compress.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# PIL's numbers, which are also what `resample` in a Hugging Face config means.
RESAMPLE = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}

Size = Annotated[int, Ge(1)]
Deviation = Annotated[float, Gt(0)]
Triple = tuple[float, float, float]  # one number a channel: red, green, blue


@dataclass(frozen=True)
class Preprocessor:
    """Resize, cut the centre, scale, normalise: (rescale · x − mean) / std.

    resize         pixels of the short side, the ratio kept; or (height, width), the ratio not kept.
    crop           (height, width) of the centre that is cut out; what lies outside the resized image is black.
    interpolation  of the resize, with PIL's anti-aliasing.
    rescale        factor from 0 … 255 to what mean and std refer to.
    crop_rounding  where an odd margin leaves half a pixel: 'even' rounds it to the even one (torchvision and timm),
                   'down' cuts it off (transformers).
    """

    resize: Size | tuple[Size, Size]
    crop: tuple[Size, Size]
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    mean: Triple = IMAGENET_MEAN
    std: tuple[Deviation, Deviation, Deviation] = IMAGENET_STD
    rescale: Annotated[float, Gt(0)] = 1 / 255
    crop_rounding: Literal["even", "down"] = "even"

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """float32 [3, crop height, crop width] of an image of any size and mode."""
        inputs: NDArray[np.float32] = self.normalised(self.cut(image)[None])[0]
        return inputs

    def cut(self, image: Image.Image) -> NDArray[np.uint8]:
        """uint8 [crop height, crop width, 3]: resized and cut, not yet scaled."""
        from PIL.Image import Resampling

        image = image if image.mode == "RGB" else image.convert("RGB")
        size = self.resized_size(image.size)
        if image.size != size:
            image = image.resize(size, Resampling(RESAMPLE[self.interpolation]))
        return np.asarray(image.crop(self.crop_box(size)), dtype=np.uint8)

    def normalised(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [N, H, W, 3], as `cut` gives them → float32 [N, 3, H, W], scaled and normalised."""
        pixels = images.transpose(0, 3, 1, 2).astype(np.float32)
        mean, std = (np.array(values, dtype=np.float32)[:, None, None] for values in (self.mean, self.std))
        return np.ascontiguousarray((pixels * np.float32(self.rescale) - mean) / std)

    def resized_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) of an image of that (width, height) after the resize."""
        if not isinstance(self.resize, int):
            return self.resize[1], self.resize[0]
        width, height = size
        if width <= height:
            return self.resize, int(self.resize * height / width)
        return int(self.resize * width / height), self.resize

    def crop_box(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) of the centre of the centre; it reaches beyond an image that is smaller."""
        left, top = (self._margin(have, want) for have, want in zip(size, reversed(self.crop), strict=True))
        return left, top, left + self.crop[1], top + self.crop[0]

    def _margin(self, have: int, want: int) -> int:
        if have < want:
            return -((want - have) // 2)
        return round((have - want) / 2) if self.crop_rounding == "even" else (have - want) // 2

    def to_hugging_face(self) -> dict[str, Any]:
        """What preprocessor_config.json says, so that transformers' AutoImageProcessor makes the same input.

        With `backend="pil"` to the bit; its default, torchvision, resizes some pixels a level or two of 255 off.  It
        cuts as crop_rounding 'down' says: where a margin is odd, a model that is used to 'even' may see the centre one
        pixel off.
        """
        if isinstance(self.resize, int):
            size = {"shortest_edge": self.resize}
        else:
            size = {"height": self.resize[0], "width": self.resize[1]}
        return {
            "image_processor_type": "BitImageProcessor",
            "do_convert_rgb": True,
            "do_resize": True,
            "size": size,
            "resample": RESAMPLE[self.interpolation],
            "do_center_crop": True,
            "crop_size": {"height": self.crop[0], "width": self.crop[1]},
            "crop_rounding": self.crop_rounding,
            "do_rescale": True,
            "rescale_factor": self.rescale,
            "do_normalize": True,
            "image_mean": list(self.mean),
            "image_std": list(self.std),
        }

    @classmethod
    def from_hugging_face(cls, config: dict[str, Any]) -> Preprocessor:
        """The inverse, for this project's own files and for the image processors of transformers that do the same.

        Takes what an image processor's `to_dict` writes.  Raises DataError for what a Preprocessor cannot express.
        """
        try:
            resize, crop, interpolation = _geometry(config)
            mean, std, rescale = _numbers(config)
            rounding = config.get("crop_rounding", "down")  # transformers' own rule, where nothing else is said
            return cls(resize, crop, interpolation, mean, std, rescale, rounding)
        except KeyError as error:
            raise DataError(f"the preprocessor config has no {error}") from error


def _geometry(config: dict[str, Any]) -> tuple[Any, tuple[int, int], Any]:
    """(resize, crop, interpolation) of a Hugging Face image processor's config."""
    for key in ("do_flip_channel_order", "do_pad"):
        if config.get(key):
            raise DataError(f"the preprocessor config has {key}: true, which cannot be expressed")
    if not config.get("do_resize", True):
        raise DataError("the preprocessor config has do_resize: false: inputs must have one size")
    names = {number: name for name, number in RESAMPLE.items()}
    if config["resample"] not in names:
        raise DataError(f"the preprocessor config has resample: {config['resample']}; known: {names}")
    interpolation = names[config["resample"]]
    size = {key: value for key, value in dict(config["size"]).items() if value is not None}
    if "crop_pct" in config and config.get("image_processor_type", "").startswith("ConvNext"):
        edge = size["shortest_edge"]
        # ConvNeXT's own rule: no crop from 384 pixels on, the ratio is not kept then.
        resize = int(edge / config["crop_pct"]) if edge < 384 else (edge, edge)
        return resize, (edge, edge), interpolation
    if set(size) == {"height", "width"}:
        exact = (size["height"], size["width"])
        crop = config["crop_size"] if config.get("do_center_crop") else size
        return exact, (crop["height"], crop["width"]), interpolation
    if set(size) == {"shortest_edge"} and config.get("do_center_crop"):
        crop = config["crop_size"]
        return size["shortest_edge"], (crop["height"], crop["width"]), interpolation
    raise DataError(f"the preprocessor config has size: {size} and no centre crop: inputs must have one size")


def _numbers(config: dict[str, Any]) -> tuple[Triple, Triple, float]:
    """(mean, std, rescale) of a Hugging Face image processor's config."""
    rescale = float(config["rescale_factor"]) if config.get("do_rescale", True) else 1.0
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)
    if config.get("do_normalize", True):
        mean, std = _three(config["image_mean"]), _three(config["image_std"])
    if config.get("image_processor_type", "").startswith("EfficientNet"):
        if config.get("rescale_offset"):  # rescale · x − 1
            mean = (mean[0] + 1, mean[1] + 1, mean[2] + 1)
        if config.get("include_top"):  # divides by std a second time
            std = (std[0] ** 2, std[1] ** 2, std[2] ** 2)
    return mean, std, rescale


def _three(values: float | list[float]) -> Triple:
    channels = [float(v) for v in values] if isinstance(values, list | tuple) else [float(values)] * 3
    if len(channels) != 3:
        raise DataError(f"the preprocessor config has {len(channels)} channels in mean or std: 3 are wanted")
    return channels[0], channels[1], channels[2]
