from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from compress.errors import ModelError
from compress.models.finite import all_finite, check_finite, refuse_infinite

WRONG = [float("nan"), float("inf"), float("-inf")]


@given(
    size=st.integers(1, 600),
    place=st.integers(0, 599),
    value=st.sampled_from([*WRONG, 3e38, -3e38, 0.0]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_one_value_that_is_not_finite_is_found_wherever_it_lies(
    size: int, place: int, value: float, dtype: torch.dtype
) -> None:
    values = torch.linspace(-1, 1, size).to(dtype)
    values[place % size] = value
    assert all_finite(values) == (value not in WRONG and value == value)


def test_no_values_are_finite() -> None:
    assert all_finite(torch.empty(0, 3))


@pytest.mark.parametrize("value", WRONG)
def test_a_pass_refuses_the_layer_by_name(value: float) -> None:
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight[1, 0] = value
    with pytest.raises(ModelError, match=r"^x: the weight of stem is not finite$"):
        refuse_infinite("x", "stem", layer)


@pytest.mark.parametrize(("name", "value"), [("0.weight", float("nan")), ("1.running_var", float("inf"))])
def test_weights_that_are_not_finite_are_named(name: str, value: float) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    model.state_dict()[name].view(-1)[:2] = value
    with pytest.raises(ModelError, match=rf"^x: 2 of the \d+ values of '{name}' are NaN or infinite$"):
        check_finite(model, "x")
