"""Codecs: how a QuantizedWeight lies on disk.  Storage is not compute: standard operators decode it at load.

planes.py   codes of 1 to 8 bits, a plane for each power of two.
ternary.py  −1, 0 and 1 in 1.6 bits, or, with one zero in every four neighbours, in 1.25.
sizes.py    the bytes of a whole weight.
"""

from __future__ import annotations

from compress.exporter.codecs.planes import Coding, coding_of, pack, packed_bytes, plane_tables, plane_widths, unpack
from compress.exporter.codecs.sizes import MULTIPLIER_BITS, code_bytes, disk_scales, stored_bytes
from compress.exporter.codecs.ternary import pack_ternary, ternary_bytes, unpack_ternary

__all__ = [
    "MULTIPLIER_BITS",
    "Coding",
    "code_bytes",
    "coding_of",
    "disk_scales",
    "pack",
    "pack_ternary",
    "packed_bytes",
    "plane_tables",
    "plane_widths",
    "stored_bytes",
    "ternary_bytes",
    "unpack",
    "unpack_ternary",
]
