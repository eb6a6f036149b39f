from __future__ import annotations

import sys

import pytest

from compress.runtime.memory import freed_at_once
from compress.runtime.worker import rss_bytes

BLOCKS, SIZE, SMALL = 200, 1 << 20, 100_000


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_large_blocks_between_small_ones_that_stay_are_given_back() -> None:
    del_me = bytearray(16 << 20)
    del del_me  # glibc takes blocks of less from its heap now, where what stays keeps what was freed
    with freed_at_once():
        before = rss_bytes("VmRSS")
        pairs = [(bytearray(SIZE), bytearray(SMALL)) for _ in range(BLOCKS)]
        assert rss_bytes("VmRSS") - before > 0.9 * BLOCKS * SIZE
        stay = [small for _, small in pairs]
        del pairs
        assert rss_bytes("VmRSS") - before < 0.2 * BLOCKS * SIZE
        assert len(stay) == BLOCKS


def test_what_fails_inside_is_raised() -> None:
    with pytest.raises(KeyError), freed_at_once():
        raise KeyError
