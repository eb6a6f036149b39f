"""Rows with round numbers."""

from __future__ import annotations

from typing import Any

from compress.report.row import Row
from compress.runtime.machine import Machine
from compress.runtime.statistics import Ratio
from compress.tasks.base import Figure


def row(name: str, **changes: Any) -> Row:
    """A row of 5 MB beside a float model of 20 MB."""
    values = {
        "name": name,
        "task": "image_classification",
        "model": "EfficientNet-Lite0",
        "artefact": f"runs/{name}/artefact",
        "command": f"compress run recipes/{name}.yaml",
        "target": "generic",
        "is_float": False,
        "random_weights": False,
        "size_bytes": 5_050_000,
        "model_bytes": 5_000_000,
        "gzip_bytes": 4_500_000,
        "files": {"model.onnx": 5_000_000, "config.json": 50_000},
        "float_model_bytes": 20_000_000,
        "parameters": 4_652_008,
        "macs": 385_000_000,
        "operators": {"Conv": 49},
        "effective_bits": 8.6,
        "load_ms": 31.25,
        "rss_after_load_bytes": 90_000_000,
        "peak_rss_bytes": 101_500_000,
        "latency_ms_p50": 9.875,
        "latency_ms_p95": 11.5,
        "items_per_second": 120.5,
        "latency_ratio": Ratio(0.44, 0.42, 0.46, 0.43, 0.45, 60),
        "energy_joules": None,
        "energy_note": "this machine exposes no energy counter",
        "scores": {
            "top1": Figure(0.8921, 0.8611, 0.9168, 472),
            "top5": Figure(0.98, 0.96, 0.99, 472),
            "top1_difference": Figure(-0.0042, -0.0127, 0.0043, 472),
            "agreement": Figure(0.9831, 0.967, 0.9914, 472),
            "kl_nats": Figure(0.0123, 0.01, 0.015, 472),
        },
        "machine": Machine("A CPU", 2, 2, ("avx512_vnni",), "1.31.1"),
    }
    return Row(**{**values, **changes})


INT8 = row("w8a8")
FLOAT = row(
    "float",
    is_float=True,
    model_bytes=20_000_000,
    float_model_bytes=None,
    latency_ratio=None,
    scores={"top1": Figure(0.8962, 0.865, 0.921, 472), "top5": Figure(0.98, 0.96, 0.99, 472)},
)
INT4 = row("w4", model_bytes=2_870_000, misses=("agreement is 91.0 %, at least 92.0 % is asked for",))
RANDOM = row("resnet18", model="ResNet-18 of random weights", random_weights=True)
