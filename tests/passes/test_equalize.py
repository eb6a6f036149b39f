"""equalize: ranges of neighbours are shared, and the function stays."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compress.errors import ModelError
from compress.models.quantized import set_weight
from compress.numerics.grid import nearest
from compress.passes import Equalize, FoldBatchNorm
from compress.passes.equalize import neighbours
from tests.nets import context, conv_net, images, lively, run


def pair(act: nn.Module) -> nn.Sequential:
    model = lively(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), act, nn.Conv2d(4, 5, 3, padding=1)))
    factor = torch.tensor([0.1, 1.0, 10.0, 3.0]).reshape(4, 1, 1, 1)
    with torch.no_grad():  # channels that are a hundred times apart, and as far again in the other layer
        model[0].weight.mul_(factor)
        model[2].weight.div_(factor.reshape(4, 1, 1))
    return model


def ranges(weight: Tensor, axis: int) -> Tensor:
    return weight.detach().abs().movedim(axis, 0).flatten(1).amax(1)


def equalized(model: nn.Module, x: Tensor, **options: int) -> nn.Module:
    """The model after the pass, having checked that it computes the same."""
    before = run(model, x)
    Equalize(**options).apply(model, context(x))
    after = run(model, x)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5 * float(before.abs().max()))
    return model


@pytest.mark.parametrize("act", [nn.ReLU(), nn.ReLU(inplace=True), nn.Identity()])
def test_both_of_a_pair_have_the_geometric_mean_of_their_ranges(act: nn.Module) -> None:
    model = pair(act)
    expected = (ranges(model[0].weight, 0) * ranges(model[2].weight, 1)).sqrt()
    equalized(model, images(2), iterations=1)
    torch.testing.assert_close(ranges(model[0].weight, 0), expected)
    torch.testing.assert_close(ranges(model[2].weight, 1), expected)


def test_by_hand() -> None:
    """Ranges 8 and 2 become √16 = 4: the first layer and its bias are halved, the second doubled."""
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1))
    with torch.no_grad():
        for tensor, value in [(model[0].weight, -8), (model[0].bias, 6), (model[2].weight, 2), (model[2].bias, 1)]:
            tensor.fill_(value)
    equalized(model, torch.tensor([[-1.0], [0.25]]))
    values = [model[0].weight, model[0].bias, model[2].weight, model[2].bias]
    assert [value.item() for value in values] == [-4.0, 3.0, 4.0, 1.0]


def test_a_chain_through_a_depthwise_layer_ends_with_equal_ranges() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    equalized(lively(model), images(2), iterations=50)
    first, second = ranges(model[0].weight, 0), ranges(model[2].weight, 0)
    torch.testing.assert_close(first, second, rtol=5e-3, atol=0)
    torch.testing.assert_close(second, ranges(model[4].weight, 1), rtol=5e-3, atol=0)


def test_pairs_of_the_small_network_are_those_with_a_relu_or_nothing_between() -> None:
    model = FoldBatchNorm().apply(conv_net(), context())
    # the stem ends with a ReLU6, and its result has two readers; a sum ends the residual block
    assert neighbours(model, context()) == [
        ("blocks.0.conv1", "blocks.0.conv2"),
        ("blocks.1.conv_dw", "blocks.1.conv_pw"),
    ]
    where = context()
    Equalize().apply(model, where)
    assert where.notes == ["2 pairs of layers"]


@pytest.mark.parametrize("act", [nn.ReLU6(), nn.SiLU(), nn.GELU(), nn.LeakyReLU(), nn.MaxPool2d(2)])
def test_what_is_no_relu_is_not_passed(act: nn.Module) -> None:
    model = pair(act)
    before = model[0].weight.detach().clone()
    Equalize().apply(model, context(images(2)))
    assert torch.equal(model[0].weight, before)


class Wired(nn.Module):
    """Two layers, and a reader beside the second, an output beside, or a first layer that runs twice."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.first, self.second, self.kind = nn.Linear(3, 3), nn.Linear(3, 3), kind

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        y = self.first(self.first(x)) if self.kind == "twice" else self.first(x)
        z = self.second(torch.relu(y))
        if self.kind == "output":
            return z, y
        return z + y if self.kind == "reader" else z


@pytest.mark.parametrize(("kind", "num_pairs"), [("plain", 1), ("reader", 0), ("output", 0), ("twice", 0)])
def test_a_result_that_another_reads_is_not_scaled(kind: str, num_pairs: int) -> None:
    assert len(neighbours(Wired(kind).eval(), context(torch.randn(4, 3)))) == num_pairs


def test_layers_whose_channels_do_not_meet_one_by_one_are_no_pair() -> None:
    doubled = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 8, 1, groups=4))
    grouped = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1, groups=2))
    places = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Linear(8, 8))
    for model in (doubled, grouped, places):
        assert neighbours(model, context()) == []


def test_a_channel_that_is_zero_on_either_side_stays_as_it_is() -> None:
    model = pair(nn.ReLU())
    with torch.no_grad():
        model[0].weight[1] = 0
        model[2].weight[:, 2] = 0
    before = [model[0].weight.detach().clone(), model[2].weight.detach().clone()]
    equalized(model, images(2))
    for channel in (1, 2):
        assert torch.equal(model[0].weight[channel], before[0][channel])
        assert torch.equal(model[2].weight[:, channel], before[1][:, channel])
    assert all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())


def test_after_a_quantize_pass_it_comes_too_late() -> None:
    model = conv_net()
    set_weight(model.head, nearest(model.head.weight, 4))
    with pytest.raises(ModelError) as caught:
        Equalize().requires(model, context())
    assert str(caught.value) == "equalize: weights are quantized already: put it before the quantize passes"


def test_it_helps_one_scale_a_tensor_a_lot() -> None:
    """The reason for it: with channels a hundred times apart the squared error falls to less than a tenth."""
    errors = []
    for even in (False, True):
        model, x = pair(nn.ReLU()), images()
        expected = run(model, x)
        if even:
            Equalize().apply(model, context())
        for layer in (model[0], model[2]):
            set_weight(layer, nearest(layer.weight, 6, per_tensor=True))
        errors.append(float((run(model, x) - expected).square().mean()))
    assert errors[1] < 0.1 * errors[0]
