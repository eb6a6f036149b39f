"""The best tokens are found without sorting the vocabulary, and draws follow the model's probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.runtime.text import Decoding
from compress.runtime.text.choosing import Rules, choose, repeating, top
from compress.runtime.text.likelihood import log_sum_exp, token_nats
from tests.runtime.text.toys import softmax


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 3000), st.booleans())
def test_the_top_is_that_of_a_sort(seed: int, number: int, size: int, coarse: bool) -> None:
    values = np.random.default_rng(seed).standard_normal(size).astype(np.float32)
    values = np.round(values) if coarse else values  # ties: the first comes first
    np.testing.assert_array_equal(top(values, number), np.argsort(-values, kind="stable")[:number])


def drawn(logits: np.ndarray, decoding: Decoding, number: int = 4000) -> np.ndarray:
    random = np.random.default_rng(0)
    return np.bincount([choose(logits, decoding, random) for _ in range(number)], minlength=len(logits)) / number


def test_draws_follow_softmax_at_a_temperature() -> None:
    logits = np.array([0.0, 1.0, 2.0, -1.0], np.float32)
    np.testing.assert_allclose(drawn(logits, Decoding(temperature=0.7)), softmax(logits / 0.7), atol=0.03)


def test_top_k_leaves_k_tokens() -> None:
    logits = np.array([0.0, 1.0, 2.0, -1.0], np.float32)
    chances = drawn(logits, Decoding(temperature=1.0, top_k=2))
    np.testing.assert_allclose(chances, [0, *softmax(logits[1:3]), 0], atol=0.03)


def test_top_p_leaves_the_fewest_tokens_that_sum_to_it() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    for top_p, left in ((0.4, 1), (0.6, 2), (0.79, 2), (0.81, 3), (0.99, 4), (1.0, 4)):
        chances = drawn(logits, Decoding(temperature=1.0, top_p=top_p), 1000)
        assert np.count_nonzero(chances) == left


def test_a_nucleus_may_be_wider_than_a_thousand_tokens() -> None:
    logits = np.zeros(5000, np.float32)
    random = np.random.default_rng(0)
    tokens = [choose(logits, Decoding(temperature=1.0, top_p=0.8), random) for _ in range(500)]
    assert 3500 < max(tokens) < 4000


def test_a_repeated_ngram_is_found() -> None:
    assert repeating([1, 2, 3, 1, 2], 3) == [3]
    assert repeating([1, 2, 3, 1], 1) == [1, 2, 3, 1]
    assert repeating([1, 2], 3) == []
    assert repeating([1, 2, 1], 0) == []


def test_nothing_else_may_follow_where_the_last_token_is_forced() -> None:
    rules = Rules(frozenset({1}), suppressed=(0,), forced_last=1)
    free = rules.restrict(np.zeros(3, np.float32), [], 0, last=False)
    assert free.tolist() == [-np.inf, 0, 0]
    assert rules.restrict(np.zeros(3, np.float32), [], 0, last=True).tolist() == [-np.inf, 0, -np.inf]


@pytest.mark.parametrize("size", [5, 1 << 15, 100_000])
def test_nats_are_those_of_float64(size: int) -> None:
    logits = np.random.default_rng(0).standard_normal((3, size)).astype(np.float32) * 10
    exact = logits.astype(np.float64)
    whole = np.log(np.exp(exact - exact.max(axis=1, keepdims=True)).sum(axis=1)) + exact.max(axis=1)
    assert [log_sum_exp(row) for row in logits] == pytest.approx(whole, abs=1e-5)
    targets = np.array([0, 3, 4])
    assert token_nats(logits, targets) == pytest.approx(whole - exact[range(3), targets], abs=1e-5)
