"""Errors of weights, layer by layer."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from compress.comparing.layers import layer_errors, sqnr_db
from compress.errors import ArtefactError
from compress.passes.base import silent
from tests.graphs import Builder, write_artefact


def test_signal_to_noise_by_hand() -> None:
    before = np.array([[3.0, 4.0]], np.float32)
    after = np.array([[3.0, 3.0]], np.float32)
    assert sqnr_db(before, after) == pytest.approx(10 * math.log10(25 / 1))
    assert sqnr_db(before, 0 * before) == 0.0  # the noise is the signal
    assert sqnr_db(before, before) == math.inf
    assert sqnr_db(0 * before, after) == -math.inf


@settings(deadline=None)
@given(arrays(np.float32, 8, elements=st.floats(-4, 4, width=16)), st.integers(0, 7), st.sampled_from([2.0, -8.0]))
def test_signal_to_noise_does_not_depend_on_the_scale_of_both(weight: np.ndarray, place: int, scale: float) -> None:
    other = weight.copy()
    other[place] += 1
    found = sqnr_db(weight, other)
    assert sqnr_db(scale * weight, scale * other) == pytest.approx(found)


def artefact(directory: Path, **weights: np.ndarray) -> object:
    """Matrix products one after another, each with a weight [out, in] by its name."""
    graph = Builder()
    x = "x"
    for name, weight in weights.items():
        stored = graph.constant(weight.astype(np.float32))
        graph.initializers[-1].name = f"{name}.weight"
        assert stored
        x = graph.op("Gemm", x, f"{name}.weight", transB=1)
    first = next(iter(weights.values()))
    return write_artefact(directory, graph.model(x, ["N", first.shape[1]]))


def test_the_layer_that_changed_most_comes_first(tmp_path: Path) -> None:
    eye = np.eye(4)
    one = artefact(tmp_path / "one", a=eye, b=eye, c=eye)
    other = artefact(tmp_path / "other", a=eye, b=eye + 0.1, c=eye + 0.01)
    found = layer_errors(other, one, silent)  # type: ignore[arg-type]  # a pass-through of the tests
    assert [error.layer for error in found.errors] == ["b", "c", "a"]
    # Σ 1² = 4 over Σ 0.1² = 0.16
    assert found.errors[0].sqnr_db == pytest.approx(10 * math.log10(4 / 0.16), abs=1e-4)
    assert found.errors[2].sqnr_db == math.inf
    assert found.apart == ()


def test_layers_of_one_alone_or_of_other_shapes_stand_apart(tmp_path: Path) -> None:
    one = artefact(tmp_path / "one", a=np.eye(4), b=np.ones((6, 4)), c=np.ones((2, 6)))
    other = artefact(tmp_path / "other", a=np.eye(4), b=np.ones((3, 4)), d=np.ones((2, 3)))
    found = layer_errors(other, one, silent)  # type: ignore[arg-type]  # a pass-through of the tests
    assert [error.layer for error in found.errors] == ["a"]
    assert found.apart == ("b", "c", "d")


def test_artefacts_without_a_weight_in_common_are_refused(tmp_path: Path) -> None:
    one, other = artefact(tmp_path / "one", a=np.eye(4)), artefact(tmp_path / "other", b=np.eye(4))
    with pytest.raises(ArtefactError, match="share no weight by name and shape: compare artefacts of one model"):
        layer_errors(other, one, silent)  # type: ignore[arg-type]  # a pass-through of the tests
