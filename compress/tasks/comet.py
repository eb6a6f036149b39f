"""COMET, a score by a neural network (Rei et al. 2020, arXiv:2009.09025), through unbabel-comet: an extra."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import lru_cache

from compress.errors import ModelError, require


def require_comet() -> None:
    """Raise MissingExtra without unbabel-comet."""
    require("comet", "scoring translations by COMET", "comet")


def comet_scores(
    model: str, sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]
) -> tuple[float, ...]:
    """The score of each translation, by a model of the hub such as 'Unbabel/wmt22-comet-da'.

    Scores of the same texts are remembered: a float model's are asked for with each artefact that is compared to it.
    Raises MissingExtra, or ModelError if the model cannot be had.
    """
    require_comet()
    return _scores(model, tuple(sources), tuple(hypotheses), tuple(references))


@lru_cache(maxsize=64)
def _scores(
    model: str, sources: tuple[str, ...], hypotheses: tuple[str, ...], references: tuple[str, ...]
) -> tuple[float, ...]:
    comet = importlib.import_module("comet")
    try:
        scorer = comet.load_from_checkpoint(comet.download_model(model))
    except Exception as error:  # hub, file system and checkpoint errors of several libraries
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"the COMET model '{model}' cannot be loaded: {reason}") from error
    texts = [
        {"src": source, "mt": hypothesis, "ref": reference}
        for source, hypothesis, reference in zip(sources, hypotheses, references, strict=True)
    ]
    return tuple(float(score) for score in scorer.predict(texts, batch_size=8, gpus=0, progress_bar=False).scores)
