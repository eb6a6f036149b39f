"""Recipe and its sections: frozen dataclasses whose fields are the YAML keys, and whose docstrings document them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from annotated_types import Ge, Gt, Interval, MinLen
from pydantic import AfterValidator, Field, WithJsonSchema

from compress.data.languages import LANGUAGES
from compress.data.pairs import parse_pair
from compress.data.preprocess import Deviation
from compress.data.preprocess import Size as Pixels
from compress.errors import DataError, unknown
from compress.models.source import ModelSource
from compress.passes import Pass
from compress.recipe.image_sections import DenoisingSpec, ImageGenerationSpec, Seed, TextToImageSpec
from compress.recipe.sizes import Size
from compress.targets import Target, load

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


def directory_name(value: str) -> str:
    """The name itself.  Raises ValueError unless every system takes it as the name of a directory."""
    if not re.fullmatch(_NAME, value):
        raise ValueError(f"'{value}' cannot name a directory: write up to 100 letters, digits, '.', '_' and '-'")
    return value


Name: TypeAlias = Annotated[
    str, AfterValidator(directory_name), WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$"})
]


@dataclass(frozen=True)
class Preprocess:
    """What of the model's own preprocessing is overridden; what is left out stays as the model's config says.

    resize         pixels of the short side, the ratio kept; or [height, width], the ratio not kept.
    crop           [height, width] of the centre, in pixels: what the model sees.
    interpolation  of the resize.
    mean           taken off each channel (red, green, blue) after rescaling.
    std            by which each channel is then divided.
    rescale        factor from 0 … 255 to what mean and std refer to.
    crop_rounding  where an odd margin leaves half a pixel: 'even' rounds to the even one, 'down' cuts it off.
    """

    resize: Pixels | tuple[Pixels, Pixels] | None = None
    crop: tuple[Pixels, Pixels] | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[Deviation, Deviation, Deviation] | None = None
    rescale: Annotated[float, Gt(0)] | None = None
    crop_rounding: Literal["even", "down"] | None = None

    def given(self) -> dict[str, Any]:
        """The overridden fields alone: `dataclasses.replace(preprocessor, **preprocess.given())`."""
        return {key: value for key, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class ImageClassificationSpec:
    """Name the class of an image: top-1 and top-5 accuracy, and agreement with the float model.

    dataset     images that the scores are taken on: demo, parquet:PATH, folder:PATH or hf:NAME, each with an optional
                slice of rows: parquet:images.parquet[128:600].
    preprocess  overrides of the model's own preprocessing.
    batch_size  images a step while scoring.
    """

    name: ClassVar[str] = "image_classification"
    scores: ClassVar[tuple[str, ...]] = ("top1", "top5", "agreement")  # what budget.max_drop may name

    dataset: str = "demo"
    preprocess: Preprocess = Preprocess()
    batch_size: Annotated[int, Ge(1)] = 32


def language_pair(value: str) -> str:
    """The value itself.  Raises ValueError unless it is two languages that are known: 'en-fr'."""
    try:
        pair = parse_pair(value)
    except DataError as error:
        raise ValueError(str(error)) from error
    for code in pair:
        if code not in LANGUAGES:
            raise ValueError(f"'{value}': {unknown('language', code, LANGUAGES)}")
    return value


Pair: TypeAlias = Annotated[
    str, AfterValidator(language_pair), WithJsonSchema({"type": "string", "pattern": "^[A-Za-z-]+-[A-Za-z-]+$"})
]


@dataclass(frozen=True)
class TranslationSpec:
    """Translate text: likelihood of reference translations, chrF++ and BLEU, and what of it the float model does alike.

    pairs             of languages, each with an interval of its own in the results: en-fr.
    dataset           of the scores: demo, parquet:PATH, tsv:PATH (a column a language) or hf:NAME, with a slice.
    shots             rows that are shown as examples to a model that was not trained to translate; for others without
                      effect.
    num_likelihood    rows whose references are scored by likelihood, the first of the dataset; null: all.
    num_translations  rows that are translated; null: all.
    max_new_tokens    of a translation.
    num_beams         1: greedy.
    batch_size        texts a step while scoring.
    """

    name: ClassVar[str] = "translation"
    scores: ClassVar[tuple[str, ...]] = ("nll_per_token", "nll_per_char", "chrf", "bleu", "identical")

    pairs: Annotated[tuple[Pair, ...], MinLen(1)]
    dataset: str = "demo[72:]"
    shots: str = "demo[0:3]"
    num_likelihood: Annotated[int, Ge(1)] | None = 100
    num_translations: Annotated[int, Ge(1)] | None = 50
    max_new_tokens: Annotated[int, Ge(1)] = 128
    num_beams: Annotated[int, Interval(ge=1, le=64)] = 1
    batch_size: Annotated[int, Ge(1)] = 8


TaskSpec: TypeAlias = ImageClassificationSpec | TranslationSpec | ImageGenerationSpec | DenoisingSpec | TextToImageSpec
TASKS: dict[str, type[TaskSpec]] = {
    ImageClassificationSpec.name: ImageClassificationSpec,
    TranslationSpec.name: TranslationSpec,
    ImageGenerationSpec.name: ImageGenerationSpec,
    DenoisingSpec.name: DenoisingSpec,
    TextToImageSpec.name: TextToImageSpec,
}


@dataclass(frozen=True)
class Calibration:
    """The inputs that passes learn from; never those that the scores are taken on.

    dataset         as in the task; samples of denoising are drawn, whatever stands here by default, and prompts are
                    those that are not the task's.
    num_samples     at most so many of them, drawn by `seed`; null: all.
    seed            of the draw and its order.
    batch_size      samples a step.
    max_seq_length  tokens of a calibration text, which holds several pairs of sentences; for translation alone.
    """

    dataset: str = "demo"
    num_samples: Annotated[int, Ge(1)] | None = 128
    seed: Seed = 0
    batch_size: Annotated[int, Ge(1)] = 32
    max_seq_length: Annotated[int, Ge(8)] | None = None


@dataclass(frozen=True)
class Budget:
    """What the result must keep to; if it misses, the artefact is kept and the exit code is 1.

    size           of all that ships, tokenizer and configs too: a number of bytes, or with a unit: 5MB is 5,000,000,
                   5MiB 5,242,880.
    max_drop       by score, how much worse than the float model's it may be on the same data. Shares in points of a
                   hundred: {top1: 0.5} allows 89.3 % to become 88.8 %, {agreement: 2} asks for 98 % agreement; chrf and
                   bleu in their own points; nll_per_token and nll_per_char in nats that they may rise; a Fréchet
                   distance in per cent of the float model's.
    latency_ratio  largest latency as a share of the float ONNX model's, measured side by side: 0.45.
    model_size     as `size`, of the model file alone, with its external weights.
    peak_memory    as `size`, of the process that runs it.
    """

    size_bytes: Annotated[Size, Field(alias="size")] = None
    max_drop: Mapping[str, Annotated[float, Ge(0)]] = field(default_factory=dict, hash=False)
    latency_ratio: Annotated[float, Gt(0)] | None = None
    model_size_bytes: Annotated[Size, Field(alias="model_size")] = None
    peak_memory_bytes: Annotated[Size, Field(alias="peak_memory")] = None


@dataclass(frozen=True)
class Evaluate:
    """How the artefact is measured.

    threads                of the runtime, in every figure.
    latency_runs           pairs of runs of one input, the artefact's and the float model's in turn, after a warm-up.
    throughput_batch_size  inputs a run for the throughput.
    float_model            whether the float model is exported and measured too, to compare with; false where it is too
                           large for this machine: then there are no differences and no ratios.
    """

    threads: Annotated[int, Interval(ge=1, le=1024)] = 2
    latency_runs: Annotated[int, Ge(5)] = 50
    throughput_batch_size: Annotated[int, Ge(1)] = 8
    float_model: bool = True


@dataclass(frozen=True)
class Export:
    """How the artefact is written.

    opset  of the ONNX file; null: the target's own.
    """

    opset: Annotated[int, Interval(ge=12, le=26)] | None = None


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result, and nothing else.

    name         of the run's directory.
    model        where the model comes from.
    task         what it is for, and the data that tells how well it does it.
    calibration  the inputs that passes learn from.
    passes       what is done to the model, in this order; none: the float model is exported.
    target       the device, by name, or the path of a file of your own that ends with .yaml.
    targets      in its place several devices: a run, an artefact and a row for each, NAME-TARGET.
    budget       what the result must keep to.
    evaluate     how the artefact is measured.
    export       how the artefact is written.
    seed         of all randomness in the passes.
    """

    name: Name
    model: ModelSource
    task: TaskSpec
    calibration: Calibration = Calibration()
    passes: tuple[Pass, ...] = ()
    target: str | Target = "generic"
    budget: Budget = Budget()
    evaluate: Evaluate = Evaluate()
    export: Export = Export()
    seed: Seed = 0
    targets: tuple[str | Target, ...] = ()

    def each(self) -> list[Recipe]:
        """A recipe for each of its targets; itself if it names one."""
        if not self.targets:
            return [self]
        return [
            replace(self, name=f"{self.name}-{each if isinstance(each, str) else each.name}", target=each, targets=())
            for each in self.targets
        ]

    def device(self) -> Target:
        """The target, with the opset that the recipe asks for.  Raises RecipeError if there is none of that name."""
        target = load(self.target) if isinstance(self.target, str) else self.target
        return target if self.export.opset is None else replace(target, opset=self.export.opset)
