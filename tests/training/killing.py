"""Trainings that are killed, and what they promise then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from compress.passes.base import silent
from compress.training import loop


class Killed(Exception):
    """What ends a process in these tests."""


def killed_after(count: int) -> Any:
    """A Progress that ends the process after so many steps."""

    def progress(items: Iterable[Any], what: str, total: int) -> Iterator[Any]:
        for number, item in enumerate(items):
            if number == count:
                raise Killed
            yield item

    return progress


def assert_goes_on(
    trained: Callable[[Path | None, Any], tuple[dict[str, Tensor], Any]],
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
) -> None:
    """A training, of a directory and a Progress, that is killed after so many steps ends as one that is not: the same
    weights, to the bit, and losses."""
    expected, losses = trained(None, silent)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    with pytest.raises(Killed):
        trained(directory, killed_after(after))
    state, resumed = trained(directory, silent)
    assert resumed == losses
    assert all(torch.equal(expected[name], state[name]) for name in expected)
