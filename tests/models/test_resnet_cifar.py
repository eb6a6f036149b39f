"""The CIFAR ResNets, by the paper's own numbers."""

from __future__ import annotations

import pytest
import torch

from compress.models.resnet_cifar import CifarResNet, SubsampleShortcut


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_parameters_are_those_of_table_6(depth: int, millions: float) -> None:
    model = CifarResNet((depth - 2) // 6)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.02)


def test_the_shortcut_takes_every_second_pixel_and_pads_channels() -> None:
    x = torch.arange(2 * 4 * 4.0).reshape(1, 2, 4, 4)
    y = SubsampleShortcut(2)(x)
    assert y.shape == (1, 4, 2, 2)
    assert y[0, 1].tolist() == [[0, 2], [8, 10]]
    assert y[0, [0, 3]].abs().sum() == 0


def test_logits_have_the_shape_of_the_classes() -> None:
    assert CifarResNet(1, 7).eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
