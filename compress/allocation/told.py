"""losses.json beside a run's row: what each choice of each layer was predicted to lose when a budget was shared out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from compress.errors import ArtefactError
from compress.files import write_text

LOSSES = "losses.json"


@dataclass(frozen=True)
class LayerLosses:
    """chosen: the choice that the layer got, as '4 bits by 32'.  nats: by choice, the KL divergence a row of logits."""

    chosen: str
    nats: Mapping[str, float]


def add_losses(path: Path, losses: Mapping[str, LayerLosses]) -> None:
    """Write those of these layers, beside those of other layers that the file holds."""
    together = {**read_losses(path), **losses}
    plain = {name: asdict(each) for name, each in together.items()}
    write_text(path, json.dumps(plain, indent=2, allow_nan=False) + "\n")


def read_losses(path: Path) -> dict[str, LayerLosses]:
    """By layer; none where there is no file.  Raises ArtefactError for a damaged one."""
    if not path.is_file():
        return {}
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        return {name: LayerLosses(**each) for name, each in plain.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ArtefactError(f"{path}: damaged: {error}: remove it, or run its recipe again with --force") from error
