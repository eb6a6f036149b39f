"""prune.channels: what goes together, which channels go, and how many; worked by hand on nets of two channels.

Long for one idea, since each criterion and each goal of the pass has its numbers by hand.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compress.applying import apply_one, apply_resumably
from compress.errors import MissingExtra, ModelError, PromiseBroken
from compress.exporter import export
from compress.models.channels import channel_groups, remove_channels
from compress.models.macs import macs, positions
from compress.models.resnet_cifar import CifarResNet
from compress.models.structure import structure_of
from compress.passes import FoldBatchNorm, PruneChannels, QuantizeStatic, QuantizeWeights
from compress.passes.scoring_channels import SCORERS
from compress.progress import Reporter
from compress.stages import Stage, StageStore
from compress.targets import load
from tests.nets import ConvNet, context, conv_net, images, lively, run, transformer


class Two(nn.Module):
    """[N, 1, 2, 2] → two channels → logits [N, 2].  Four output pixels: 4·2 + 2·2 = 12 multiply-accumulates."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.head = nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2), nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([3.0, 4.0]).reshape(2, 1, 1, 1))
            self.head.weight.copy_(torch.tensor([[4.0, 0.0], [0.0, 1.0]]))
            self.bn.weight.copy_(torch.tensor([0.5, -0.25]))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.bn(self.conv(x)).mean((2, 3)))


def resnet(blocks: int = 1) -> nn.Module:
    return lively(CifarResNet(blocks))


def scores(name: str, model: nn.Module, x: Tensor) -> list[float]:
    groups, _ = channel_groups(model, [x[:1]])
    (found,) = SCORERS[name][0](model, groups, context(x, batch_size=len(x)))
    assert found is not None
    return found.tolist()


def test_a_group_is_all_that_writes_carries_and_reads_a_channel() -> None:
    (group,), left = channel_groups(Two(), [torch.ones(1, 1, 2, 2)])
    assert {(m.module, m.side) for m in group.members} == {("conv", "out"), ("bn", "out"), ("head", "in")}
    assert (group.name, group.size) == ("conv", 2)
    assert left == {"head": "the model's output"}


def test_importance_by_hand() -> None:
    x = torch.ones(2, 1, 2, 2)
    assert scores("magnitude", Two(), x) == pytest.approx([5, 17**0.5])  # √(3² + 4²), √(4² + 1²)
    assert scores("fpgm", Two(), x) == pytest.approx([1, 1])  # |3 − 4| from either side
    assert scores("bn_scale", Two(), x) == [0.5, 0.25]
    # h = ½·3, −¼·4 (running variance 1); logits 6, −1 say class 0; ∂L/∂logits = ∓s, s = σ(−7)
    s = float(torch.sigmoid(torch.tensor(-7.0, dtype=torch.float64)))
    h = (1 + 1e-5) ** -0.5
    expected = [(s * 4 * 1.5 * h) ** 2, (s * 1 * -1 * h) ** 2]
    assert scores("taylor", Two(), x) == pytest.approx(expected, rel=1e-3)  # the logits are off by 1e-5
    assert scores("random", Two(), x) == scores("random", Two(), x)


@pytest.mark.parametrize(("criterion", "stays"), [("magnitude", 0), ("bn_scale", 0), ("taylor", 0)])
def test_the_least_important_channel_goes(criterion: Any, stays: int) -> None:
    step = PruneChannels(ratio=0.5, criterion=criterion, round_to=1)
    x = torch.ones(2, 1, 2, 2)
    model = apply_one(step, Two(), context(x))
    assert model.conv.weight.flatten().tolist() == [[3.0, 4.0][stays]]
    assert model.head.weight.shape == (2, 1)
    assert macs(model, positions(model, [x[:1]])) == 4 * 1 + 1 * 2
    assert macs(Two(), positions(Two(), [x[:1]])) == 12


def test_small_scales_of_the_normalisation_go_wherever_they_are() -> None:
    model = conv_net()
    gammas = torch.tensor([1.0, 0.01, 1.0, 1.0, 0.02, 1.0])
    for norm in (model.bn, model.blocks[0].bn2, model.blocks[1].bn1):
        norm.weight.data = gammas.clone()
    step = PruneChannels(ratio=0.34, criterion="bn_scale", ignore=("blocks.0.conv1", "blocks.1.conv_pw"), round_to=1)
    before = model.conv_stem.weight.detach().clone()
    model = apply_one(step, model, context())
    assert torch.equal(model.conv_stem.weight, before[[0, 2, 3, 5]])
    assert model.blocks[0].conv1.weight.shape == (6, 4, 3, 3)
    assert model.blocks[1].conv_dw.groups == model.blocks[1].conv_dw.in_channels == 4
    assert run(model, images()).shape == (8, 5)


def test_a_channel_that_is_zero_goes_and_changes_nothing_bit_for_bit() -> None:
    model = conv_net()
    with torch.no_grad():
        inner = model.blocks[0]
        inner.conv2.weight[:, 3] = 0
        inner.conv1.weight[3] = 0
    expected = run(model, images())
    groups, _ = channel_groups(model, [images(1)])
    group = next(g for g in groups if g.name == "blocks.0.conv1")
    remove_channels(model, [(group, torch.tensor([3]))])
    assert inner.conv1.out_channels == inner.bn1.num_features == inner.conv2.in_channels == 5
    torch.testing.assert_close(run(model, images()), expected, rtol=0, atol=1e-6)


def test_a_zero_channel_of_a_linear_layer_is_exact() -> None:
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2)).eval()
    with torch.no_grad():
        model[0].weight[1] = 0
        model[2].weight[:, 1] = 0
    x = torch.eye(3)
    expected = run(model, x)
    model = apply_one(PruneChannels(ratio=0.25, round_to=1), model, context(x, batch_size=3))
    assert model[0].out_features == 3
    assert torch.equal(run(model, x), expected)


def test_zero_padded_shortcuts_leave_the_residual_stream_alone() -> None:
    where = context(images(4, 32))
    model = apply_one(PruneChannels(ratio=0.5, round_to=1), resnet(), where)
    assert (model.conv1.out_channels, model.layer2[0].conv2.out_channels) == (16, 32)
    assert (model.layer1[0].conv1.out_channels, model.layer3[0].conv1.out_channels) == (8, 32)
    assert model.layer3[0].bn1.num_features == model.layer3[0].conv2.in_channels == 32
    assert "the channels of conv1 stay: an operator that is not understood" in where.notes
    assert "the channels of linear stay: the model's output" in where.notes
    assert run(model, images(4, 32)).shape == (4, 10)


def test_norms_and_attentions_over_channels_are_left_and_feed_forward_layers_are_not() -> None:
    groups, left = channel_groups(transformer(), [images(1)])
    assert [group.name for group in groups] == ["blocks.0.fc1", "blocks.1.fc1"]
    assert left["embed"] == "a LayerNorm"
    assert left["blocks.0.qkv"] == "an operator that is not understood"


class Mixed(nn.Module):
    """Two convolutions whose channels are turned round between them, and a shape that is written into the code."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1, groups=2 if kind == "grouped" else 1)
        self.c = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        if self.kind == "rolled":
            x = x + x.roll(1, 1)
        if self.kind == "shape":
            x = x.reshape(-1, 4, 8, 8)
        return self.c(self.b(x).mean((2, 3)))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("rolled", "an operator that is not understood"),
        ("shape", "an operator that is not understood"),
        ("grouped", "a grouped convolution"),
    ],
)
def test_what_mixes_channels_is_found_by_trying(kind: str, reason: str) -> None:
    groups, left = channel_groups(lively(Mixed(kind)), [images(1)])
    assert left["a"] == reason
    assert [group.name for group in groups] == ([] if kind == "grouped" else ["b"])


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("criterion", ["magnitude", "taylor", "fpgm", "bn_scale", "random"])
def test_at_most_the_asked_share_of_the_macs_is_left(criterion: Any, together: bool) -> None:
    model, where = resnet(), context(images(4, 32))
    applied = positions(model, where.example())
    before = macs(model, applied)
    step = PruneChannels(macs=0.7, criterion=criterion, global_ranking=together, round_to=1)
    model = apply_one(step, model, where)
    share = macs(model, applied) / before
    assert 0.6 < share <= 0.7
    assert where.notes[-1].endswith(f"multiply-accumulates stay ({share:.1%})")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["tf_efficientnet_lite0", "efficientnet_b0", "resnet18", "mobilenet_v2", "densenet121"]
)
def test_networks_of_timm_and_torchvision_become_narrower(name: str) -> None:
    import timm
    import torchvision

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain = timm.create_model(name) if "efficient" in name else torchvision.models.get_model(name)
    where = context(images(2, 64), batch_size=2)
    plain = plain.eval()
    applied = positions(plain, where.example())
    before = macs(plain, applied)
    model = apply_one(PruneChannels(macs=0.5, criterion="taylor", global_ranking=True, round_to=4), plain, where)
    assert 0.45 < macs(model, applied) / before <= 0.5
    assert run(model, images(2, 64)).shape == (2, 1000)


def test_what_stays_is_a_multiple_and_a_ratio_is_never_overshot() -> None:
    def inner(step: PruneChannels, target: str = "generic") -> list[int]:
        model = apply_one(step, resnet(), context(images(4, 32), target))
        return [stage[0].conv1.out_channels for stage in (model.layer1, model.layer2, model.layer3)]

    assert inner(PruneChannels(ratio=0.3, round_to=1)) == [12, 23, 45]  # 16, 32, 64 less 4, 9, 19
    assert inner(PruneChannels(ratio=0.3, round_to=8)) == [16, 24, 48]
    assert inner(PruneChannels(ratio=0.6), "x86-vnni") == [16, 16, 32]
    assert inner(PruneChannels(ratio=0.6, max_ratio=0.75, global_ranking=True, criterion="random", round_to=1))[0] >= 4


def test_a_second_pass_counts_from_the_first_model() -> None:
    where = context(images(4, 32))
    model = resnet()
    applied = positions(model, where.example())
    before = macs(model, applied)
    for share in (0.8, 0.6):
        model = apply_one(PruneChannels(macs=share, round_to=1), model, where)
        assert 0.9 * share < macs(model, applied) / before <= share


def test_goals_that_cannot_be_reached_are_told() -> None:
    where = context(images(4, 32))
    for step, told in (
        (
            PruneChannels(macs=0.05, round_to=1),
            r"5\.0% of the multiply-accumulates are to stay, and 1\d\.\d% do where as",
        ),
        (PruneChannels(ratio=0.3, round_to=64), r"no channel goes: multiples of 64 are kept"),
        (PruneChannels(ratio=0.3, ignore=("layer*",), round_to=1), r"the model has no channels that can go"),
    ):
        with pytest.raises(ModelError, match=f"^prune.channels: {told}"):
            apply_one(step, resnet(), where)
    with pytest.raises(ModelError, match="needs batch normalisations"):
        apply_one(PruneChannels(ratio=0.5, criterion="bn_scale", round_to=1), transformer(), context())
    quantized = apply_one(QuantizeWeights(8), resnet(), where)
    with pytest.raises(ModelError, match=r"^prune.channels: the weight of conv1 is quantized already"):
        apply_one(PruneChannels(ratio=0.5, round_to=1), quantized, where)


def test_goals_are_asked_one_at_a_time() -> None:
    one = "give exactly one goal: ratio, macs, latency"
    assert PruneChannels().problems(load("generic")) == [one]
    assert PruneChannels(ratio=0.5, macs=0.5, round_to=1).problems(load("generic")) == [one]
    assert PruneChannels(ratio=0.95, round_to=1).problems(load("generic")) == [
        "ratio is 0.95, and max_ratio 0.9: raise that too"
    ]
    assert PruneChannels(macs=0.5, round_to=1).task_problems("translation", ()) != []


def test_half_the_latency_of_the_torch_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_macs(model: nn.Module, reference: nn.Module, inputs: Any) -> float:
        applied = positions(reference, inputs)
        return macs(model, applied) / macs(reference, applied)

    monkeypatch.setattr("compress.passes.timing.relative_latency", by_macs)
    where = context(images(4, 32))
    a = apply_one(PruneChannels(latency=0.7, round_to=1), resnet(), where)
    b = apply_one(PruneChannels(macs=0.7, round_to=1), resnet(), where)
    assert [p.shape for p in a.parameters()] == [p.shape for p in b.parameters()]


def test_a_model_takes_as_long_as_itself() -> None:
    from compress.passes.timing import relative_latency

    model = conv_net()
    threads = torch.get_num_threads()
    assert 0.2 < relative_latency(model, copy.deepcopy(model), [images(1)]) < 5
    assert torch.get_num_threads() == threads


def test_a_killed_run_goes_on_with_the_narrower_model(tmp_path: Path) -> None:
    passes = [PruneChannels(ratio=0.5, round_to=1), FoldBatchNorm(), QuantizeStatic()]
    stages = [Stage(step.name, str(number) * 64) for number, step in enumerate(passes)]

    def sequence(count: int) -> nn.Module:
        where, store = context(images(4, 32)), StageStore(tmp_path)
        return apply_resumably(resnet(), passes[:count], where, stages[:count], store, Reporter(), 1, 3)

    for count in (1, 2):
        sequence(count)
    resumed = sequence(3)
    expected = resnet()
    for step in passes:
        expected = apply_one(step, expected, context(images(4, 32)))
    assert torch.equal(run(resumed, images(4, 32)), run(expected, images(4, 32)))
    assert structure_of(resumed) == structure_of(expected)


@pytest.mark.slow
def test_the_artefact_is_smaller_and_the_same_function(tmp_path: Path) -> None:
    x = images(2, 32).numpy()
    sizes = []
    for number, steps in enumerate(([], [PruneChannels(ratio=0.5, round_to=1)])):
        model = resnet()
        for step in steps:
            model = apply_one(step, model, context(images(4, 32)))
        artefact = export(model, x[:1], tmp_path / str(number), target="generic", verify_inputs=[x])
        sizes.append(artefact.size_bytes)
    assert sizes[1] < 0.6 * sizes[0]


def test_a_layer_that_has_its_channels_again_breaks_the_promise() -> None:
    where = context(images(4, 32))
    model = apply_one(PruneChannels(macs=0.7, round_to=1), resnet(), where)
    model.layer3[0] = resnet().layer3[0]
    model.layer2[0] = resnet().layer2[0]
    with pytest.raises(PromiseBroken, match=r"^prune.channels: 88\.0% of the multiply-accumulates are left, at most"):
        PruneChannels(macs=0.7, round_to=1).ensures(model, where)
    with pytest.raises(PromiseBroken, match=r"^prune.channels: no layer has fewer channels than it had$"):
        PruneChannels(ratio=0.5, round_to=1).ensures(resnet(), where)


def test_without_torch_pruning_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import util

    found = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == "torch_pruning" else found(name))
    with pytest.raises(MissingExtra, match=r"pruning channels needs an extra: pip install 'compress-toolkit\[train\]'"):
        apply_one(PruneChannels(ratio=0.5, round_to=1), ConvNet().eval(), context())
