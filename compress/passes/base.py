"""Pass: one step of a recipe, a frozen dataclass whose fields are its YAML parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.models.translators import LoadedTranslator
    from compress.numerics.weight import QuantizedWeight
    from compress.targets import Target
    from compress.tasks.translation import Example
    from compress.training.examples import Examples
    from compress.training.sequences import Writer
    from compress.training.settings import Teacher, Track

# How a long loop is shown: progress(items, "what", total) yields the items and draws a bar.
Progress = Callable[[Iterable[Any], str, int], Iterator[Any]]


def silent(items: Iterable[Any], what: str, total: int) -> Iterator[Any]:
    """A Progress that draws nothing."""
    return iter(items)


def unheard(line: str) -> None:
    """Takes a line and says nothing."""


@dataclass(frozen=True)
class Room:
    """A recipe's budget of bytes, for a pass that shares it out.

    budget        bytes that the artefact may take.
    weight_bytes  those of a layer's weight in the file, by its name, with the nodes that decode it.
    left          those that the layers of these names may take, all else stored as the recipe says.  Raises ModelError
                  if all else takes more than the budget.
    excess        bytes by which the file would be larger than the budget, as it would be built with these layers stored
                  so; negative where it is smaller.
    """

    budget: int
    weight_bytes: Callable[[str, QuantizedWeight], int]
    left: Callable[[nn.Module, Iterable[str]], int]
    excess: Callable[[nn.Module, Mapping[str, QuantizedWeight]], int]


@dataclass(frozen=True)
class Context:
    """What a pass may use beside the model.

    batches   calibration inputs, as often as wanted: each call starts anew and yields the model's positional
              arguments, a tuple of tensors with the batch in front.
    target    the device that the artefact is for.
    seed      all randomness of the pass comes from it.
    progress  wraps long loops.
    directory where a long pass keeps what lets it resume, or None.
    translator  of a language model, as it was loaded: its tokenizers and prompt; None for models of other things.
    examples  labelled examples by the name of a dataset (None: the calibration's, all of it) and how images are varied;
              or of given texts and their translations; None where there are none.
    corpus    of translators: the texts and translations of a dataset, as `examples` has it.
    writer    of translators: what writes a `Teacher`'s translations, with so many beams and tokens at most, and a
              directory that it may use.
    teacher   gives the model, or the function, that a `Teacher` names; None where there is none.
    say       takes a line for the user while a pass works.
    track     where losses of trainings are sent, or None.
    launch    applies a pass that trains in processes of their own; None: it trains in this one.
    room      the recipe's budget; None where there is none.
    shared    a directory that other recipes of the same model, data and passes up to this one share; None: nothing is.
    beside    the run's directory, for what a pass found out that its row does not tell; None: nowhere.
    """

    batches: Callable[[], Iterable[tuple[Tensor, ...]]]
    target: Target
    seed: int = 0
    progress: Progress = silent
    directory: Path | None = None
    notes: list[str] = field(default_factory=list)  # what the pass wants to be told in the log
    translator: LoadedTranslator | None = None
    examples: Callable[[str | Sequence[Example] | None, tuple[str, ...]], Examples] | None = None
    corpus: Callable[[str | None], Sequence[Example]] | None = None
    writer: Callable[[Teacher, int, int, Path], Writer] | None = None
    teacher: Callable[[Teacher], Callable[..., Any]] | None = None
    say: Callable[[str], None] = unheard
    track: Track | None = None
    launch: Callable[[Pass, nn.Module, Context], nn.Module] | None = None
    room: Room | None = None
    shared: Path | None = None
    beside: Path | None = None

    def example(self) -> tuple[Tensor, ...]:
        """The first calibration batch, one sample of it."""
        return tuple(tensor[:1] for tensor in next(iter(self.batches())))


class Pass(ABC):
    """A step of a recipe.  A frozen dataclass; the docstring's first line is what `compress show` prints."""

    name: ClassVar[str]  # given by @register: how recipes write it
    # Whether, in a training loop of the user's own, the pass acts at its beginning: it trains, or what it does to the
    # model (a mask, another shape) is trained under.  All others are applied when the loop has ended.
    lasts_through_training: ClassVar[bool] = False
    short: ClassVar[str | None] = None  # the parameter that a recipe means by one value in place of them all

    def problems(self, target: Target) -> list[str]:
        """What is wrong with the parameters, or impossible on `target`; told with the recipe's other problems."""
        return []

    def task_problems(self, task: str, languages: tuple[str, ...]) -> list[str]:
        """What is wrong with the pass for a recipe's task, by its name and the languages that it names; told alike."""
        return []

    def data_sha256(self) -> str | None:
        """Of the data that the pass reads by itself; None if it reads none.  Raises DataError if it cannot be used."""
        return None

    def trains_on(self) -> tuple[str | None, ...]:
        """Datasets of labelled examples that the pass is trained on; None stands for all of the calibration's set."""
        return ()

    def files(self) -> dict[str, str]:
        """Local files beside the recipe's model that decide the result, by a name of each."""
        return {}

    def selectors(self) -> tuple[str, ...]:
        """The layer selectors among the parameters, each of which must match a layer of the model."""
        return ()

    def requires(self, model: nn.Module, context: Context) -> None:
        """Raise ModelError if the model, as the earlier passes left it, cannot take this pass."""
        return

    @abstractmethod
    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """Change the model, and return it (in place, or another)."""

    def shares_budget(self) -> bool:
        """Whether the pass shares out the recipe's budget of bytes, so that there must be one."""
        return False

    def restructure(self, model: nn.Module, context: Context) -> nn.Module:
        """Only what `apply` does to the modules, not to their values: a resumed run calls this and loads the values."""
        return model

    def ensures(self, model: nn.Module, context: Context) -> None:
        """Raise PromiseBroken unless the pass's promise holds.  Called after `apply`, and again after the last pass."""
        return


REGISTRY: dict[str, type[Pass]] = {}
P = TypeVar("P", bound=type[Pass])


def register(name: str) -> Callable[[P], P]:
    """Class decorator: recipes may name this pass `name`."""

    def add(cls: P) -> P:
        if name in REGISTRY:
            raise ValueError(f"two passes are named {name!r}")
        cls.name = name
        REGISTRY[name] = cls
        return cls

    return add
