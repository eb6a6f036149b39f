"""Job: a recipe's model together with the task that scores it; and Kind: what the program asks of each task.

One file a kind of task, with the functions of `Kind`.  The pipeline, the checks before it, the plan and `verify` ask
them, and know no task by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from compress.errors import ArtefactError, CompressError
from compress.passes.base import Progress
from compress.recipe import Recipe, parse
from compress.runtime.artefact import Artefact

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.exporter.card import Card
    from compress.models.source import ModelSource
    from compress.models.translators import LoadedTranslator
    from compress.runtime.measurement import Measurement
    from compress.runtime.verify import Verification
    from compress.tasks.translation import Example
    from compress.training.examples import Examples


class Job(Protocol):
    """A loaded model with its task."""

    @property
    def model(self) -> nn.Module: ...

    @property
    def card(self) -> Card: ...

    @property
    def translator(self) -> LoadedTranslator | None:
        """What makes tokens of text for the model, as it was loaded; None for a model of other things."""
        ...

    @property
    def num_evaluation(self) -> int:
        """Samples that the scores are taken on."""
        ...

    @property
    def num_calibration(self) -> int:
        """Samples that the passes learn from."""
        ...

    def batches(self) -> Iterator[tuple[Tensor, ...]]:
        """Calibration inputs: the model's positional arguments."""
        ...

    def example(self) -> tuple[Tensor, ...]:
        """A batch of evaluation inputs."""
        ...

    def examples(self, dataset: str | Sequence[Example] | None, augment: tuple[str, ...] = ()) -> Examples:
        """Labelled examples to train on, all of `dataset`'s; None: of the calibration's set; or, of translators, these
        texts with their translations.  Raises DataError.

        augment  how images are varied.
        """
        ...

    def corpus(self, dataset: str | None) -> Sequence[Example]:
        """Of translators: the texts of `dataset`, or of the calibration's set, with their translations in all pairs.

        Raises DataError; ModelError where there are no texts.
        """
        ...

    def another(self, source: ModelSource, allow_code: bool) -> nn.Module:
        """Another model of the same kind, such as a teacher.  Raises ModelError."""
        ...

    def data_sha256(self) -> dict[str, str]:
        """Of the `evaluation` data and, where there are passes, of the `calibration` data, as this model uses them, and
        of the data that passes read by themselves.

        Only with the model's labels are the classes of `folder:` images known.  Raises DataError for data that do not
        fit the model.
        """
        ...

    def decided_by(self) -> Any:
        """What of the job beside the recipe, the weights and the data decides what the passes do, as plain data."""
        ...

    def export(self, model: nn.Module, directory: Path, lock: Mapping[str, Any]) -> Artefact:
        """The artefact of `model`, which is this job's model after the passes, checked against it on real inputs."""
        ...

    @property
    def file_bytes(self) -> Callable[[nn.Module], int]:
        """Gives the bytes of the model files that `export` would write of a model."""
        ...

    def measure(self, artefact: Artefact, reference: Artefact | None, keep: Path, progress: Progress) -> Measurement:
        """All figures of the artefact; `reference` is the float one's, None when it is itself measured.

        keep  the run's directory, which may take what later measurements compare with.
        """
        ...


class Kind(Protocol):
    """The functions of a module of this package."""

    def fingerprints(self, recipe: Recipe) -> dict[str, str]:
        """sha256 of the recipe's `evaluation` data and, where it has passes, of its `calibration` data and of what they
        read by themselves, model unknown.

        Raises DataError for data that cannot be read.
        """
        ...

    def check_dataset(self, recipe: Recipe, section: str) -> None:
        """Raise DataError unless the first sample of the dataset of `section` ('task', 'calibration') can be read."""
        ...

    def check_examples(self, recipe: Recipe, dataset: str) -> None:
        """Raise DataError unless the first labelled example of `dataset` can be read."""
        ...

    def layer_names(self, recipe: Recipe, allow_code: bool) -> Mapping[str, nn.Module]:
        """What selectors can match.  Raises ModelError."""
        ...

    def load(self, recipe: Recipe, allow_code: bool) -> Job:
        """Raises ModelError, DataError."""
        ...

    def verify(
        self,
        artefact: Artefact,
        recipe: Recipe,
        dataset: str | None,
        reference: Path | None,
        threads: int,
        progress: Progress,
    ) -> Verification:
        """Whether the artefact's figures still hold, its scores taken again on `dataset` or on its own."""
        ...


def kind_of(recipe: Recipe) -> Kind:
    """The module of the recipe's task."""
    from compress.jobs import denoising, generation, images, text_to_image, translation

    kinds: dict[str, Kind] = {
        "image_classification": images,
        "translation": translation,
        "image_generation": generation,
        "denoising": denoising,
        "text_to_image": text_to_image,
    }
    return kinds[recipe.task.name]


def recipe_of(artefact: Artefact) -> Recipe:
    """The recipe that made the artefact.  Raises ArtefactError if its manifest holds none that this version reads."""
    plain = artefact.manifest["lock"].get("recipe")
    if not isinstance(plain, dict):
        raise ArtefactError(f"{artefact.directory}: its compress.json holds no recipe")
    try:
        return parse(plain, check_files=False)
    except CompressError as error:
        raise ArtefactError(f"{artefact.directory}: the recipe in its compress.json: {error}") from error
