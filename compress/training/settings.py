"""What recipes say about a training: the loop, the teacher, and the losses that it teaches by."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval

from compress.models.source import ModelSource


@dataclass(frozen=True)
class Loop:
    """A training loop.

    dataset                 what is trained on, as in the task; null: all of the calibration's set.
    epochs                  how often each example is seen, 0.5 being half of them; null: max_steps decides.
    max_steps               optimizer steps at most.
    batch_size              examples a step and process.
    gradient_accumulation   parts that a batch is cut into, where memory is short; the step is the same.
    optimizer               'sgd' with Nesterov momentum, or 'adamw'.
    learning_rate           at its highest.
    momentum                of sgd.
    weight_decay            of weights; biases, normalisations and scales have none.
    schedule                how the learning rate falls to zero: by cosine, in a line, or not at all.
    warmup                  share of the steps in which it first rises from zero.
    clip_norm               largest norm of the gradient; null: any.
    label_smoothing         share of the target that goes to all classes alike.
    augment                 images: 'crop' shifts them by up to an eighth, 'flip' mirrors half of them.
    trainable               layers whose weights are trained: names, globs, 're:…'; all else keeps its values.
    frozen_norms            batch normalisations keep their statistics, as where batches are small or the data few.
    mixed_precision         of the forward and backward: 'bf16' or 'fp16' where the device is faster in it.
    gradient_checkpointing  layers of a language model forget what they computed and compute it again in the
                            backward: less memory for a forward more.
    vocabulary              language models: 'seen' computes the logits of the tokens that the examples ask for, and of
                            a sample of the others, alone: far faster where the vocabulary is large; the head, and
                            the embedding that is tied to it, are not trained then.
    """

    dataset: str | None = None
    epochs: Annotated[float, Gt(0)] | None = 1.0
    max_steps: Annotated[int, Ge(1)] | None = None
    batch_size: Annotated[int, Ge(1)] = 128
    gradient_accumulation: Annotated[int, Ge(1)] = 1
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: Annotated[float, Gt(0)] = 0.01
    momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Ge(0)] = 1e-4
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: Annotated[float, Interval(ge=0, le=1)] = 0.0
    clip_norm: Annotated[float, Gt(0)] | None = None
    label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    augment: tuple[Literal["crop", "flip"], ...] = ()
    trainable: tuple[str, ...] = ("*",)
    frozen_norms: bool = False
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    gradient_checkpointing: bool = False
    vocabulary: Literal["all", "seen"] = "all"

    @property
    def draws(self) -> bool:
        """Whether the examples of a step are varied at random."""
        return bool(self.augment)

    @property
    def rate_of_scales(self) -> float:
        """The learning rate of learned grids' scales at its highest."""
        return self.learning_rate

    def loop_problems(self) -> list[str]:
        """What is wrong with the fields together; each message begins with the key it is about."""
        found = []
        if self.epochs is None and self.max_steps is None:
            found.append("epochs is null: give max_steps then")
        if self.batch_size % self.gradient_accumulation:
            found.append(
                f"gradient_accumulation is {self.gradient_accumulation}, which does not divide batch_size "
                f"{self.batch_size}: the parts of a batch are of one size"
            )
        return found

    def num_steps(self, num_examples: int, processes: int = 1) -> int:
        """Optimizer steps of the whole training."""
        together = self.batch_size * processes
        steps = None if self.epochs is None else max(1, round(self.epochs * num_examples / together))
        known = [each for each in (steps, self.max_steps) if each is not None]
        return min(known)


@dataclass(frozen=True)
class AdamW:
    """What a Loop takes by default that is trained by AdamW, in front of it among a class's bases."""

    optimizer: Literal["sgd", "adamw"] = "adamw"
    weight_decay: Annotated[float, Ge(0)] = 0.0
    warmup: Annotated[float, Interval(ge=0, le=1)] = 0.05
    clip_norm: Annotated[float, Gt(0)] | None = 1.0


@dataclass(frozen=True)
class Teacher:
    """Whom the student learns from: a source, a recipe, or, where neither is given, the recipe's own float model.

    source        a model, written as in `model:`.
    architecture  of a `path:` source.
    recipe        a recipe whose model, after its passes, is the teacher.
    cache         a directory that keeps its logits, so that it runs once for trainings alike; for logits alone. Of a
                  translator's each place keeps the 64 likeliest tokens, all others are taken to be alike.
    """

    source: str | None = None
    architecture: str | None = None
    recipe: str | None = None
    cache: str | None = None

    def model(self) -> ModelSource | None:
        """The source, or None for the recipe's own model."""
        return None if self.source is None else ModelSource(self.source, architecture=self.architecture)

    def files(self) -> dict[str, str]:
        """Local files that decide what the teacher is, by key: 'teacher.source'."""
        own = self.model()
        found = {} if own is None else own.files()
        if self.recipe is not None:
            found["recipe"] = self.recipe
        return {f"teacher.{key}": file for key, file in found.items()}

    def problems(self, task: str | None = None) -> list[str]:
        """What is wrong, as far as the text tells; each begins with 'teacher'."""
        found = []
        own = self.model()
        if self.source is not None and self.recipe is not None:
            found.append("teacher has a source and a recipe: keep one")
        if self.source is None and self.architecture is not None:
            found.append("teacher.architecture belongs to a source: give it, or take architecture out")
        if own is not None:
            found += [f"teacher.{problem}" for problem in own.problems(task)]
        return found


@dataclass(frozen=True)
class Track:
    """Where a training's losses are sent: a program that keeps them below `directory`."""

    program: Literal["tensorboard", "mlflow", "trackio"]
    directory: Path


@dataclass(frozen=True)
class Lora:
    """Adapters of low rank are trained in place of the weights that `trainable` names, and added to them at the end.

    rank  of what each weight is changed by.
    """

    rank: Annotated[int, Ge(1)] = 8


Weight = Annotated[float, Gt(0)]


@dataclass(frozen=True)
class LogitsLoss:
    """Teach what the teacher answers.

    weight       of this loss in the sum.
    divergence   'forward' KL covers all that the teacher holds possible, 'reverse' KL seeks what it holds likeliest,
                 'cakld' mixes both by the teacher's confidence in the true classes, 'mse' compares logits.
    temperature  by which both logits are divided; the loss is multiplied by its square.
    top_k        classes that are compared one by one, all others being one class; null: all.
    """

    weight: Weight = 1.0
    divergence: Literal["forward", "reverse", "cakld", "mse"] = "forward"
    temperature: Annotated[float, Gt(0)] = 1.0
    top_k: Annotated[int, Ge(1)] | None = None


@dataclass(frozen=True)
class FeatureLoss:
    """Teach what the teacher's modules give.

    weight   of this loss in the sum.
    modules  of the student, by name, and the teacher's that each one follows; empty: every block that both have under
             one name.
    """

    weight: Weight = 1.0
    modules: dict[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Teaching:
    """What is learned from a teacher.

    teacher      whom from; where it is left out, the recipe's own float model.
    task_weight  of the task's own loss, on the true labels.
    logits       teach the teacher's answers.
    features     teach the outputs of modules, through a learned projection where their channels differ (FitNets).
    attention    teach where modules' outputs are large (attention transfer): no projection.
    fade         share of the training at whose end features and attention count no more; null: they stay.
    """

    teacher: Teacher = Teacher()
    task_weight: Annotated[float, Ge(0)] = 1.0
    logits: LogitsLoss | None = None
    features: FeatureLoss | None = None
    attention: FeatureLoss | None = None
    fade: Annotated[float, Interval(gt=0, le=1)] | None = None

    @property
    def teaches(self) -> bool:
        return not (self.logits is None and self.features is None and self.attention is None)

    def teaching_problems(self) -> list[str]:
        """What is wrong with the fields together."""
        found = self.teacher.problems() if self.teaches else []
        if self.teacher.cache is not None and (self.features is not None or self.attention is not None):
            found.append("teacher.cache keeps logits: take it out, or features and attention")
        if self.fade is not None and self.features is None and self.attention is None:
            found.append("fade is of features and attention: give one, or take fade out")
        return found
