"""Fisher's information of channels."""

from __future__ import annotations

import torch
from torch import nn

from compress.allocation.information import channel_information
from compress.passes.base import silent
from tests.nets import conv_net, images


def test_a_channel_that_nothing_reads_has_none_and_the_others_what_their_weights_say() -> None:
    """Logits c·(w, −w) with p = ½ each: the gradient of −log p(y) is ±w in channel c, its square w² whatever y is."""
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(3))
        model[1].weight.copy_(torch.tensor([[2.0, 0.5, 0.0], [-2.0, -0.5, 0.0]]))
    # rows whose logits are all zero, of mean square 17/3
    x = torch.tensor([[1.0, -4.0, 0.0]]).repeat(4, 1)
    found = channel_information(model, ["0"], [(x,)], 0, silent)["0"]
    torch.testing.assert_close(found, torch.tensor([4.0, 0.25, 0.0]) * 17 / 3)


def test_of_images_a_channel_is_a_map_and_the_model_is_as_before() -> None:
    model = conv_net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = channel_information(model, ["blocks.0", "blocks.1"], [(images(4, 8),), (images(2, 8),)], 0, silent)
    with torch.no_grad():
        shapes = {name: [] for name in found}
        handles = [
            model.get_submodule(name).register_forward_hook(lambda m, i, o, name=name: shapes[name].append(o.shape[1]))
            for name in found
        ]
        model(images(1, 8))
    for handle in handles:
        handle.remove()
    assert {name: [len(value)] for name, value in found.items()} == shapes
    assert all(bool((value > 0).any()) for value in found.values())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_another_seed_draws_other_answers() -> None:
    model = conv_net()
    one, same, other = (
        channel_information(model, ["head"], [(images(4, 8),)], seed, silent)["head"] for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
