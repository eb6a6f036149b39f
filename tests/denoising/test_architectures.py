"""Denoisers beside Stable Diffusion 1.5's UNet, PixArt and DiT: what each is and refuses, and that files compute it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from compress.applying import apply
from compress.errors import DataError, ModelError
from compress.exporter.denoisers import check_noise, export_denoiser
from compress.models.denoisers.inputs import Input
from compress.models.denoisers.known import architecture_of, architecture_taking
from compress.models.denoisers.linear_attention import LinearAttention
from compress.models.denoisers.loading import LoadedDenoiser, layer_names, load_denoiser
from compress.models.denoisers.sana import SANA
from compress.models.denoisers.schedule import Schedule, own_settings, schedule_of
from compress.models.source import ModelSource
from compress.passes.quantize_weights import QuantizeWeights
from compress.runtime.denoising import open_denoiser
from compress.tasks.denoising import Denoising

ADDED = ("text_embeds", "time_ids")
INPUTS = {
    "tiny-unet-plain": ("sample", "timestep"),
    "tiny-unet-classes": ("sample", "timestep", "class_labels"),
    "tiny-unet-xl": ("sample", "timestep", "encoder_hidden_states", *ADDED),
    "tiny-sd3": ("hidden_states", "encoder_hidden_states", "pooled_projections", "timestep"),
    "tiny-flux": ("hidden_states", "encoder_hidden_states", "pooled_projections", "timestep"),
    "tiny-flux-guided": ("hidden_states", "encoder_hidden_states", "pooled_projections", "timestep", "guidance"),
    "tiny-sana": ("hidden_states", "encoder_hidden_states", "timestep", "encoder_attention_mask"),
}


def load(name: str) -> LoadedDenoiser:
    return load_denoiser(ModelSource(f"random:{name}"))


def example(loaded: LoadedDenoiser) -> tuple[Tensor, ...]:
    inputs = loaded.architecture.inputs(loaded.model.config, 8, 5, "here")
    return tuple(map(torch.from_numpy, next(Denoising(inputs, Schedule().timesteps(2)).batches(2))))


@pytest.mark.parametrize("name", INPUTS)
def test_it_is_what_diffusers_makes_of_the_same_weights(name: str) -> None:
    import diffusers

    loaded = load(name)
    assert tuple(loaded.architecture.kinds) == INPUTS[name]
    theirs = getattr(diffusers, loaded.architecture.class_name)(**own_settings(loaded.model.config)).eval()
    theirs.load_state_dict(loaded.model.state_dict())
    given: dict[str, Any] = dict(zip(INPUTS[name], example(loaded), strict=True))
    added = {key: given.pop(key) for key in ADDED if key in given}
    if name.startswith("tiny-flux"):  # 8 × 8 as 4 × 4 patches, 5 tokens: as the pipeline places them
        given["img_ids"] = diffusers.FluxPipeline._prepare_latent_image_ids(2, 4, 4, "cpu", torch.float32)
        given["txt_ids"] = torch.zeros(5, 3)
    with torch.no_grad():
        wanted = theirs(**given, **({"added_cond_kwargs": added} if added else {}), return_dict=False)[0]
        torch.testing.assert_close(loaded.model(*example(loaded)), wanted, rtol=1e-5, atol=1e-6)
    assert wanted.std() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", INPUTS)
def test_the_file_is_the_model(name: str, tmp_path: Path) -> None:
    loaded = load(name)
    passes = [QuantizeWeights(num_bits=8, strategy="group", group_size=16)]
    apply(loaded.model, passes, lambda: [example(loaded)])
    artefact = export_denoiser(loaded.model, loaded, example(loaded), tmp_path / "artefact", target="generic")
    graph = open_denoiser(artefact)
    assert graph.architecture is loaded.architecture
    assert check_noise(loaded.model, graph, example(loaded), "small", rounds=True) < 0.03
    found = Counter(node.op_type for node in onnx.load(artefact.model_path, load_external_data=False).graph.node)
    assert found["MatMulNBits"] >= sum(isinstance(layer, nn.Linear) for layer in loaded.model.modules())
    if name == "tiny-unet-classes":  # the number of classes is in the config beside the graph
        latents, timestep, _ = (each.numpy() for each in example(loaded))
        with pytest.raises(DataError, match=r"classes are \[0, 5\]: each is 0 … 4"):
            graph(latents, timestep, np.array([0, 5]))


@pytest.mark.parametrize(
    ("shape", "weights"),
    [
        ("sdxl-unet", 2_565_880_320),
        ("sd3-medium", 2_027_225_088),
        ("sana-600m", 591_054_336),
        ("flux-schnell", 11_888_099_328),
    ],
)
def test_true_shapes_have_their_layers(shape: str, weights: int) -> None:
    layers = layer_names(ModelSource(f"random:{shape}"))
    assert sum(layer.weight.numel() for layer in layers.values()) == weights


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"_class_name": "UNet2DModel", "class_embed_type": "timestep"}, "class_embed_type is timestep: only a table"),
        (
            {"addition_embed_type": "text_time", "time_cond_proj_dim": 8},
            "time_cond_proj_dim is 8: this UNet takes more",
        ),
        (
            {"_class_name": "SanaTransformer2DModel", "guidance_embeds": True},
            "guidance_embeds is true: this transformer takes",
        ),
    ],
)
def test_configs_that_ask_for_more_are_refused(config: dict[str, Any], told: str) -> None:
    with pytest.raises(ModelError, match=f"^here: {told}"):
        architecture_of(config, "here").check(config, "here")


@pytest.mark.parametrize(
    ("name", "changed", "told"),
    [
        ("tiny-sd3", {"pos_embed_max_size": 3}, "sample_size is 8: latents are of 6 at the most"),
        ("tiny-unet-xl", {"addition_time_embed_dim": 8}, "more than 6 times addition_time_embed_dim is wanted"),
    ],
)
def test_sizes_that_do_not_fit_are_told(name: str, changed: dict[str, Any], told: str) -> None:
    loaded = load(name)
    with pytest.raises(ModelError, match=told):
        loaded.architecture.inputs({**loaded.model.config, **changed}, 8, 5, "here")


def test_where_names_are_alike_the_class_decides() -> None:
    names = INPUTS["tiny-sana"]
    assert architecture_taking(names, "SanaTransformer2DModel") is SANA
    found = architecture_taking(names)
    assert found is not None
    assert found.class_name == "PixArtTransformer2DModel"
    assert architecture_taking(("sample",), "UNet2DModel") is None


def test_flows_have_schedulers_of_flows() -> None:
    euler = {"_class_name": "FlowMatchEulerDiscreteScheduler"}
    assert schedule_of(euler, "here", flows=True).num_train_timesteps == 1000
    solver = {"_class_name": "DPMSolverMultistepScheduler", "prediction_type": "flow_prediction"}
    assert schedule_of(solver, "here", flows=True).config == solver
    with pytest.raises(
        ModelError, match=r"epsilon: one of flow_prediction is wanted, or a scheduler such as FlowMatch"
    ):
        schedule_of({"_class_name": "DDIMScheduler"}, "here", flows=True)
    with pytest.raises(ModelError, match="flow_prediction: one of epsilon, v_prediction, sample is wanted"):
        schedule_of(solver, "here")


def test_samples_are_of_what_is_taken() -> None:
    inputs = (Input("c", "class", count=3), Input("s", "sizes", (6,)), Input("p", "pooled", (4,)))
    [(classes, sizes, pooled)] = Denoising(inputs, np.zeros(50, np.float32)).batches(50)
    assert set(classes) == {0, 1, 2}
    assert sizes.dtype == np.float32
    assert sizes.min() >= 0
    assert sizes.max() <= 1024
    np.testing.assert_array_equal(sizes, np.rint(sizes))
    assert pooled.shape == (50, 4)


def test_linear_attention_is_diffusers_but_where_its_sums_are_nothing() -> None:
    from diffusers.models.attention_processor import Attention, SanaLinearAttnProcessor2_0

    torch.manual_seed(0)
    attention = Attention(16, heads=2, dim_head=8, processor=SanaLinearAttnProcessor2_0()).eval()
    states = torch.randn(3, 7, 16)
    with torch.no_grad():
        wanted = attention(states)
        attention.set_processor(LinearAttention())
        torch.testing.assert_close(attention(states), wanted, rtol=1e-4, atol=1e-5)
        attention.to_k.weight.zero_()
        torch.testing.assert_close(attention(states), attention.to_out[0].bias.expand(3, 7, 16))
