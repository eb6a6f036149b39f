"""What a student learns from a teacher: which shares the loss has, and what is told when it cannot be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compress.errors import ModelError
from compress.numerics.distillation import attention_distance, feature_distance, forward_kl
from compress.training import teaching
from compress.training.phase import labels_of
from compress.training.settings import FeatureLoss, LogitsLoss, Teacher, Teaching
from compress.training.teaching import Teach, logits_loss
from tests.nets import conv_net, images, run, transformer

TASK = torch.tensor(2.0)


def taught(settings: Teaching, labels: Tensor | None = None, teacher: Any = None) -> tuple[float, nn.Module, Any]:
    """The loss of a batch, the student and the teacher."""
    student, teacher = conv_net(0), conv_net(1) if teacher is None else teacher
    x = images(4)
    phase = Teach(student, teacher, settings, (x[:1],))
    student(x)
    loss = float(phase.loss(TASK, labels).detach())
    phase.finish()
    return loss, student, teacher


def test_the_loss_is_the_sum_of_its_shares() -> None:
    settings = Teaching(
        task_weight=0.5,
        logits=LogitsLoss(weight=2.0, temperature=3.0),
        features=FeatureLoss(weight=0.25, modules={"blocks.0": "blocks.0"}),
        attention=FeatureLoss(weight=4.0, modules={"blocks.1": "blocks.1"}),
    )
    loss, student, teacher = taught(settings)
    x = images(4)
    own, theirs = run(student, x), run(teacher, x)
    expected = 0.5 * 2.0 + 2.0 * 9.0 * float(forward_kl(own / 3, theirs / 3).mean())
    seen: dict[tuple[int, str], Tensor] = {}
    for number, model in enumerate((student, teacher)):
        for name in ("blocks.0", "blocks.1"):
            key = (number, name)
            model.get_submodule(name).register_forward_hook(
                lambda module, args, output, key=key: seen.__setitem__(key, output)
            )
        run(model, x)
    expected += 0.25 * float(feature_distance(seen[0, "blocks.0"], seen[1, "blocks.0"]))
    expected += 4.0 * float(attention_distance(seen[0, "blocks.1"], seen[1, "blocks.1"]))
    assert loss == pytest.approx(expected, rel=1e-5)


def test_without_names_all_blocks_are_followed() -> None:
    student, teacher, x = conv_net(0), conv_net(1), images(4)
    phase = Teach(student, teacher, Teaching(features=FeatureLoss()), (x[:1],), ("blocks.0", "blocks.1"))
    assert phase.features == {"blocks.0": "blocks.0", "blocks.1": "blocks.1"}


def test_other_channels_get_a_projection_that_is_trained() -> None:
    student, teacher, x = (
        conv_net(0),
        nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.Flatten(), nn.Linear(1024, 5)),
        images(4),
    )
    phase = Teach(student, teacher, Teaching(features=FeatureLoss(modules={"conv_stem": "0"})), (x[:1],))
    (projection,) = phase.projections.values()
    assert projection.weight.shape == (16, 6, 1, 1)
    student(x)
    phase.loss(TASK, None).backward()  # type: ignore[no-untyped-call]
    assert projection.weight.grad is not None
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_features_fade_and_logits_stay() -> None:
    settings = Teaching(features=FeatureLoss(modules={"blocks.0": "blocks.0"}), fade=0.5)
    student, x = conv_net(0), images(4)
    phase = Teach(student, conv_net(1), settings, (x[:1],))
    student(x)
    whole = float(phase.loss(TASK, None).detach()) - 2.0
    for done, share in ((0.25, 0.5), (0.5, 0.0), (0.9, 0.0)):
        phase.step(done)
        student(x)
        assert float(phase.loss(TASK, None).detach()) - 2.0 == pytest.approx(share * whole, abs=1e-6)


def test_only_places_that_are_asked_for_are_taught() -> None:
    """−100 asks nothing: the loss is that of the others alone."""
    labels = torch.tensor([0, -100, 1, -100])
    loss, student, teacher = taught(Teaching(task_weight=0.0, logits=LogitsLoss()), labels)
    x = images(4)[[0, 2]]
    assert loss == pytest.approx(float(forward_kl(run(student, x), run(teacher, x)).mean()), rel=1e-5)


def test_a_function_may_teach_logits_alone() -> None:
    given = torch.zeros(4, 5)
    loss, student, _ = taught(Teaching(task_weight=0.0, logits=LogitsLoss()), teacher=lambda x: given)
    assert loss == pytest.approx(float(forward_kl(run(student, images(4)), given).mean()), rel=1e-5)
    with pytest.raises(ModelError, match="a teacher that is a function has no modules"):
        taught(Teaching(features=FeatureLoss(modules={"blocks.0": "blocks.0"})), teacher=lambda x: given)


def test_what_cannot_be_taught_is_told() -> None:
    x = images(4)
    with pytest.raises(ModelError, match=r"unknown module of the student 'block.0': did you mean 'blocks.0'\?"):
        taught(Teaching(features=FeatureLoss(modules={"block.0": "blocks.0"})))
    with pytest.raises(
        ModelError, match=r"shape \[1, 6, 8, 8\], the teacher's 'blocks.1' \[1, 8, 4, 4\]: pair modules"
    ):
        taught(Teaching(features=FeatureLoss(modules={"blocks.0": "blocks.1"})))
    with pytest.raises(ModelError, match="the student has 5 classes, the teacher 8"):
        taught(Teaching(logits=LogitsLoss()), teacher=nn.Sequential(nn.Flatten(), nn.Linear(192, 8)))
    with pytest.raises(ModelError, match="divergence 'cakld' weighs by the true classes, and the batch has no labels"):
        taught(Teaching(logits=LogitsLoss(divergence="cakld")))
    with pytest.raises(ModelError, match="student and teacher have no block of one name"):
        Teach(conv_net(), transformer(), Teaching(features=FeatureLoss()), (x[:1],), ("blocks.7",))
    phase = Teach(conv_net(), conv_net(1), Teaching(logits=LogitsLoss()))
    with pytest.raises(ModelError, match=r"call compressor\.loss after the model"):
        phase.loss(TASK, None)


def test_settings_that_do_not_fit_are_told() -> None:
    assert Teacher(source="timm:resnet18", recipe="a.yaml").problems() == [
        "teacher has a source and a recipe: keep one"
    ]
    assert Teacher(architecture="cifar:resnet20").problems() == [
        "teacher.architecture belongs to a source: give it, or take architecture out"
    ]
    assert Teacher(source="timn:resnet18").problems() == [
        "teacher.source: unknown kind of model 'timn': did you mean 'timm'?"
    ]
    cached = Teaching(Teacher(cache="there"), features=FeatureLoss())
    assert cached.teaching_problems() == ["teacher.cache keeps logits: take it out, or features and attention"]
    assert Teaching(logits=LogitsLoss(), fade=0.5).teaching_problems() == [
        "fade is of features and attention: give one, or take fade out"
    ]


def test_labels_are_found_in_what_loops_call_a_batch() -> None:
    labels = torch.tensor([1, 2])
    assert labels_of((images(2), labels)) is labels
    assert labels_of({"pixel_values": images(2), "labels": labels}) is labels
    assert labels_of(images(2)) is None
    assert labels_of(None) is None
    shifted = labels_of({"input_ids": torch.zeros(1, 3), "labels": torch.tensor([[5, 6, 7]])})
    assert shifted is not None
    assert shifted.tolist() == [[6, 7, -100]]


@pytest.mark.parametrize("settings", [LogitsLoss(temperature=2.0), LogitsLoss(divergence="cakld", top_k=3)])
def test_logits_that_are_compared_in_parts_give_the_same_loss_and_gradient(
    settings: LogitsLoss, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(11, 7, generator=draw), torch.randn(11, 7, generator=draw)
    labels = torch.arange(11) % 7
    found = []
    for limit in (1 << 24, 3 * 7):
        monkeypatch.setattr(teaching, "_LOGITS", limit)
        own = student.clone().requires_grad_()
        loss = logits_loss(settings, own, teacher, labels)
        loss.backward()
        assert own.grad is not None
        found.append((loss.detach(), own.grad))
    torch.testing.assert_close(found[0], found[1])
