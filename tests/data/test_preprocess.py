"""The same pixels as timm's evaluation transform and as transformers' image processors."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from compress.data.preprocess import Preprocessor
from compress.errors import DataError

HALF = (0.5, 0.5, 0.5)
LITE0 = Preprocessor(resize=256, crop=(224, 224), interpolation="bicubic", mean=HALF, std=HALF)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_by_hand() -> None:
    image = Image.fromarray(np.arange(4 * 2 * 3, dtype=np.uint8).reshape(2, 4, 3))
    made = Preprocessor(resize=2, crop=(2, 2), mean=(0.0, 0.1, 0.2), std=(1.0, 0.5, 0.25))(image)
    # Columns 1 and 2 of 4 are the centre; the red of row 0 is 0, 3, 6, 9.
    np.testing.assert_allclose(made[0], np.array([[3, 6], [15, 18]]) / 255, rtol=1e-6)
    np.testing.assert_allclose(made[2, 1, 1], (20 / 255 - 0.2) / 0.25, rtol=1e-6)
    assert (made.shape, made.dtype, made.flags.c_contiguous) == ((3, 2, 2), np.float32, True)


@settings(max_examples=25, deadline=None)
@given(
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    crop=st.sampled_from([32, 33, 96]),
    crop_pct=st.sampled_from([0.875, 0.9, 0.95, 1.0]),
    interpolation=st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]),
    mode=st.sampled_from(["center", "squash"]),
)
def test_agrees_with_timm_on_any_image(
    width: int, height: int, crop: int, crop_pct: float, interpolation: Any, mode: str
) -> None:
    data = pytest.importorskip("timm.data")
    if max(width, height) > 8 * min(width, height):
        width = height  # a strip of one pixel would be resized to thousands
    theirs = data.create_transform(
        (3, crop, crop), interpolation=interpolation, mean=HALF, std=(0.2, 0.3, 0.4), crop_pct=crop_pct, crop_mode=mode
    )
    side = math.floor(crop / crop_pct)
    ours = Preprocessor(side if mode == "center" else (side, side), (crop, crop), interpolation, HALF, (0.2, 0.3, 0.4))
    image = noise(width, height)
    assert float(np.abs(ours(image) - theirs(image).numpy()).max()) < 1e-6


@pytest.mark.parametrize("size", [(500, 375), (1280, 720), (256, 256), (100, 40), (224, 224), (333, 777)])
def test_efficientnet_lite0_sees_what_timm_shows_it(size: tuple[int, int]) -> None:
    timm = pytest.importorskip("timm")
    config = timm.data.resolve_data_config(
        {}, pretrained_cfg=timm.get_pretrained_cfg("tf_efficientnet_lite0").to_dict()
    )
    theirs = timm.data.create_transform(**config)
    image = noise(*size)
    assert float(np.abs(LITE0(image) - theirs(image).numpy()).max()) < 1e-6


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "CMYK", "P", "1"])
def test_every_mode_is_converted(mode: str) -> None:
    image = noise(40, 30).convert(mode)
    np.testing.assert_array_equal(LITE0(image), LITE0(image.convert("RGB")))


@settings(max_examples=50)
@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from(["even", "down"]))
def test_the_crop_is_the_centre_up_to_half_a_pixel(width: int, height: int, rounding: Any) -> None:
    left, top, right, bottom = Preprocessor(256, (224, 224), crop_rounding=rounding).crop_box((width, height))
    assert (right - left, bottom - top) == (224, 224)
    assert abs(left - (width - right)) <= 1
    assert abs(top - (height - bottom)) <= 1


# From the resized image: 455 − 224 = 231 pixels of margin, 115.5 a side.
ODD = (1280, 720)


@pytest.mark.parametrize("crop_rounding", ["even", "down"])
def test_crop_rounding_decides_the_odd_margin(crop_rounding: Any) -> None:
    preprocessor = Preprocessor(256, (224, 224), crop_rounding=crop_rounding)
    assert preprocessor.resized_size(ODD) == (455, 256)
    assert preprocessor.crop_box((455, 256))[0] == (116 if crop_rounding == "even" else 115)


@pytest.fixture
def processor_of(tmp_path: Path) -> Any:
    transformers = pytest.importorskip("transformers")

    def load(preprocessor: Preprocessor, backend: str | None) -> Any:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(preprocessor.to_hugging_face()))
        processor = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend=backend)
        return lambda image: np.asarray(processor(images=image, return_tensors="pt")["pixel_values"][0])

    return load


@pytest.mark.parametrize("size", [(500, 375), (640, 480), ODD, (100, 150), (256, 256), (30, 20)])
@pytest.mark.parametrize("resize", [256, (256, 300)])
def test_transformers_makes_the_same_input_of_the_config(processor_of: Any, size: tuple[int, int], resize: Any) -> None:
    ours = Preprocessor(resize, (224, 224), "bicubic", HALF, HALF, crop_rounding="down")
    image = noise(*size)
    assert float(np.abs(ours(image) - processor_of(ours, "pil")(image)).max()) < 1e-6
    # The default backend resizes with torchvision, which rounds some pixels the other way, of noise once or twice: a
    # level is 1/255/0.5.
    assert float(np.abs(ours(image) - processor_of(ours, None)(image)).max()) < 2.01 / 255 / 0.5


def test_transformers_cuts_lite0_one_pixel_off_only_where_the_margin_is_odd(processor_of: Any) -> None:
    theirs = processor_of(LITE0, "pil")
    for size in [(500, 375), (640, 480), (100, 150), (256, 256)]:
        np.testing.assert_allclose(theirs(noise(*size)), LITE0(noise(*size)), atol=1e-6)
    np.testing.assert_allclose(theirs(noise(*ODD))[:, :, 1:], LITE0(noise(*ODD))[:, :, :-1], atol=1e-6)


@given(
    resize=st.one_of(st.integers(1, 999), st.tuples(st.integers(1, 999), st.integers(1, 999))),
    crop=st.tuples(st.integers(1, 999), st.integers(1, 999)),
    interpolation=st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]),
    mean=st.tuples(*[st.floats(-2, 2)] * 3),
    std=st.tuples(*[st.floats(0.01, 9)] * 3),
    rescale=st.floats(1e-4, 1),
    rounding=st.sampled_from(["even", "down"]),
)
def test_the_config_says_all_of_it(
    resize: Any, crop: Any, interpolation: Any, mean: Any, std: Any, rescale: float, rounding: Any
) -> None:
    preprocessor = Preprocessor(resize, crop, interpolation, mean, std, rescale, rounding)
    written = json.loads(json.dumps(preprocessor.to_hugging_face()))
    assert Preprocessor.from_hugging_face(written) == preprocessor


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ViTImageProcessor", {"size": {"height": 64, "width": 48}}),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 64}, "crop_pct": 0.9}),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
        ("MobileNetV2ImageProcessor", {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}}),
        ("DeiTImageProcessor", {"size": {"height": 72, "width": 72}, "crop_size": {"height": 64, "width": 64}}),
        ("EfficientNetImageProcessor", {"size": {"height": 64, "width": 64}}),
        ("EfficientNetImageProcessor", {"rescale_offset": True, "rescale_factor": 1 / 127.5, "include_top": False}),
        ("BitImageProcessor", {"do_normalize": False, "image_mean": 0.4}),
        ("CLIPImageProcessor", {"do_rescale": False}),
    ],
)
def test_processors_of_transformers_are_read(name: str, options: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = getattr(transformers, name)(**options)
    ours = Preprocessor.from_hugging_face(json.loads(theirs.to_json_string()))
    image = noise(150, 117)
    expected = np.asarray(theirs(images=image, return_tensors="pt")["pixel_values"][0])
    made = ours(image)
    assert made.shape == expected.shape
    assert float(np.abs(made - expected).max()) <= 2.01 * ours.rescale / min(ours.std)  # two levels: torchvision


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"do_flip_channel_order": True}, "do_flip_channel_order: true, which cannot be expressed"),
        ({"do_resize": False}, "do_resize: false: inputs must have one size"),
        ({"resample": 4}, "resample: 4; known: {0: 'nearest'"),
        ({"do_center_crop": False}, "no centre crop: inputs must have one size"),
        ({"size": {"shortest_edge": 8, "longest_edge": 9}}, "inputs must have one size"),
        ({"image_mean": [0.5]}, "1 channels in mean or std: 3 are wanted"),
    ],
)
def test_what_cannot_be_expressed_is_a_data_error(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as error:
        Preprocessor.from_hugging_face({**LITE0.to_hugging_face(), **change})
    assert message in str(error.value)


def test_a_missing_key_is_named() -> None:
    config = LITE0.to_hugging_face()
    del config["crop_size"]
    with pytest.raises(DataError, match="has no 'crop_size'"):
        Preprocessor.from_hugging_face(config)
