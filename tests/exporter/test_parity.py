"""The exported function is the torch model's, or the export fails and says by how much it is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from compress.errors import ParityError
from compress.exporter.parity import check_parity
from tests.exporter.networks import Network, inputs, quantize_activations, quantize_weights, seeded

Float = NDArray[np.float32]


def torch_predictor(model: nn.Module, change: float = 0.0) -> object:
    noise = np.random.default_rng(0)

    def predict(batch: Float) -> Float:
        with torch.no_grad():
            logits = model(torch.from_numpy(batch)).numpy()
        return logits + (change * noise.normal(size=logits.shape)).astype(np.float32)

    return predict


def test_a_model_is_its_own_equal() -> None:
    model = seeded(Network)
    parity = check_parity(model, torch_predictor(model), [inputs(3), inputs(2)])
    assert (parity.num_inputs, parity.num_outputs, parity.max_difference, parity.agreement) == (5, 5, 0.0, 1.0)


def test_float_models_must_agree_to_four_digits() -> None:
    model = seeded(Network)
    check_parity(model, torch_predictor(model, change=1e-7), [inputs()])
    with pytest.raises(ParityError, match=r"here: not the same function .* 8 inputs .* allowed is 0\.0001"):
        check_parity(model, torch_predictor(model, change=1e-2), [inputs()], "here")


def test_quantized_activations_may_differ_as_much_as_rounding_does() -> None:
    model = quantize_activations(quantize_weights(seeded(Network)))
    parity = check_parity(model, torch_predictor(model, change=1e-4), [inputs()])
    assert 1e-4 < parity.rms_difference < parity.limit < 0.2
    with pytest.raises(ParityError, match="not the same function"):
        check_parity(model, torch_predictor(model, change=0.1), [inputs()])


def test_one_clearly_other_choice_is_too_many() -> None:
    model = quantize_activations(quantize_weights(seeded(Network)))
    right = torch_predictor(model)

    def one_wrong(batch: Float) -> Float:
        logits = right(batch)
        logits[0, logits[0].argmin()] = logits[0].max() + 0.01
        return logits

    many = np.concatenate([inputs(64)] * 64)
    assert check_parity(model, right, [many]).agreement == 1.0
    with pytest.raises(ParityError, match=r"99.98% of the choices agree"):
        check_parity(model, one_wrong, [many])


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_no_number_is_refused(wrong: float) -> None:
    model = seeded(Network)
    with pytest.raises(ParityError, match="not all of them finite"):
        check_parity(model, lambda batch: np.full((len(batch), 5), wrong, np.float32), [inputs()])


def test_another_shape_is_refused() -> None:
    with pytest.raises(ParityError, match=r"gives float32 \[8, 4\] where the torch model gives float32 \[8, 5\]"):
        check_parity(seeded(Network), lambda batch: np.zeros((len(batch), 4), np.float32), [inputs()])


def test_a_model_that_always_gives_zero_has_parity() -> None:
    model = seeded(Network)
    nn.init.zeros_(model.head.weight)  # type: ignore[arg-type,union-attr]
    nn.init.zeros_(model.head.bias)  # type: ignore[arg-type,union-attr]
    assert check_parity(model, torch_predictor(model), [inputs()]).max_difference == 0.0


def test_the_model_is_left_in_its_mode() -> None:
    model = seeded(Network).train()
    check_parity(model, torch_predictor(model), [inputs()])
    assert model.training
