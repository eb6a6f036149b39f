from __future__ import annotations

import subprocess
import sys

import pytest

from compress.runtime.memory import freed_at_once

# What is freed between blocks that stay, as a share of it: in a process of its own, whose heap holds nothing yet.
LEFT = """
from contextlib import nullcontext
from compress.runtime.memory import freed_at_once
from compress.runtime.worker import rss_bytes

first = bytearray(16 << 20)
del first  # glibc takes blocks of less from its heap from here on
with {scope}():
    before = rss_bytes("VmRSS")
    pairs = [(bytearray(1 << 20), bytearray(100_000)) for _ in range(200)]
    stay = [small for _, small in pairs]
    del pairs
    print((rss_bytes("VmRSS") - before) / (200 << 20))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_is_freed_between_blocks_that_stay_is_given_back() -> None:
    def left(scope: str) -> float:
        script = LEFT.format(scope=scope)
        return float(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)

    assert left("freed_at_once") < 0.2 < 0.9 < left("nullcontext")


def test_what_fails_inside_is_raised() -> None:
    with pytest.raises(KeyError), freed_at_once():
        raise KeyError
