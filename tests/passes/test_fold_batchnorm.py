"""fold.batchnorm: exact in float, wherever the normalisation has the layer for itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compress.errors import ModelError
from compress.models.quantized import set_weight
from compress.numerics.grid import nearest
from compress.passes import FoldBatchNorm
from compress.passes.fold_batchnorm import foldable
from tests.nets import context, conv_net, images, lively, run


def norms(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def folded(model: nn.Module, x: Tensor) -> nn.Module:
    """The model after the pass, having checked that it computes the same."""
    before = run(model, x)
    step = FoldBatchNorm()
    step.requires(model, context(x))
    model = step.apply(model, context(x))
    step.ensures(model, context(x))
    torch.testing.assert_close(run(model, x), before, rtol=1e-5, atol=1e-5)
    return model


def test_by_hand() -> None:
    """γ·(w·x + b − μ)/σ + β with γ = 3, μ = 1, σ = 2, β = 5: w = 4, b = 7 become 6 and 3·6/2 + 5 = 14."""
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0.0)).eval()
    conv, norm = model
    with torch.no_grad():
        for tensor, value in [(conv.weight, 4), (conv.bias, 7), (norm.weight, 3), (norm.bias, 5)]:
            tensor.fill_(value)
        norm.running_mean.fill_(1)
        norm.running_var.fill_(4)
    folded(model, torch.ones(1, 1, 2, 2))
    assert (conv.weight.item(), conv.bias.item()) == (6.0, 14.0)
    assert isinstance(model[1], nn.Identity)


def test_every_normalisation_of_the_small_network_is_folded() -> None:
    model = folded(conv_net(), images())
    assert norms(model) == []
    assert all(module.bias is not None for module in model.modules() if isinstance(module, nn.Conv2d))


def test_every_normalisation_of_an_efficientnet_is_folded_and_its_activation_stays() -> None:
    import timm
    from timm.layers import BatchNormAct2d

    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    assert len(norms(model)) == 49
    assert any(isinstance(module, BatchNormAct2d) for module in model.modules())
    folded(model, images(2, 32))
    assert norms(model) == []
    assert sum(isinstance(module, nn.ReLU6) for module in model.modules()) == 33  # 1 + 1 + 15·2 + 1


def test_every_normalisation_of_a_residual_network_is_folded() -> None:
    import torchvision

    model = torchvision.models.resnet18(weights=None).eval()
    assert len(norms(model)) == 20
    folded(model, images(2, 32))
    assert norms(model) == []


def test_a_normalisation_behind_a_linear_layer_is_folded() -> None:
    model = lively(nn.Sequential(nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)))
    model[1].running_mean.normal_()
    assert norms(folded(model, torch.randn(5, 3))) == []


def test_a_normalisation_without_scale_and_shift_is_folded() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)).eval()
    model[1].running_var.uniform_(0.5, 2)
    assert norms(folded(model, images(2))) == []


class Twice(nn.Module):
    """One of its layers or norms runs twice."""

    def __init__(self, share: str) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.norm, self.other = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        if share == "layer":
            self.b = self.a
        else:
            self.other = self.norm

    def forward(self, x: Tensor) -> Tensor:
        return self.other(self.b(torch.relu(self.norm(self.a(x)))))


@pytest.mark.parametrize("share", ["layer", "norm"])
def test_what_runs_twice_stays(share: str) -> None:
    model = folded(lively(Twice(share)), images(2))
    assert norms(model) == (["norm", "other"] if share == "layer" else ["norm"])


class Read(nn.Module):
    """The convolution's own result is read beside the normalisation, or given back."""

    def __init__(self, give_back: bool) -> None:
        super().__init__()
        self.conv, self.norm, self.give_back = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), give_back

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        y = self.conv(x)
        return (self.norm(y), y) if self.give_back else self.norm(y) + y


@pytest.mark.parametrize("give_back", [False, True])
def test_a_normalisation_whose_input_has_another_reader_stays(give_back: bool) -> None:
    model = lively(Read(give_back))
    FoldBatchNorm().apply(model, context())
    assert norms(model) == ["norm"]


def test_a_normalisation_before_its_layer_or_behind_a_sum_stays() -> None:
    model = folded(
        lively(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3))), images(2)
    )
    assert norms(model) == ["0", "3"]


def test_a_normalisation_of_a_sequence_s_places_stays() -> None:
    """BatchNorm1d counts axis 1, and a linear layer's outputs are the last: here both are four."""
    model = lively(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)))
    model[1].running_mean.normal_()
    assert norms(folded(model, torch.randn(2, 4, 3))) == ["1"]


def test_a_quantized_weight_is_not_folded_into() -> None:
    model = conv_net()
    set_weight(model.blocks[0].conv1, nearest(model.blocks[0].conv1.weight, 4))
    FoldBatchNorm().requires(model, context())  # no channel changes its sign: codes may stay
    model.blocks[0].bn1.weight.data[1] *= -1
    with pytest.raises(ModelError) as caught:
        FoldBatchNorm().requires(model, context())
    expected = (
        "the weight of blocks.0.conv1 is quantized already, and blocks.0.bn1 turns the sign of its channels: "
        "put it before the quantize passes"
    )
    assert str(caught.value) == f"fold.batchnorm: {expected}"


def test_folding_again_changes_nothing() -> None:
    model = folded(conv_net(), images())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert foldable(model, context()) == []
    folded(model, images())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
