"""prune.channels where a normalisation takes means of some channels together, as in a UNet; blocks of denoisers go."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compress.applying import apply_one
from compress.models.channels import channel_groups, remove_channels
from compress.models.denoisers.loading import load_denoiser
from compress.models.denoisers.schedule import Schedule
from compress.models.source import ModelSource
from compress.models.structure import num_removed, restructure, structure_of
from compress.passes import Context, PruneChannels, PruneLayers
from compress.targets import load
from compress.tasks.denoising import Denoising


class Normed(nn.Module):
    """Eight channels in four pairs; a second normalisation takes them by fours together with four more."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.last = nn.Conv2d(3, 8, 3), nn.GroupNorm(4, 8), nn.Conv2d(8, 4, 1)
        self.wide, self.joined, self.end = nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 2, 1)
        with torch.no_grad():
            self.norm.weight.copy_(torch.arange(1.0, 9.0))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.last(nn.functional.silu(self.norm(self.first(x))))
        return self.end(self.joined(torch.cat([inner, self.wide(x)], 1)))


def example() -> Tensor:
    return torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def context() -> Context:
    return Context(lambda: iter([(example(),)]), load("generic"))


def test_whole_groups_of_a_normalisation_go_and_the_others_keep_their_means() -> None:
    model = Normed()
    [group], left = channel_groups(model, [example()[:1]])
    assert (group.name, group.size, group.block) == ("first", 8, 2)
    assert left["last"] == left["wide"] == "a GroupNorm of more channels than these"
    with torch.no_grad():
        model.last.weight[:, [2, 3, 6, 7]] = 0
        expected = model(example())
        remove_channels(model, [(group, torch.tensor([2, 3, 6, 7]))])
        assert (model.norm.num_groups, model.norm.num_channels) == (2, 4)
        assert model.norm.weight.tolist() == [1, 2, 5, 6]
        assert torch.allclose(model(example()), expected, atol=1e-5)


@pytest.mark.parametrize("round_to", [1, 4])
def test_what_goes_is_the_block_that_matters_least_as_a_whole(round_to: int) -> None:
    model = Normed()
    with torch.no_grad():
        model.first.weight[4] *= 0.01  # alone it is the least, and its neighbour the largest
        model.first.weight[5] *= 10
        model.first.weight[6:8] *= 0.1
        model.last.weight[:, 6:8] *= 0.1
    apply_one(PruneChannels(ratio=0.5 if round_to == 4 else 0.3, round_to=round_to), model, context())
    assert model.norm.num_channels == {1: 6, 4: 4}[round_to]
    assert 6.0 in model.norm.weight.tolist()  # of channel 5
    assert 5.0 in model.norm.weight.tolist()  # it takes channel 4 along
    assert 7.0 not in model.norm.weight.tolist()


def test_a_freshly_built_network_comes_to_the_same() -> None:
    model = apply_one(PruneChannels(ratio=0.5, round_to=1), Normed(), context())
    again = restructure(Normed(), structure_of(model))
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(example()), model(example()))


def denoiser(name: str) -> tuple[nn.Module, Context]:
    loaded = load_denoiser(ModelSource(f"random:{name}"))
    inputs = loaded.architecture.inputs(loaded.model.config, 8, 5, name)
    batch = next(Denoising(inputs, Schedule().timesteps(2)).batches(2))
    return loaded.model, Context(lambda: iter([tuple(map(torch.from_numpy, batch))]), load("generic"))


def test_the_inner_channels_of_a_unet_go() -> None:
    model, around = denoiser("tiny-unet")
    before = sum(value.numel() for value in model.parameters())
    apply_one(PruneChannels(ratio=0.5), model, around)
    assert sum(value.numel() for value in model.parameters()) < 0.8 * before
    resnet = model.down_blocks[0].resnets[0]
    assert (
        resnet.conv1.out_channels == resnet.norm2.num_channels == resnet.conv2.in_channels < resnet.conv2.out_channels
    )
    assert resnet.time_emb_proj.out_features == resnet.conv1.out_channels
    assert torch.isfinite(model(*around.example())).all()


@pytest.mark.parametrize("name", ["tiny-dit", "tiny-pixart", "tiny-sd3", "tiny-sana"])
def test_blocks_of_transformers_go(name: str) -> None:
    model, around = denoiser(name)
    apply_one(PruneLayers(count=1), model, around)
    assert num_removed(model) == 1
    assert torch.isfinite(model(*around.example())).all()
