"""Teach: the phase in which a student's logits and features follow a teacher's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from compress.errors import ModelError, unknown
from compress.models.calls import logits_of, tensors
from compress.numerics.distillation import (
    attention_distance,
    confidence_aware_kl,
    confidence_of,
    feature_distance,
    forward_kl,
    keep_top,
    reverse_kl,
    squared_difference,
)
from compress.training.phase import Phase, asked
from compress.training.settings import FeatureLoss, LogitsLoss, Teaching

_LOGITS = 1 << 24  # that are compared at once: 64 MiB of float32


class Watch:
    """Forward hooks that keep what a model was called with, what it gave, and what some of its modules gave."""

    def __init__(self, model: nn.Module, modules: tuple[str, ...]) -> None:
        self.arguments: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self.output: Any = None
        self.features: dict[str, Tensor] = {}
        self.handles = [model.register_forward_hook(self._whole, with_kwargs=True)]
        self.handles += [model.get_submodule(name).register_forward_hook(partial(self._part, name)) for name in modules]

    def _whole(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        self.arguments, self.output = (args, kwargs), output

    def _part(self, name: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self.features[name] = tensors(output)[0]

    def forget(self) -> None:
        """Let go of the last forward, whose graph takes memory."""
        self.arguments, self.output = None, None
        self.features.clear()

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()
        self.forget()


class Teach(Phase):
    """The student learns from `teacher` whatever its forward is given; see `settings.Teaching` for the losses.

    teacher   a module, put into eval mode, or any function of the student's arguments; for logits alone it may return
              them as a tensor.
    example   arguments to find out shapes with, where features are taught.
    """

    def __init__(
        self,
        model: nn.Module,
        teacher: Callable[..., Any],
        settings: Teaching,
        example: tuple[Tensor, ...] | None = None,
        blocks: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.settings = settings
        self.weight = 1.0  # of features and attention, which may fade
        # the classes of a function's logits that the student gives, and what is added to them; None: all
        self.chosen: tuple[Tensor, Tensor] | None = None
        self._teacher = [teacher]
        self.features = _pairs(model, teacher, settings.features, blocks)
        self.attention = _pairs(model, teacher, settings.attention, blocks)
        pairs = {**self.features, **self.attention}
        self.student = Watch(model, tuple(pairs))
        self.taught = None
        if isinstance(teacher, nn.Module):
            teacher.eval().to(memory_format=torch.channels_last)
            self.taught = Watch(teacher, tuple(dict.fromkeys(pairs.values())))
        self.projections = nn.ModuleDict()
        if pairs:
            self._check(model, example)

    @property
    def teacher(self) -> Callable[..., Any]:
        return self._teacher[0]

    def _check(self, model: nn.Module, example: tuple[Tensor, ...] | None) -> None:
        """Run both once: places must be the same, and channels that differ get a projection."""
        if example is None:
            raise ModelError("features and attention want to know shapes: give calibration batches")
        training = model.training
        model.eval()
        with torch.no_grad():
            model(*example)
            self.ask()
        model.train(training)
        assert self.taught is not None
        for pairs in (self.features, self.attention):
            for mine, theirs in pairs.items():
                own, other = self.student.features[mine], self.taught.features[theirs]
                if _places(own) != _places(other):
                    raise ModelError(
                        f"features of '{mine}' have shape {list(own.shape)}, the teacher's '{theirs}' "
                        f"{list(other.shape)}: pair modules that give the same places"
                    )
                if pairs is self.features and own.shape != other.shape:
                    self.projections[mine.replace(".", "/")] = _projection(own, other)
        self.forget()

    def ask(self) -> Any:
        """What the teacher gives for the arguments that the student was last called with."""
        assert self.student.arguments is not None
        args, keywords = self.student.arguments
        keywords = {key: value for key, value in keywords.items() if key != "labels"}
        if isinstance(self.teacher, nn.Module):
            _move_beside(self.teacher, tensors((args, keywords)))
        with torch.no_grad():
            return self.teacher(*args, **keywords)

    def loss(self, task_loss: Tensor, labels: Tensor | None) -> Tensor:
        if self.student.arguments is None:
            raise ModelError("the model made no forward since the last loss: call compressor.loss after the model")
        given = self.ask()
        settings = self.settings
        total = settings.task_weight * task_loss if settings.task_weight else torch.zeros_like(task_loss)
        if settings.logits is not None:
            own, true = asked(logits_of(self.student.output), labels)
            theirs, _ = asked(self._chosen(logits_of(given)), labels)
            if own.shape != theirs.shape:
                raise ModelError(f"the student has {own.shape[-1]} classes, the teacher {theirs.shape[-1]}")
            total = total + settings.logits.weight * logits_loss(settings.logits, own, theirs, true)
        if self.taught is not None:
            for mine, theirs_name in self.features.items():
                assert settings.features is not None
                term = feature_distance(self.projected(mine), self.taught.features[theirs_name])
                total = total + self.weight * settings.features.weight / len(self.features) * term
            for mine, theirs_name in self.attention.items():
                assert settings.attention is not None
                term = attention_distance(self.student.features[mine], self.taught.features[theirs_name])
                total = total + self.weight * settings.attention.weight / len(self.attention) * term
        self.forget()
        return total

    def _chosen(self, logits: Tensor) -> Tensor:
        if self.chosen is None:
            return logits
        tokens, raised = self.chosen
        return logits[..., tokens.to(logits.device)] + raised.to(logits)

    def projected(self, name: str) -> Tensor:
        """The student's features in the teacher's channels."""
        features = self.student.features[name]
        key = name.replace(".", "/")
        return self.projections[key](features) if key in self.projections else features

    def step(self, done: float) -> None:
        if self.settings.fade is not None:
            self.weight = max(0.0, 1.0 - done / self.settings.fade)

    def forget(self) -> None:
        self.student.forget()
        if self.taught is not None:
            self.taught.forget()

    def finish(self) -> None:
        self.student.remove()
        if self.taught is not None:
            self.taught.remove()


def logits_loss(settings: LogitsLoss, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
    """The mean over rows [N, C] of the divergence that the settings name, times the temperature's square.

    Where there are very many logits they are compared in parts, which are computed again in the backward: a vocabulary
    of 262,144 tokens would take several times the logits' own memory.
    """
    if settings.divergence == "cakld" and labels is None:
        raise ModelError("logits: divergence 'cakld' weighs by the true classes, and the batch has no labels")
    student, teacher = student.float(), teacher.float()
    confidence = confidence_of(teacher, labels) if settings.divergence == "cakld" and labels is not None else None
    rows = max(1, _LOGITS // student.shape[-1])
    parts = list(zip(torch.split(student, rows), torch.split(teacher, rows), strict=True))
    if len(parts) == 1:
        total = _divergence(settings, *parts[0], confidence)
    else:
        sums = [checkpoint(_divergence, settings, *part, confidence, use_reentrant=False) for part in parts]
        total = torch.stack(sums).sum()
    return total / max(1, len(student)) * settings.temperature**2  # none is asked for in a part of a batch: no loss


def _divergence(settings: LogitsLoss, student: Tensor, teacher: Tensor, confidence: Tensor | None) -> Tensor:
    """Summed over rows [N, C]; confidence: of 'cakld'."""
    own, theirs = student / settings.temperature, teacher / settings.temperature
    if settings.top_k is not None and settings.top_k < own.shape[-1]:
        own, theirs = keep_top(own, theirs, settings.top_k)
    if confidence is not None:
        return confidence_aware_kl(own, theirs, confidence).sum()
    divergences: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
        "forward": forward_kl,
        "reverse": reverse_kl,
        "mse": squared_difference,
    }
    return divergences[settings.divergence](own, theirs).sum()


def _pairs(model: nn.Module, teacher: Any, loss: FeatureLoss | None, blocks: tuple[str, ...]) -> dict[str, str]:
    """Modules of the student and the teacher's that they follow.  Raises ModelError for names that are not there."""
    if loss is None:
        return {}
    asked_for = loss.modules
    if not isinstance(teacher, nn.Module):
        raise ModelError("a teacher that is a function has no modules: features and attention want a model")
    own, theirs = (dict(each.named_modules()) for each in (model, teacher))
    if not asked_for:
        found = {name: name for name in blocks if name in theirs}
        if not found:
            raise ModelError("student and teacher have no block of one name: write which modules follow which")
        return found
    wrong = [unknown("module of the student", name, own) for name in asked_for if name not in own]
    wrong += [unknown("module of the teacher", name, theirs) for name in asked_for.values() if name not in theirs]
    if wrong:
        raise ModelError("\n".join(wrong))
    return dict(asked_for)


def _places(features: Tensor) -> tuple[int, ...]:
    """All of the shape but the channels."""
    return tuple(features.shape[2:]) if features.dim() == 4 else tuple(features.shape[:-1])


def _projection(own: Tensor, other: Tensor) -> nn.Module:
    """The learned map from the student's channels to the teacher's."""
    if own.dim() == 4:
        return nn.Conv2d(own.shape[1], other.shape[1], 1, bias=False, device=own.device)
    return nn.Linear(own.shape[-1], other.shape[-1], bias=False, device=own.device)


def _move_beside(teacher: nn.Module, given: list[Tensor]) -> None:
    """Loops move the student to its device; the teacher follows."""
    first = next(teacher.parameters(), None)
    if first is not None and given and first.device != given[0].device:
        teacher.to(given[0].device)
