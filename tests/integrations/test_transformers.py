"""transformers' Trainer under passes: the loss has the teacher's share, checkpoints hold all, and a model comes out."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("accelerate", reason="Accelerate is not installed, which the Trainer needs: the extra is 'train'")

import torch
from torch import Tensor, nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
)

from compress.errors import CompressError
from compress.integrations.transformers import CompressCallback
from compress.models.activations import quantized_activations
from compress.models.quantized import stored
from compress.passes import Distill, Pass, TrainQuantized
from compress.training.settings import FeatureLoss, LogitsLoss
from tests.nets import images

pytestmark = pytest.mark.filterwarnings("ignore")  # those of the Trainer are its own
STEPS = 4


def vit(seed: int, width: int = 8) -> nn.Module:
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return ViTForImageClassification(ViTConfig(hidden_size=width, image_size=8, patch_size=4, num_labels=5, **sizes))


def gpt2(seed: int, width: int = 8) -> nn.Module:
    torch.manual_seed(seed)
    return GPT2LMHeadModel(GPT2Config(vocab_size=20, n_positions=16, n_embd=width, n_layer=1, n_head=2, **NO_DROPOUT))


NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
PICTURES = [{"pixel_values": image, "labels": number % 5} for number, image in enumerate(images(16))]
TEXTS = [
    {"input_ids": (torch.arange(6) * step) % 20, "labels": torch.where(torch.arange(6) < step % 4, -100, 3)}
    for step in range(1, 17)
]


class Losses(TrainerCallback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **known: Any) -> None:
        self.seen += [logs[key] for key in ("loss", "eval_loss") if key in logs]


def trainer_of(
    model: nn.Module, data: Any, directory: Path, callback: CompressCallback, **settings: Any
) -> tuple[Trainer, Losses]:
    options = {"max_steps": STEPS, "save_strategy": "no", "learning_rate": 1e-2, "logging_steps": 1} | settings
    func = options.pop("compute_loss_func", None)
    optimizers = options.pop("optimizers", (None, None))
    arguments = TrainingArguments(
        str(directory), per_device_train_batch_size=4, report_to=[], use_cpu=True, disable_tqdm=True, **options
    )
    losses = Losses()
    trainer = Trainer(
        model,
        arguments,
        train_dataset=data,
        eval_dataset=data,
        callbacks=[callback, losses],
        compute_loss_func=func,
        optimizers=optimizers,
    )
    return trainer, losses


def picture_callback(*passes: Pass, teacher: int = 9) -> CompressCallback:
    return CompressCallback(passes, teacher=vit(teacher, 16), batches=lambda: [(images(),)])


ALL = (
    Distill(features=FeatureLoss(modules={"vit.layernorm": "vit.layernorm"}), fade=0.5),
    TrainQuantized(num_bits=4, activation_bits=8, freeze=0.5, logits=LogitsLoss(weight=2.0)),
)


def test_the_training_loss_has_the_teacher_s_share_and_the_evaluation_s_has_not(tmp_path: Path) -> None:
    """Of the first step, computed by hand: cross entropy plus twice the divergence at temperature 3."""
    callback = picture_callback(Distill(logits=LogitsLoss(weight=2.0, temperature=3.0)))
    student = vit(0)
    trainer, losses = trainer_of(student, PICTURES[:4], tmp_path, callback, max_steps=1)
    x, labels = torch.stack([each["pixel_values"] for each in PICTURES[:4]]), torch.arange(4)
    with torch.no_grad():
        own, theirs = student.eval()(pixel_values=x).logits, vit(9, 16).eval()(pixel_values=x).logits
    task = nn.functional.cross_entropy(own, labels)
    divergence = nn.functional.kl_div((own / 3).log_softmax(1), (theirs / 3).softmax(1), reduction="batchmean") * 9
    trainer.evaluate()
    trainer.train()
    assert losses.seen[0] == pytest.approx(float(task), abs=1e-4)
    assert losses.seen[1] == pytest.approx(float(task + 2 * divergence), abs=1e-4)


@pytest.mark.parametrize("make", [vit, gpt2])
def test_a_batch_in_parts_is_the_same_as_in_one(make: Any, tmp_path: Path) -> None:
    """Also where the Trainer sums over the labels of all parts, of which each has another number."""
    losses = []
    for parts in (1, 4):
        callback = CompressCallback([Distill(logits=LogitsLoss(weight=2.0))], teacher=make(9))
        data = PICTURES if make is vit else TEXTS
        settings = {"gradient_accumulation_steps": parts, "per_device_train_batch_size": 4 // parts}
        options = TrainingArguments(
            str(tmp_path), report_to=[], use_cpu=True, disable_tqdm=True, max_steps=2, logging_steps=1, **settings
        )
        heard = Losses()
        Trainer(make(0), options, train_dataset=data, callbacks=[callback, heard]).train()
        losses.append(heard.seen)
    assert losses[0] == pytest.approx(losses[1], abs=2e-4)


def test_a_model_comes_out_as_the_passes_promise_it(tmp_path: Path) -> None:
    callback = picture_callback(*ALL)
    trainer, losses = trainer_of(vit(0), PICTURES, tmp_path, callback)
    trainer.train()
    assert callback.compressor is not None
    assert int(callback.compressor.steps) == STEPS
    model = callback.finalize()
    assert model is trainer.model
    assert type(model) is ViTForImageClassification
    assert stored(model.classifier) is not None
    assert quantized_activations(model)
    assert not hasattr(model, "compressor")
    assert len(model._forward_hooks) == 1  # activations' grids
    assert not any("learned" in name for name in model.state_dict())
    trainer.evaluate()
    assert losses.seen[-1] == pytest.approx(
        float(model(pixel_values=torch.stack([e["pixel_values"] for e in PICTURES]), labels=torch.arange(16) % 5).loss),
        abs=1e-3,
    )


def loaded(seed: int) -> nn.Module:
    """A model as it comes from a file, with the names that transformers writes there."""
    with tempfile.TemporaryDirectory() as directory:
        vit(seed).save_pretrained(directory)
        return ViTForImageClassification.from_pretrained(directory)


def tied_callback() -> CompressCallback:
    step = TrainQuantized(num_bits=8, targets=("role:embedding", "lm_head"), logits=LogitsLoss())
    return CompressCallback([step], teacher=gpt2(9))


@pytest.mark.parametrize("kind", ["pictures", "tied embedding"])
def test_a_training_that_resumes_ends_as_one_that_never_stopped(kind: str, tmp_path: Path) -> None:
    make, data = (loaded, PICTURES) if kind == "pictures" else (gpt2, TEXTS)

    def callback() -> CompressCallback:
        return picture_callback(*ALL) if kind == "pictures" else tied_callback()

    whole = callback()
    trainer, losses = trainer_of(make(0), data, tmp_path, whole, save_strategy="steps", save_steps=3)
    trainer.train()
    resumed = callback()
    trainer, after = trainer_of(make(5), data, tmp_path, resumed, save_strategy="steps", save_steps=3)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert after.seen[-1] == losses.seen[-1]
    expected, found = whole.finalize().state_dict(), resumed.finalize().state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_loss_of_one_s_own_is_wrapped_where_it_is_given(tmp_path: Path) -> None:
    def twice(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
        return 2 * nn.functional.cross_entropy(outputs.logits, labels, reduction="sum") / num_items_in_batch

    plain = picture_callback(Distill(logits=LogitsLoss(), task_weight=2.0))
    trainer, expected = trainer_of(vit(0), PICTURES, tmp_path, plain)
    trainer.train()
    own = picture_callback(Distill(logits=LogitsLoss()))
    trainer, losses = trainer_of(vit(0), PICTURES, tmp_path, own, compute_loss_func=own.wraps(twice))
    trainer.train()
    assert losses.seen == pytest.approx(expected.seen, abs=1e-3)

    forgotten = picture_callback(Distill(logits=LogitsLoss()))
    trainer, _ = trainer_of(vit(0), PICTURES, tmp_path, forgotten, compute_loss_func=twice)
    with pytest.raises(CompressError, match=re.escape("wrap your own: compute_loss_func=callback.wraps(")):
        trainer.train()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"gradient_checkpointing": True}, "gradient_checkpointing repeats forwards without the grids"),
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor hides the labels"),
    ],
)
def test_settings_that_cannot_be_are_told(settings: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(CompressError, match=told):
        trainer_of(vit(0), PICTURES, tmp_path, picture_callback(*ALL), **settings)


def test_an_optimizer_made_before_and_a_callback_given_late_are_told(tmp_path: Path) -> None:
    model = vit(0)
    early = torch.optim.SGD(model.parameters(), 0.1)
    trainer, _ = trainer_of(model, PICTURES, tmp_path, picture_callback(*ALL), optimizers=(early, None))
    with pytest.raises(CompressError, match=r"the optimizer does not know .*make it after the model is prepared"):
        trainer.train()
    late = picture_callback(*ALL)
    with pytest.raises(CompressError, match="nothing was trained"):
        late.finalize()
    options = TrainingArguments(str(tmp_path), report_to=[], use_cpu=True, disable_tqdm=True, max_steps=1)
    trainer = Trainer(vit(0), options, train_dataset=PICTURES)
    trainer.add_callback(late)
    with pytest.raises(CompressError, match=re.escape("give the callback and the model to Trainer(…) itself")):
        trainer.train()
