"""Second moments of layers' inputs: they say what an error of the weight costs in the output."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compress.errors import ModelError
from compress.models import statistics
from compress.models.blocks import Reached
from compress.models.statistics import Gram, collect, input_vectors
from tests.nets import images, run

LAYERS = {
    "linear": (nn.Linear(3, 4, bias=False), torch.randn(2, 5, 3)),
    "pointwise": (nn.Conv2d(3, 4, 1, bias=False), images(2, 6)),
    "pointwise stride": (nn.Conv2d(3, 4, 1, stride=2, bias=False), images(2, 7)),
    "padded": (nn.Conv2d(3, 4, 3, padding=1, stride=2, bias=False), images(2, 6)),
    "padded pointwise": (nn.Conv2d(3, 4, 1, padding=1, bias=False), images(2, 4)),
    "dilated": (nn.Conv2d(3, 4, (3, 2), dilation=2, bias=False), images(2, 7)),
    "depthwise": (nn.Conv2d(3, 6, 3, groups=3, bias=False), images(2, 6)),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_the_second_moments_of_the_inputs_give_the_energy_of_the_output(kind: str) -> None:
    """E‖W x‖² = tr(W H Wᵀ), summed over the groups."""
    layer, x = LAYERS[kind]
    with collect({kind: layer}) as grams:
        for part in x.split(1):
            output = run(layer, part)
    output = run(layer, x)
    energy = output.square().sum() / (output.numel() / 4 if kind != "depthwise" else output.numel() / 6)
    hessian = grams[kind].hessian()
    rows = layer.weight.detach().reshape(hessian.shape[0], -1, hessian.shape[1])
    torch.testing.assert_close(((rows @ hessian) * rows).sum(), energy)


def test_a_streamed_sum_is_that_of_all_at_once() -> None:
    layer, x = LAYERS["padded"]
    streamed, whole = Gram("conv", layer), Gram("conv", layer)
    for part in x.split(1):
        streamed.update(part)
    whole.update(x)
    torch.testing.assert_close(streamed.hessian(), whole.hessian())
    assert streamed.count == whole.count == 2 * 3 * 3


def test_by_hand() -> None:
    gram = Gram("linear", nn.Linear(2, 1))
    gram.update(torch.tensor([[1.0, 2.0], [3.0, 0.0]]))
    assert gram.hessian().tolist() == [[[5.0, 1.0], [1.0, 2.0]]]  # (1 + 9)/2, (2 + 0)/2, (4 + 0)/2
    assert gram.importance().tolist() == [pytest.approx([5.0, 2.0], rel=1e-5)]


def test_each_group_s_importance_lies_over_its_own_rows() -> None:
    layer = nn.Conv2d(2, 6, 1, groups=2)
    gram = Gram("conv", layer)
    gram.update(torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1))
    assert gram.importance().flatten().tolist() == pytest.approx([1, 1, 1, 9, 9, 9], rel=1e-4)


def test_importance_is_never_zero() -> None:
    gram = Gram("linear", nn.Linear(2, 1))
    gram.update(torch.zeros(1, 2))
    assert float(gram.importance().min()) > 0


def test_of_many_places_of_an_image_only_some_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = nn.Conv2d(3, 4, 1), images(2, 8)
    everything: Tensor = input_vectors(layer, x)
    assert everything.shape == (1, 2 * 64, 3)
    monkeypatch.setattr(statistics, "PLACES", 10)
    some = input_vectors(layer, x)
    assert some.shape == (1, 2 * 10, 3)
    assert torch.equal(some, everything.reshape(1, 2, 64, 3)[:, :, ::7].reshape(1, 20, 3))


def test_a_layer_that_did_not_run_is_named() -> None:
    with collect({"blocks.1.fc": nn.Linear(2, 2)}) as grams:
        pass
    with pytest.raises(ModelError) as caught:
        grams["blocks.1.fc"].hessian()
    assert str(caught.value) == "blocks.1.fc did not run on the calibration data: put it under 'ignore'"


def test_inputs_that_are_not_finite_are_told_of() -> None:
    gram = Gram("fc", nn.Linear(2, 2))
    gram.update(torch.tensor([[1.0, float("nan")]]))
    with pytest.raises(ModelError, match=r"^the inputs of fc are not finite on the calibration data$"):
        gram.hessian()


@pytest.mark.parametrize("layer", [nn.Conv1d(3, 4, 1), nn.Conv2d(3, 4, 3, padding="same")])
def test_a_layer_whose_inputs_are_not_unfolded_says_what_rounds_it(layer: nn.Module) -> None:
    with pytest.raises(ModelError, match="are not unfolded: use algorithm 'rtn' for it"):
        input_vectors(layer, images(1))


def test_collecting_leaves_no_hook_behind_even_after_an_error() -> None:
    layer = nn.Linear(2, 2)
    with pytest.raises(RuntimeError), collect({"fc": layer}):
        layer(torch.ones(1, 3))
    assert not layer._forward_pre_hooks


def test_a_forward_ends_when_all_layers_have_run_as_often_as_they_do() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    later: list[int] = []
    model[2].register_forward_pre_hook(lambda module, inputs: later.append(1))
    with collect({"0": model[0], "1": model[1]}, runs=2) as grams:
        for _ in range(3):
            with pytest.raises(Reached):
                model(torch.ones(4, 2))
    assert [gram.count for gram in grams.values()] == [12, 12]
    assert later == []
