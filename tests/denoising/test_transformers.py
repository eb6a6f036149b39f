"""PixArt and DiT: what is opened and refused, that files compute what torch does, and that wrong inputs are told."""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from compress.applying import apply
from compress.errors import ArtefactError, DataError, ModelError
from compress.exporter.denoisers import check_noise, export_denoiser
from compress.models.denoisers.inputs import Input
from compress.models.denoisers.loading import LoadedDenoiser, layer_names, load_denoiser
from compress.models.denoisers.schedule import Schedule
from compress.models.denoisers.unet import shaped_inputs
from compress.models.shapes import read_shape
from compress.models.source import DENOISER_SHAPES, ModelSource
from compress.passes.quantize_weights import QuantizeWeights
from compress.runtime.artefact import TRANSFORMER, Artefact
from compress.runtime.denoising import open_denoiser, open_unet
from compress.runtime.denoising.graph import holds_denoiser
from compress.runtime.denoising.measure import parts_of
from compress.tasks.denoising import Denoising

NAMES = ("tiny-pixart", "tiny-dit")
INPUTS = {
    "tiny-pixart": ("hidden_states", "encoder_hidden_states", "timestep", "encoder_attention_mask"),
    "tiny-dit": ("hidden_states", "timestep", "class_labels"),
}
Made = Callable[[str], Artefact]


def load(name: str) -> LoadedDenoiser:
    return load_denoiser(ModelSource(f"random:{name}"))


def task(loaded: LoadedDenoiser, size: int = 8) -> Denoising:
    inputs = loaded.architecture.inputs(loaded.model.config, size, 5, "here")
    return Denoising(inputs, Schedule().timesteps(2))


def example(loaded: LoadedDenoiser, size: int = 8) -> tuple[Tensor, ...]:
    return tuple(map(torch.from_numpy, next(task(loaded, size).batches(2))))


def quantized(loaded: LoadedDenoiser) -> LoadedDenoiser:
    """Linear layers in 4 bits."""
    passes = [QuantizeWeights(num_bits=4, strategy="group", group_size=32, targets=("role:linear",))]
    apply(loaded.model, passes, lambda: [example(loaded)])
    return loaded


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The artefact of a shape, its linear layers in 4 bits; each is made once."""

    @functools.cache
    def artefact(name: str) -> Artefact:
        loaded = quantized(load(name))
        directory = tmp_path_factory.mktemp(name) / "artefact"
        return export_denoiser(loaded.model, loaded, example(loaded), directory, target="generic")

    return artefact


def saved(directory: Path, name: str, **changed: Any) -> Path:
    """A pipeline's directory with the transformer of the shape, as old versions of diffusers laid it out."""
    loaded, shape = load(name), read_shape("denoisers", name, DENOISER_SHAPES)
    folder = directory / "transformer"
    folder.mkdir(parents=True)
    (directory / "scheduler").mkdir()
    norm = {"tiny-pixart": "ada_norm_single", "tiny-dit": "ada_norm_zero"}[name]
    old = {"_class_name": "Transformer2DModel", "norm_type": norm, "only_cross_attention": False}
    (folder / "config.json").write_text(json.dumps({**shape["transformer"], **old, **changed}))
    state = dict(loaded.model.state_dict())
    if name == "tiny-pixart":
        state["caption_projection.y_embedding"] = torch.zeros(5, 32)  # of no use since
    save_file(state, folder / "diffusion_pytorch_model.safetensors")
    (directory / "scheduler" / "scheduler_config.json").write_text(json.dumps(shape["scheduler"]))
    (directory / "model_index.json").write_text(json.dumps({"_class_name": "SomePipeline"}))
    return directory


@pytest.mark.parametrize(
    ("shape", "weights", "embeddings"), [("pixart-xl-512", 610_228_224, 0), ("dit-xl-256", 749_274_624, 28)]
)
def test_true_shapes_have_their_layers(shape: str, weights: int, embeddings: int) -> None:
    layers = layer_names(ModelSource(f"random:{shape}"))
    kinds = Counter(type(layer) for layer in layers.values())
    assert kinds[nn.Conv2d] == 1
    assert kinds[nn.Embedding] == embeddings
    assert sum(layer.weight.numel() for layer in layers.values()) == weights


@pytest.mark.parametrize("name", NAMES)
def test_a_pipeline_and_its_transformer_alone_are_what_diffusers_makes_of_them(name: str, tmp_path: Path) -> None:
    import diffusers

    pipeline = saved(tmp_path / "pipeline", name)
    whole = load_denoiser(ModelSource(f"path:{pipeline}"))
    alone = load_denoiser(ModelSource(f"path:{pipeline / 'transformer'}"))
    assert whole.pipeline == "SomePipeline"
    assert whole.description == "transformer of pipeline"
    assert alone.pipeline == whole.architecture.pipeline
    config = read_shape("denoisers", name, DENOISER_SHAPES)["transformer"]
    theirs = getattr(diffusers, config.pop("_class_name"))(**config).eval()
    theirs.load_state_dict(whole.model.state_dict())
    given = dict(zip(INPUTS[name], example(whole), strict=True))
    more = {"added_cond_kwargs": {"resolution": None, "aspect_ratio": None}} if name == "tiny-pixart" else {}
    with torch.no_grad():
        wanted = theirs(**given, **more, return_dict=False)[0]
        for loaded in (whole, alone):
            torch.testing.assert_close(loaded.model(*example(loaded)), wanted, rtol=1e-5, atol=1e-6)
    assert wanted.shape == (2, 8, 8, 8)
    assert wanted.std() > 0.1


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"sample_size": 128}, "takes the resolution and the aspect ratio too"),
        ({"use_additional_conditions": True}, "only such as PixArt-XL-2-512x512 or PixArt-Sigma"),
        ({"cross_attention_dim": None}, "cross_attention_dim is None: the text's width is wanted"),
        (
            {"only_cross_attention": True},
            "only_cross_attention is True: PixArtTransformer2DModel of diffusers",
        ),
        ({"_class_name": "AuraFlowTransformer2DModel"}, "only UNet2DConditionModel, UNet2DModel, PixArtTr"),
        ({"norm_type": "layer_norm"}, "_class_name is Transformer2DModel: of diffusers only"),
        ({"num_layers": 3}, "does not fit the architecture"),
    ],
)
def test_a_transformer_that_does_not_fit_is_told(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    pipeline = saved(tmp_path / "pipeline", "tiny-pixart", **changed)
    with pytest.raises(ModelError, match=told):
        load_denoiser(ModelSource(f"path:{pipeline}"))


@pytest.mark.parametrize("name", NAMES)
def test_the_directory_is_that_of_a_pipeline(made: Made, name: str) -> None:
    directory = made(name).directory
    shape = read_shape("denoisers", name, DENOISER_SHAPES)
    index = json.loads((directory / "model_index.json").read_text())
    assert index["_class_name"] == shape["pipeline"]
    assert index["transformer"] == ["diffusers", "OnnxRuntimeModel"]
    assert index["scheduler"] == ["diffusers", shape["scheduler"]["_class_name"]]
    config = json.loads((directory / "transformer" / "config.json").read_text())
    assert config["_class_name"] == shape["transformer"]["_class_name"]
    graph = onnx.load(directory / TRANSFORMER, load_external_data=False).graph
    assert tuple(given.name for given in graph.input) == INPUTS[name]
    assert "transformer/model.onnx" in (directory / "README.md").read_text()
    assert holds_denoiser(directory)
    assert sum(parts_of(made(name)).values()) == made(name).model_bytes


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_the_model(made: Made, name: str) -> None:
    coded = quantized(load(name))
    apart = check_noise(coded.model, open_denoiser(made(name)), example(coded), "small", rounds=True)
    assert 1e-4 < apart < 0.03


@pytest.mark.parametrize("name", NAMES)
def test_linear_layers_stay_codes(made: Made, name: str) -> None:
    graph = onnx.load(made(name).directory / TRANSFORMER, load_external_data=False).graph
    found = Counter(node.op_type for node in graph.node)
    model = load(name).model
    linear = sum(isinstance(layer, nn.Linear) for layer in model.modules())
    assert found["MatMulNBits"] >= linear  # DiT asks the first block's embedding twice
    assert found["Gemm"] == 0
    assert made(name).model_bytes < 0.25 * sum(values.nbytes for values in model.parameters())


@pytest.mark.slow
def test_latents_of_another_size_have_places_of_their_own(tmp_path: Path) -> None:
    loaded = load("tiny-pixart")
    given = example(loaded, 12)
    artefact = export_denoiser(loaded.model, loaded, given, tmp_path / "artefact", target="generic")
    graph = open_denoiser(artefact)
    assert graph.latent_shape == (4, 12, 12)
    assert check_noise(loaded.model, graph, given, "float", rounds=False) < 1e-4


def test_tokens_that_are_masked_are_not_read(made: Made) -> None:
    graph = open_denoiser(made("tiny-pixart"))
    latents, states, timestep, _ = (each.numpy() for each in example(load("tiny-pixart")))
    mask = np.array([[1, 1, 0, 0, 0]] * 2)
    changed = states.copy()
    changed[:, 2:] += 1
    noise = graph(latents, states, timestep, mask)
    np.testing.assert_allclose(graph(latents, changed, timestep, mask), noise, atol=1e-5)
    assert np.abs(graph(latents, changed, timestep, np.ones_like(mask)) - noise).max() > 1e-3


def test_the_last_label_is_none_and_others_are_told(made: Made) -> None:
    graph = open_denoiser(made("tiny-dit"))
    latents, timestep, _ = (each.numpy() for each in example(load("tiny-dit")))
    assert graph(latents, timestep, np.array([0, 10])).shape == (2, 8, 8, 8)
    with pytest.raises(DataError, match=r"labels are \[0, 11\]: each is a class, 0 … 9, or 10 for none"):
        graph(latents, timestep, np.array([0, 11]))


@pytest.mark.parametrize(
    ("name", "place", "values", "told"),
    [
        ("tiny-dit", 2, np.zeros(1, np.float32), "takes labels of int64: got float32"),
        (
            "tiny-dit",
            0,
            np.zeros((1, 4, 16, 16), np.float32),
            "takes latents of 4 × 8 × 8 .channels, height, width.: got",
        ),
        ("tiny-pixart", 3, np.ones((1, 4), np.int64), "takes masks of 5 .tokens.: got 1 of 4"),
        ("tiny-pixart", 1, np.ones((1, 5, 32)), "takes text states of float32: got float64"),
    ],
)
def test_wrong_inputs_are_told(made: Made, name: str, place: int, values: np.ndarray[Any, Any], told: str) -> None:
    inputs = [each[:1].numpy() for each in example(load(name))]
    inputs[place] = values
    with pytest.raises(DataError, match=told):
        open_denoiser(made(name))(*inputs)
    with pytest.raises(DataError, match=r"takes hidden_states, .*: got 1 inputs"):
        open_denoiser(made(name))(inputs[0])


def test_a_transformer_is_no_unet(made: Made) -> None:
    artefact = made("tiny-dit")
    with pytest.raises(ArtefactError, match=r"holds no unet/model.onnx"):
        open_unet(artefact)
    with pytest.raises(ArtefactError, match="a DiTTransformer2DModel: a UNet is wanted"):
        open_unet(artefact.model_path)


def test_it_runs_without_torch(made: Made) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from compress.runtime.denoising import open_denoiser\n"
        "from compress.tasks.denoising import Denoising\n"
        "import numpy as np\n"
        f"graph = open_denoiser({str(made('tiny-dit').directory)!r})\n"
        "print(graph(*Denoising(graph.inputs, np.array([500], np.float32)).sample(0)).shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(1, 8, 8, 8)"


def test_samples_are_of_what_is_taken() -> None:
    drawn = Denoising((Input("m", "mask", (7,)), Input("c", "label", count=3)), np.zeros(50, np.float32))
    [(masks, labels)] = drawn.batches(50)
    assert masks.dtype == labels.dtype == np.int64
    assert set(masks.sum(1)) == set(range(1, 8))
    assert (np.diff(masks) <= 0).all()
    assert set(labels) == {0, 1, 2}


def test_what_a_unets_samples_are_drawn_from_is_told_as_ever() -> None:
    drawn = Denoising(shaped_inputs((4, 8, 8), (5, 32)), np.array([500, 100], np.float32), 3)
    told = "evaluation 3 (4, 8, 8) (5, 32) [500.0, 100.0]"  # published rows hold its hash
    assert drawn.fingerprint() == hashlib.sha256(told.encode()).hexdigest()


def test_a_squeeze_of_a_longer_axis_goes() -> None:
    import onnx_ir as ir

    from compress.exporter.graph import drop_idle_squeezes

    def remaining(shape: tuple[int, ...]) -> int:
        graph = onnx.helper.make_graph(
            [onnx.helper.make_node("Squeeze", ["x", "axes"], ["y"]), onnx.helper.make_node("Neg", ["y"], ["z"])],
            "graph",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
            [onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, None)],
            [onnx.numpy_helper.from_array(np.array([1]), "axes")],
        )
        model = ir.from_proto(onnx.helper.make_model(graph))
        drop_idle_squeezes(model.graph)
        return len(model.graph)

    assert remaining((2, 16, 3)) == 1  # as PixArt's last layer, which diffusers squeezes whatever its size
    assert remaining((2, 1, 3)) == 2
