"""How often a part is called."""

from __future__ import annotations

from typing import Any


class _Counting:
    """Calls the part that it stands for, which gives all else too."""

    def __init__(self, part: Any) -> None:
        self.part, self.calls = part, 0

    def __call__(self, *given: Any, **named: Any) -> Any:
        self.calls += 1
        return self.part(*given, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.part, name)


def counted(whole: Any, name: str) -> _Counting:
    """Put what counts its calls in the place of a part."""
    counting = _Counting(getattr(whole, name))
    setattr(whole, name, counting)
    return counting
