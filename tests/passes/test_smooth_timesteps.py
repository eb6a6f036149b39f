"""smooth.timesteps: the same function, with inputs of layers as large at every timestep."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from compress.errors import ModelError
from compress.models.activations import quantized_activations
from compress.models.calls import input_of
from compress.models.timesteps import BOUNDARIES, TimestepScaled, scale_by_timestep
from compress.passes import Context, QuantizeStatic, QuantizeWeights, SmoothTimesteps
from compress.passes.smooth_timesteps import heights_of
from compress.targets import load


class Denoiser(nn.Module):
    """A layer whose inputs grow with the timestep, and a convolution of them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.linear = nn.Conv2d(2, 3, 3, padding=1), nn.Linear(3, 4)

    def forward(self, sample: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        x = self.conv(sample * timestep.reshape(-1, 1, 1, 1))
        return self.linear(x.movedim(1, -1))


TIMESTEPS = torch.tensor([1.0, 2.0, 30.0, 40.0, 500.0, 600.0])


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(6, 2, 5, 5, generator=torch.Generator().manual_seed(1)), TIMESTEPS


def around(timesteps: torch.Tensor = TIMESTEPS) -> Context:
    return Context(lambda: iter([(batch()[0], timesteps)]), load("generic"))


def smoothed(groups: int = 3) -> nn.Module:
    return SmoothTimesteps(groups).apply(Denoiser().eval(), around())


def test_groups_are_of_as_many_timesteps_and_factors_even_their_inputs() -> None:
    model = smoothed()
    assert getattr(model, BOUNDARIES).tolist() == [16.0, 270.0]
    scaled = model.conv
    assert isinstance(scaled, TimestepScaled)
    assert scaled.factors.tolist()[2] == 1
    _, heights = heights_of(model, {"conv.layer": scaled.layer}, around(), "test")
    [each] = heights.values()
    of_groups = each.reshape(3, 2).amax(1)
    assert of_groups.tolist() == pytest.approx([float(of_groups.max())] * 3, rel=1e-5)


def test_the_function_stays_also_of_a_copy_and_of_an_export() -> None:
    plain, model = Denoiser().eval(), smoothed()
    with torch.no_grad():
        wanted = plain(*batch())
        assert torch.allclose(model(*batch()), wanted, rtol=1e-4, atol=1e-3)
        assert torch.allclose(copy.deepcopy(model)(*batch()), wanted, rtol=1e-4, atol=1e-3)
        assert torch.allclose(model(batch()[0], timestep=TIMESTEPS), wanted, rtol=1e-4, atol=1e-3)
        exported = torch.export.export(model, batch(), strict=False).module()
        later = (batch()[0], TIMESTEPS.flip(0))
        assert torch.allclose(exported(*later), plain(*later), rtol=1e-4, atol=1e-3)


def test_one_range_holds_small_inputs_finer_than_without() -> None:
    lost = []
    for model in (Denoiser().eval(), smoothed()):
        with torch.no_grad():
            wanted = Denoiser().eval()(*batch())
            QuantizeStatic(observer="minmax").apply(model, around())
            lost.append(float((model(*batch()) - wanted)[:2].square().mean()))
    assert lost[1] < 0.01 * lost[0]
    assert any(key.startswith("conv") or key == input_of("conv.layer") for key in quantized_activations(model))


def test_a_layer_alone_and_what_is_no_denoiser_are_refused() -> None:
    with pytest.raises(ModelError, match="inside its model"):
        smoothed().conv(batch()[0])
    with pytest.raises(ModelError, match="takes no timestep"):
        SmoothTimesteps().requires(nn.Sequential(nn.Linear(2, 2)), around())


def test_what_cannot_be_grouped_is_told() -> None:
    with pytest.raises(ModelError, match="calibrated at 1 timesteps, 3 groups are asked for"):
        SmoothTimesteps(3).apply(Denoiser(), around(torch.full((6,), 5.0)))
    with pytest.raises(ModelError, match="name it once"):
        SmoothTimesteps(3).requires(smoothed(), around())
    quantized = QuantizeWeights(8).apply(Denoiser().eval(), around())
    with pytest.raises(ModelError, match="the weight of conv is quantized already"):
        SmoothTimesteps(3).requires(quantized, around())
    unused = Denoiser()
    unused.other = nn.Linear(2, 2)
    with pytest.raises(ModelError, match="other did not run"):
        SmoothTimesteps(3).apply(unused, around())
    with pytest.raises(ModelError, match="not finite"):
        SmoothTimesteps(3).apply(Denoiser(), Context(lambda: iter([(batch()[0] / 0, TIMESTEPS)]), load("generic")))
    assert SmoothTimesteps().task_problems("translation", ()) == [
        "it is for models that are told a timestep, and the task is translation"
    ]


def test_a_bias_stays_a_parameter_of_the_layer_in_its_place() -> None:
    model = Denoiser()
    bias = model.linear.bias
    scale_by_timestep(model, torch.tensor([5.0]), {"linear": torch.tensor([2.0, 1.0])})
    assert model.linear.bias is bias
    assert model.linear.layer.bias is None
    assert dict(model.named_parameters())["linear.bias"] is bias
