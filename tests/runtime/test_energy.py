"""Energy is the packages' counters, or a reason why there is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from compress.runtime import energy


def domain(powercap: Path, name: str, label: str, microjoules: int, limit: int = 999) -> Path:
    path = powercap / name
    path.mkdir(parents=True)
    for file, text in (("name", label), ("energy_uj", microjoules), ("max_energy_range_uj", limit)):
        (path / file).write_text(f"{text}\n")
    return path


def test_a_machine_without_counters_says_so(tmp_path: Path) -> None:
    assert energy.unreadable(tmp_path / "none") == "this machine exposes no energy counter"
    assert energy.unreadable(tmp_path) == "this machine exposes no energy counter"


def test_packages_count_their_parts_and_the_board_do_not(tmp_path: Path) -> None:
    domain(tmp_path, "intel-rapl:0", "package-0", 100)
    domain(tmp_path, "intel-rapl:0:0", "core", 50)
    domain(tmp_path, "intel-rapl:1", "package-1", 200)
    domain(tmp_path, "intel-rapl:2", "psys", 400)
    assert energy.unreadable(tmp_path) is None
    assert energy.read(tmp_path).microjoules == (100, 200)


def test_a_counter_that_started_over_is_followed() -> None:
    before, after = energy.Reading((900, 10), (999, 999)), energy.Reading((100, 30), (999, 999))
    assert after.joules_since(before) == pytest.approx((200 + 20) / 1e6)


def test_a_counter_of_root_alone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = domain(tmp_path, "intel-rapl:0", "package-0", 100) / "energy_uj"
    monkeypatch.setattr(os, "access", lambda file, mode: False)  # root may read all: the mode alone shows nothing
    assert energy.unreadable(tmp_path) == f"{path} is readable by root alone"
