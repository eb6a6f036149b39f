"""Selecting layers: exact names, prefixes, globs, expressions and roles; what matches nothing is an error."""

from __future__ import annotations

import pytest
from torch import nn

from compress.errors import ModelError
from compress.models.layers import is_depthwise, select, unmatched, weighted_layers
from compress.models.selectors import ROLES, selector_problems
from tests.nets import conv_net

NAMES = ["conv_stem", "blocks.0.conv1", "blocks.0.conv2", "blocks.1.conv_dw", "blocks.1.conv_pw", "head"]


def test_the_layers_are_the_convolutions_and_linear_layers_in_order() -> None:
    assert list(weighted_layers(conv_net())) == NAMES


@pytest.mark.parametrize(
    ("selector", "numbers"),
    [
        ("*", [0, 1, 2, 3, 4, 5]),
        ("head", [5]),
        ("blocks.1.conv_dw", [3]),
        ("blocks.0", [1, 2]),
        ("blocks", [1, 2, 3, 4]),
        ("blocks.", [1, 2, 3, 4]),
        ("blocks.*.conv1", [1]),
        ("*conv_[dp]w", [3, 4]),
        ("re:conv", [0, 1, 2, 3, 4]),
        ("re:conv.$", [1, 2]),
        (r"re:^blocks\.\d\.conv_dw$", [3]),
        ("role:first", [0]),
        ("role:last", [5]),
        ("role:conv", [0, 1, 2, 3, 4]),
        ("role:depthwise", [3]),
        ("role:pointwise", [4]),
        ("role:linear", [5]),
    ],
)
def test_a_selector_means_these_layers(selector: str, numbers: list[int]) -> None:
    assert list(select(conv_net(), [selector])) == [NAMES[number] for number in numbers]


def test_selectors_add_up_in_the_order_of_the_model_and_ignore_takes_away() -> None:
    assert list(select(conv_net(), ["head", "blocks.0", "head"])) == ["blocks.0.conv1", "blocks.0.conv2", "head"]
    assert list(select(conv_net(), ["*"], ["role:conv"])) == ["head"]


def test_a_name_is_no_prefix_of_one_that_goes_on() -> None:
    model = nn.ModuleDict({"conv1": nn.Conv2d(1, 1, 1), "conv10": nn.Conv2d(1, 1, 1)})
    assert list(select(model, ["conv1"])) == ["conv1"]


def test_a_selector_that_matches_nothing_names_the_nearest_layer_and_all_are_told_at_once() -> None:
    with pytest.raises(ModelError) as caught:
        select(conv_net(), ["blocks.0.conv", "head"], ["re:conv_stemm"])
    assert str(caught.value).splitlines() == [
        "unknown layer 'blocks.0.conv': did you mean 'blocks.0.conv2'?",
        "unknown layer 'conv_stemm': did you mean 'conv_stem'?",
    ]


def test_a_selector_near_to_nothing_is_answered_with_all_layers() -> None:
    assert unmatched(weighted_layers(conv_net()), ["zzz"]) == [
        f"unknown layer 'zzz': known: {', '.join(sorted(NAMES))}"
    ]


def test_a_role_may_match_nothing() -> None:
    assert select(nn.Sequential(nn.Linear(1, 1)), ["role:depthwise"]) == {}


def test_an_unknown_role_or_a_broken_expression_is_told_of_without_a_model() -> None:
    assert selector_problems(["*", "role:depthwize", "re:[a", "head"]) == [
        "unknown role 'depthwize': did you mean 'depthwise'?",
        "'re:[a' is not a regular expression: unterminated character set at position 0",
    ]
    assert selector_problems([f"role:{role}" for role in ROLES]) == []


@pytest.mark.parametrize("selector", ["role:depthwize", "re:[a"])
def test_an_unknown_role_or_a_broken_expression_selects_nothing_by_mistake(selector: str) -> None:
    with pytest.raises(ModelError) as caught:
        select(conv_net(), [selector])
    assert str(caught.value) == selector_problems([selector])[0]


def test_a_convolution_of_one_channel_is_not_depthwise() -> None:
    assert is_depthwise(nn.Conv2d(4, 8, 3, groups=4))
    assert not is_depthwise(nn.Conv2d(1, 8, 3))
    assert not is_depthwise(nn.Conv2d(4, 4, 3, groups=2))
    assert not is_depthwise(nn.Linear(4, 4))
