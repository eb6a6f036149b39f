"""Energy that the processor's own counter (RAPL) saw, where there is one that may be read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Reading:
    """Microjoules of each package, and where its counter starts over."""

    microjoules: tuple[int, ...]
    ranges: tuple[int, ...]

    def joules_since(self, before: Reading) -> float:
        """Joules since `before`; a counter that started over did so once."""
        spans = zip(self.microjoules, before.microjoules, self.ranges, strict=True)
        return sum((now - then) % (limit + 1) for now, then, limit in spans) / 1e6


def counters(powercap: Path = _POWERCAP) -> list[Path]:
    """The counters of whole processor packages: those of their parts are contained in them, and they in the board's."""
    domains = [path for path in sorted(powercap.glob("intel-rapl:*")) if (path / "energy_uj").is_file()]
    return [path for path in domains if (path / "name").read_text().startswith("package")]


def unreadable(powercap: Path = _POWERCAP) -> str | None:
    """Why no energy can be measured here, or None if it can."""
    found = counters(powercap)
    if not found:
        return "this machine exposes no energy counter"
    if not all(os.access(path / "energy_uj", os.R_OK) for path in found):
        return f"{found[0] / 'energy_uj'} is readable by root alone"
    return None


def read(powercap: Path = _POWERCAP) -> Reading:
    """The counters now; only where `unreadable` has nothing to say."""
    found = counters(powercap)
    microjoules = tuple(int((path / "energy_uj").read_text()) for path in found)
    return Reading(microjoules, tuple(int((path / "max_energy_range_uj").read_text()) for path in found))
