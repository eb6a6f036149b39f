"""LoadedModel: a model with all that belongs to it; and the steps that every kind of source takes alike."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from compress.data.preprocess import Preprocessor
from compress.errors import CompressError, ModelError

if TYPE_CHECKING:
    from torch import nn

    from compress.models.source import ModelSource

T = TypeVar("T")


@dataclass(frozen=True)
class LoadedModel:
    """model: in eval mode, float32, input [N, 3, H, W] as `preprocessor` makes it, output logits [N, classes].

    labels          the name of each class.
    config          goes into config.json beside the labels.
    random_weights  whether the weights are fresh ones: figures of quality mean nothing then.
    description     one line for the model card.
    licence         of the weights, as an SPDX name in small letters or an address; None: not known.
    """

    model: nn.Module
    preprocessor: Preprocessor
    labels: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    random_weights: bool = False
    description: str = ""
    licence: str | None = None


def seeded(seed: int, build: Callable[[], T]) -> T:
    """What `build` returns with torch's random numbers from `seed`; the caller's are left where they were."""
    with randomness(seed):
        return build()


@contextmanager
def randomness(seed: int) -> Iterator[None]:
    """Scope: torch's random numbers are those of the seed; the caller's are left where they were."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def told(what: str) -> Iterator[None]:
    """Whatever another library raises inside becomes one ModelError: '`what`: its first line'."""
    try:
        yield
    except CompressError:
        raise
    except Exception as error:
        raise ModelError(f"{what}: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def check_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Raise ModelError, naming the nearest, unless `name` is one of the (perhaps a thousand) known names."""
    names = sorted(known)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(repr(other) for other in near)}?" if near else f"it has {len(names)} others"
        raise ModelError(f"unknown {kind} model '{name}': {hint}")


def check_pretrained_classes(source: ModelSource, num_classes: int) -> None:
    """Raise ModelError if the source wants another number of classes than its pretrained weights have."""
    if source.num_classes not in (None, num_classes):
        raise ModelError(
            f"{source.source}: its pretrained weights have {num_classes} classes, num_classes is {source.num_classes}: "
            f"take num_classes out, or give your own weights as path:FILE.safetensors"
        )


def class_labels(source: ModelSource, num_classes: int, default: tuple[str, ...]) -> tuple[str, ...]:
    """The source's own labels, else `default` where it has the right number, else 'class 0', 'class 1', …

    Raises ModelError for a file that cannot be read or a wrong number of labels.
    """
    if source.labels is None:
        return default if len(default) == num_classes else tuple(f"class {i}" for i in range(num_classes))
    if isinstance(source.labels, str):
        try:
            text = Path(source.labels).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"labels: {source.labels} cannot be read as text: {first_line(error)}") from error
        where, labels = f"labels: {source.labels}", tuple(line.strip() for line in text.splitlines() if line.strip())
    else:
        where, labels = "labels", source.labels
    if len(labels) != num_classes:
        raise ModelError(f"{where} has {len(labels)} names, but the model has {num_classes} classes: write one a class")
    return labels
