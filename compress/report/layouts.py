"""What the table of each task shows: its columns, what scores are called, and how a cell is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from compress.report.figures import nats, number, percent, points, ratio, signed_nats
from compress.report.row import Row
from compress.runtime.statistics import Ratio
from compress.tasks.base import Figure

NONE = "–"


@dataclass(frozen=True)
class Column:
    header: str
    cell: Callable[[Row], str]
    is_text: bool = False


@dataclass(frozen=True)
class Layout:
    """What the table of a task shows.

    item           what is counted: an image, a token.
    scores         that stand in it; the others are in CSV and JSON alone: a table has a line's width.
    parity_scores  what random weights can tell: that the artefact computes as the float model does.
    speeds         its columns of speed.
    """

    item: str
    scores: tuple[str, ...]
    parity_scores: tuple[str, ...]
    speeds: tuple[Column, ...]


def scores_of(task: str) -> tuple[str, ...]:
    """The scores that the table of a task shows."""
    return LAYOUTS[task].scores


def score_order(name: str) -> tuple[int, str]:
    """Scores of the model itself, then differences, then what compares outputs; each by name."""
    return (2 if name in _COMPARING else 1 if name.endswith("_difference") else 0, name)


def score_header(name: str) -> str:
    """What stands over a score's column."""
    if name in _HEADERS:
        return _HEADERS[name]
    if name.endswith("_difference"):
        return f"{score_header(name.removesuffix('_difference'))} difference, points"
    return name.replace("top", "top-") if name.startswith("top") else name.replace("_", " ")


def score_cell(name: str) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        if name not in row.scores:
            return NONE
        return score_style(name)(row.scores[name])

    return cell


def score_style(name: str) -> Callable[[Figure], str]:
    """By what a score is: a difference of shares, nats, points of chrF or BLEU; without more, a share."""
    if name.endswith("_difference"):
        return points
    if name.startswith("nll_"):
        return signed_nats if name.endswith("_lost") else nats
    plain = ("chrf", "bleu", "frechet_", "kid_", "ssim", "lpips")
    return number if name.endswith(("_nats", "_db")) or name.startswith(plain) else percent


def _prefill_speed(row: Row) -> str:
    return NONE if row.prefill is None else f"{row.prefill.tokens_per_second:.0f}"


def _prefill_ratio(row: Row) -> str:
    return _ratio_cell(row, None if row.prefill is None else row.prefill.ratio)


def _together_ratio(row: Row) -> str:
    return _ratio_cell(row, None if row.evaluations is None else row.evaluations.together)


def _evaluation_ratio(row: Row) -> str:
    return _ratio_cell(row, None if row.evaluations is None else row.evaluations.ratio)


def _latency_ratio(row: Row) -> str:
    return _ratio_cell(row, row.latency_ratio)


def _ratio_cell(row: Row, value: Ratio | None) -> str:
    if value is None:
        return "1" if row.is_float else NONE
    return ratio(value)


IMAGES = Layout(
    item="image",
    scores=("top1", "top1_difference", "agreement"),
    parity_scores=("agreement",),
    speeds=(
        Column("latency / float", _latency_ratio),
        Column("p50, ms", lambda row: f"{row.latency_ms_p50:.2f}"),
    ),
)
_TRANSLATION = Layout(
    item="token",
    scores=("nll_per_token", "nll_per_token_lost", "chrf", "chrf_lost", "identical"),
    parity_scores=("nll_per_token_lost", "identical"),
    speeds=(
        Column("decoding time / float", _latency_ratio),
        Column("decoded tokens/s", lambda row: f"{row.items_per_second:.1f}"),
        Column("prefill time / float", _prefill_ratio),
        Column("prefill tokens/s", _prefill_speed),
    ),
)
# As scores and as people call them.
_FEATURES = {"digits_mlp": "digits-mlp", "cifar_resnet56": "cifar-resnet56", "inception_2015": "inception-2015"}
_BY_FEATURES = {
    "frechet": "Fréchet distance ({})",
    "frechet_ratio": "its ratio to float's",
    "kid": "KID ({})",
    "class_accuracy": "class seen ({})",
    "precision": "precision ({})",
    "recall": "recall ({})",
}
_EVALUATIONS = Column(
    "evaluations/image", lambda row: NONE if row.evaluations is None else f"{row.evaluations.per_image}"
)
_GENERATION = Layout(
    item="image",
    scores=(
        *(f"{score}_{suffix}" for suffix in _FEATURES for score in _BY_FEATURES),
        "psnr_db",
        "ssim",
        "lpips",
    ),
    parity_scores=("psnr_db", "ssim", "lpips"),
    speeds=(
        _EVALUATIONS,
        Column("image time / float", _latency_ratio),
        Column("the same, many together", _together_ratio),
        Column("ms/image", lambda row: f"{row.latency_ms_p50:.1f}"),
        Column("evaluation time / float", _evaluation_ratio),
    ),
)
_DENOISING = Layout(
    item="step",
    scores=("sqnr_db",),
    parity_scores=("sqnr_db",),
    speeds=(
        Column("step time / float", _latency_ratio),
        Column("ms/step", lambda row: f"{row.latency_ms_p50:.0f}"),
    ),
)
_TEXT_TO_IMAGE = Layout(
    item="image",
    scores=("psnr_db", "ssim", "lpips"),
    parity_scores=("psnr_db", "ssim", "lpips"),
    speeds=(
        _EVALUATIONS,
        Column("image time / float", _latency_ratio),
        Column("s/image", lambda row: f"{row.latency_ms_p50 / 1e3:.2f}"),
        Column("evaluation time / float", _evaluation_ratio),
        Column("s/evaluation", lambda row: NONE if row.evaluations is None else f"{row.evaluations.ms_p50 / 1e3:.3f}"),
    ),
)
LAYOUTS = {
    "image_classification": IMAGES,
    "translation": _TRANSLATION,
    "image_generation": _GENERATION,
    "denoising": _DENOISING,
    "text_to_image": _TEXT_TO_IMAGE,
}
_HEADERS = {
    "nll_per_token": "nats/token",
    "nll_per_token_lost": "nats/token lost",
    "chrf": "chrF++",
    "chrf_lost": "chrF++ lost",
    **{
        f"{score}_{suffix}": header.format(name)
        for suffix, name in _FEATURES.items()
        for score, header in _BY_FEATURES.items()
    },
    "psnr_db": "PSNR to float, dB",
    "sqnr_db": "signal/noise to float, dB",
    "ssim": "SSIM to float",
    "lpips": "LPIPS to float",
    "frechet_inception_2015": "FID (inception-2015)",
}
_COMPARING = (
    "psnr_db",
    "sqnr_db",
    "ssim",
    "lpips",
    "agreement",
    "identical",
)  # of outputs with the float model's: they stand last
