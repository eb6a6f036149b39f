"""The 1000 classes of ImageNet-1k (ILSVRC 2012), in the index order that every model of it uses: sorted by WordNet id.

imagenet_classes.tsv holds a WordNet 3.0 id and a name a line: the first word of the synset, made distinct where two
classes share it (crane, maillot).
"""

from __future__ import annotations

import functools
from importlib.resources import files


@functools.cache
def _classes() -> tuple[tuple[str, str], ...]:
    text = files(__package__).joinpath("imagenet_classes.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines()]
    return tuple((wordnet_id, name) for wordnet_id, name in rows)


def imagenet_labels() -> tuple[str, ...]:
    """'tench', 'goldfish', … 'toilet tissue'."""
    return tuple(name for _, name in _classes())


def imagenet_wordnet_ids() -> tuple[str, ...]:
    """'n01440764', … 'n15075141'."""
    return tuple(wordnet_id for wordnet_id, _ in _classes())
