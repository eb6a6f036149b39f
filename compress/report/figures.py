"""One measured figure as text, with its interval: shares, differences, likelihoods, sizes, ratios."""

from __future__ import annotations

from collections.abc import Callable

from compress.runtime.statistics import Ratio
from compress.tasks.base import Figure


def percent(figure: Figure) -> str:
    """A share with its interval: '89.2 % [86.1, 91.7]'."""
    return f"{100 * figure.value:.1f} %{_interval(figure, lambda share: f'{100 * share:.1f}')}"


def points(figure: Figure) -> str:
    """A difference of shares, signed, in points of a hundred: '−0.4 [−1.3, +0.4]'."""
    return f"{_signed(100 * figure.value)}{_interval(figure, lambda share: _signed(100 * share))}"


def number(figure: Figure) -> str:
    """Any other figure: '0.0123 [0.0101, 0.0150]'."""
    return f"{figure.value:.4g}{_interval(figure, lambda value: f'{value:.4g}')}"


def nats(figure: Figure) -> str:
    """A likelihood: '1.912 [1.840, 1.983]'."""
    return f"{figure.value:.3f}{_interval(figure, lambda value: f'{value:.3f}')}"


def signed_nats(figure: Figure) -> str:
    """A likelihood lost: '+0.114 [+0.098, +0.131]'."""
    return f"{_signed(figure.value, 3)}{_interval(figure, lambda value: _signed(value, 3))}"


def megabytes(size_bytes: int) -> str:
    """MB of 10⁶ bytes, two decimals."""
    return f"{size_bytes / 1e6:.2f}"


def ratio(value: Ratio) -> str:
    """The median, with the quartiles of the pairs: '0.44 × [0.42, 0.46]'."""
    return f"{value.value:.2f} × [{value.quartile_low:.2f}, {value.quartile_high:.2f}]"


def _interval(figure: Figure, text: Callable[[float], str]) -> str:
    return "" if figure.low is None or figure.high is None else f" [{text(figure.low)}, {text(figure.high)}]"


def _signed(value: float, decimals: int = 1) -> str:
    """With its sign, the true minus; 0.0 has none."""
    text = f"{value:+.{decimals}f}".replace("-", "−")
    return text[1:] if not text[1:].strip("0.") else text
