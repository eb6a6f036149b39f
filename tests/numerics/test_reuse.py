"""Forecast velocities: right on lines, their errors worked by hand, and chosen steps never worse than even ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from compress.numerics.reuse import (
    Evaluated,
    best_steps,
    error_by_moves,
    error_by_outputs,
    errors_of_forecasts,
    even_steps,
)


def test_the_line_through_the_last_two_by_hand() -> None:
    known, one, other = Evaluated(), np.float32([10, 0]), np.float32([8, 1])
    known.keep(1.0, one)
    np.testing.assert_array_equal(known.forecast(0.9), one)
    known.keep(0.8, other)
    np.testing.assert_allclose(known.forecast(0.6), [6, 2], rtol=1e-6)
    known.keep(0.5, one)
    np.testing.assert_allclose(known.forecast(0.2), [12, -1], rtol=1e-6)


def test_errors_of_forecasts_by_hand() -> None:
    """Steps 0 and 2 of four: 1 is forecast as 0; 3 as v2 + (0.25 − 0.5) / (0.5 − 1) · (v2 − v0)."""
    found = errors_of_forecasts((0, 2), np.array([1.0, 0.75, 0.5, 0.25]))
    np.testing.assert_allclose(found, [[0, 0, 0, 0], [1, -1, 0, 0], [0, 0, 0, 0], [-0.5, 0, 1.5, -1]], atol=1e-12)


@given(num_steps=some.integers(2, 30), data=some.data())
def test_velocities_on_a_line_are_forecast_without_error(num_steps: int, data: some.DataObject) -> None:
    chosen = data.draw(some.sets(some.integers(1, num_steps - 1), min_size=1))
    steps, places = (0, *sorted(chosen)), np.linspace(1, 1 / num_steps, num_steps)
    errors = errors_of_forecasts(steps, places) @ (3 * places - 2)
    np.testing.assert_allclose(errors[steps[1] :], 0, atol=1e-9)
    assert not errors[list(steps)].any()


@given(num_steps=some.integers(2, 12), data=some.data())
def test_chosen_steps_are_so_many_and_not_worse_than_even_ones(num_steps: int, data: some.DataObject) -> None:
    count = data.draw(some.integers(1, num_steps))
    draw = np.random.default_rng(data.draw(some.integers(0, 9)))
    moves, sigmas = draw.standard_normal((5, num_steps, num_steps)), np.linspace(1, 0, num_steps + 1)
    steps = best_steps(num_steps, count, lambda each: error_by_moves(moves, sigmas, each))
    assert len(steps) == count
    assert steps[0] == 0
    assert list(steps) == sorted({*steps})
    assert error_by_moves(moves, sigmas, steps) <= error_by_moves(moves, sigmas, even_steps(num_steps, count))


def test_the_steps_where_velocities_turn_are_evaluated() -> None:
    """The velocity of an image stays but for steps 5 and 6, where it jumps."""
    velocity = np.where(np.arange(8) < 5, 1.0, np.where(np.arange(8) == 5, 4.0, 2.0))
    moves = np.broadcast_to(velocity, (1, 8, 8)).copy()
    steps = best_steps(8, 4, lambda each: error_by_moves(moves, np.linspace(1, 0, 9), each))
    assert {5, 6} <= {*steps}


def test_errors_by_outputs_are_those_of_the_sums() -> None:
    """The last sample is the sum of outputs times their shares: with forecasts and without, it is so far apart."""
    draw, places, steps = np.random.default_rng(0), np.linspace(900, 50, 6), (0, 2, 5)
    outputs, shares = draw.standard_normal((6, 40)), draw.standard_normal(6)
    known, forecast = Evaluated(), []
    for step, place in enumerate(places):
        if step in steps:
            known.keep(place, outputs[step])
        forecast.append(outputs[step] if step in steps else known.forecast(place))
    wanted = np.square(shares @ (np.array(forecast) - outputs)).mean()
    assert error_by_outputs(outputs @ outputs.T / 40, shares, places, steps) == pytest.approx(wanted, rel=1e-5)


def test_more_steps_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="4 of 3 steps"):
        best_steps(3, 4, lambda each: 0.0)
