"""How images of texts are sampled, as plain data, and noted in a pipeline.  No torch: the runtime reads it too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from compress.numerics.reuse import check_steps

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Sampling:
    """How an image is made.

    num_steps       of the scheduler.
    guidance_scale  w of classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598): a step goes along
                    noise(negative prompt) + w · (noise(prompt) − noise(negative prompt)), of two evaluations; 1: none.
    evaluated       steps at which the UNet is evaluated, rising, the first one 0; what it would say at the others is
                    forecast from these (`compress.numerics.reuse`); None: all.
    """

    num_steps: int
    guidance_scale: float = 7.5
    evaluated: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.evaluated is not None:
            check_steps(self.evaluated, self.num_steps)

    @property
    def is_guided(self) -> bool:
        return self.guidance_scale != 1

    def asked(self, num_steps: int | None = None, guidance_scale: float | None = None) -> Sampling:
        """The same but for what is given; of another number of steps none are spared."""
        steps, scale = num_steps or self.num_steps, guidance_scale or self.guidance_scale
        evaluated = self.evaluated if steps == self.num_steps else None
        return replace(self, num_steps=steps, guidance_scale=scale, evaluated=evaluated)


@dataclass
class PipelineConfig:
    """What a `PipelineParts` notes of its sampling; passes change `evaluated_steps`, which snapshots keep.

    negative_ids  tokens of what guidance leads away from.
    scheduler     scheduler_config.json, as it ships.
    """

    num_inference_steps: int
    guidance_scale: float
    negative_ids: list[int]
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    evaluated_steps: list[int] | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def noted_in(model: nn.Module) -> PipelineConfig:
    """Raises ModelError for a model that makes no images of texts."""
    from compress.models.structure import config_held

    return config_held(model, PipelineConfig, "images of texts")


def sampling_of(model: nn.Module) -> Sampling:
    """Raises ModelError for a model that makes no images of texts."""
    config = noted_in(model)
    evaluated = None if config.evaluated_steps is None else tuple(config.evaluated_steps)
    return Sampling(config.num_inference_steps, config.guidance_scale, evaluated)


def evaluate_only(model: nn.Module, steps: tuple[int, ...]) -> None:
    """Note at which steps the UNet is evaluated."""
    from compress.models.structure import recording

    with recording(model):
        noted_in(model).evaluated_steps = list(steps)
