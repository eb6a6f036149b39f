"""What a teacher's losses are, by hand and by law."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from compress.numerics.distillation import (
    attention_distance,
    confidence_aware_kl,
    confidence_of,
    feature_distance,
    forward_kl,
    keep_top,
    reverse_kl,
    squared_difference,
)

ROWS = st.integers(0, 10_000).map(lambda seed: torch.randn(2, 6, 7, generator=torch.Generator().manual_seed(seed)) * 3)


def test_the_divergence_of_two_coins() -> None:
    """p = (3/4, 1/4), q = (1/2, 1/2): KL(p ‖ q) = ln 2 − H(p), KL(q ‖ p) = ½ ln(4/3)."""
    teacher, student = torch.tensor([[math.log(3.0), 0.0]]), torch.zeros(1, 2)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert float(forward_kl(student, teacher)) == pytest.approx(math.log(2) - entropy, rel=1e-5)
    assert float(reverse_kl(student, teacher)) == pytest.approx(0.5 * math.log(4 / 3), rel=1e-5)


def test_the_gradient_is_the_difference_of_probabilities() -> None:
    """∂/∂z_i KL(p ‖ softmax z) = q_i − p_i: here (1/2, 1/2) − (3/4, 1/4)."""
    student = torch.zeros(1, 2, requires_grad=True)
    forward_kl(student, torch.tensor([[math.log(3.0), 0.0]])).sum().backward()
    assert student.grad is not None
    assert student.grad.tolist() == [pytest.approx([-0.25, 0.25])]


def test_the_gradient_at_a_temperature_is_one_temperature_th_of_it() -> None:
    """∂/∂z T²·KL(p_T ‖ q_T) = T·(q_T − p_T) (Hinton et al., eq. 2)."""
    temperature = 4.0
    student = torch.tensor([[1.0, -2.0, 0.5]], requires_grad=True)
    teacher = torch.tensor([[0.0, 3.0, -1.0]])
    (forward_kl(student / temperature, teacher / temperature).sum() * temperature**2).backward()
    q, p = (x.detach().div(temperature).softmax(-1) for x in (student, teacher))
    assert torch.allclose(student.grad, temperature * (q - p), atol=1e-6)  # type: ignore[arg-type]


@given(ROWS)
def test_divergences_are_zero_for_equals_and_above_it_for_others(pair: Tensor) -> None:
    student, teacher = pair
    confidence = torch.tensor(0.3)
    for divergence in (forward_kl, reverse_kl, squared_difference):
        assert torch.allclose(divergence(student, student), torch.zeros(6), atol=1e-5)
        assert bool((divergence(student, teacher) >= -1e-5).all())
    mixed = confidence_aware_kl(student, teacher, confidence)
    ends = torch.stack([forward_kl(student, teacher), reverse_kl(student, teacher)])
    assert bool(((mixed >= ends.amin(0) - 1e-5) & (mixed <= ends.amax(0) + 1e-5)).all())


@given(ROWS, st.integers(1, 6))
def test_merging_classes_lowers_a_divergence_and_keeps_probabilities(pair: Tensor, k: int) -> None:
    student, teacher = pair
    own, theirs = keep_top(student, teacher, k)
    assert own.shape == (6, k + 1)
    assert torch.allclose(own.exp().sum(-1), torch.ones(6), atol=1e-5)
    assert bool((forward_kl(own, theirs) <= forward_kl(student, teacher) + 1e-5).all())


@given(ROWS, st.floats(-5, 5))
def test_a_constant_added_to_all_logits_changes_nothing(pair: Tensor, shift: float) -> None:
    student, teacher = pair
    for divergence in (forward_kl, reverse_kl, squared_difference):
        assert torch.allclose(divergence(student + shift, teacher), divergence(student, teacher), atol=1e-4)


def test_at_high_temperature_the_divergence_becomes_the_squared_difference() -> None:
    student, teacher = torch.randn(2, 5, 10, generator=torch.Generator().manual_seed(1))
    temperature = 1000.0
    limit = forward_kl(student.double() / temperature, teacher.double() / temperature) * temperature**2
    assert torch.allclose(limit, squared_difference(student.double(), teacher.double()), rtol=1e-2)


def test_confidence_is_the_mean_probability_of_the_true_classes() -> None:
    teacher = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    assert float(confidence_of(teacher, torch.tensor([0, 1]))) == pytest.approx((0.75 + 0.5) / 2)


def test_features_twice_as_large_are_at_distance_one() -> None:
    features = torch.tensor([[1.0, -2.0]])
    assert float(feature_distance(2 * features, features)) == pytest.approx(1.0)


def test_attention_sees_where_not_how_large() -> None:
    """Two places, two channels: energies (1 + 0, 0 + 4) and its double are one map; (4, 1) is another."""
    features = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]])
    assert float(attention_distance(3 * features, features)) == pytest.approx(0.0, abs=1e-6)
    mirrored = features.flip(3)
    length = math.sqrt(17)
    expected = ((1 - 4) / length) ** 2 * 2
    assert float(attention_distance(mirrored, features)) == pytest.approx(expected, rel=1e-5)
    sequence = features.permute(0, 2, 3, 1).flatten(1, 2)  # [N, T, C]
    assert float(attention_distance(sequence, sequence.flip(1))) == pytest.approx(expected, rel=1e-5)
