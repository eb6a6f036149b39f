"""Lightning's Trainer under passes: the loss has the teacher's share, checkpoints hold all, and a model comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lightning", reason="Lightning is not installed: pip install 'compress-toolkit[lightning]'")

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from compress.errors import CompressError
from compress.integrations.lightning import CompressCallback, Compressed
from compress.models.activations import quantized_activations
from compress.models.quantized import stored
from compress.passes import Distill, TrainQuantized
from compress.training.settings import FeatureLoss, LogitsLoss
from tests.nets import images, lively, run
from tests.training.nets import Net

pytestmark = pytest.mark.filterwarnings("ignore")  # those of Lightning are its own
DATA = TensorDataset(images(16), torch.arange(16) % 5)
# Of two batches that are the same: a resumed fit may not read where it stopped.
TWICE = TensorDataset(images(8).repeat(2, 1, 1, 1), (torch.arange(8) % 5).repeat(2))
PASSES = (
    Distill(features=FeatureLoss(modules={"act": "act"}), fade=0.5),
    TrainQuantized(num_bits=4, activation_bits=8, freeze=0.5, logits=LogitsLoss(weight=2.0)),
)


class Classifier(LightningModule):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.model = lively(Net(4), seed).train()
        self.losses: list[float] = []

    def training_step(self, batch: Any) -> Tensor:
        x, labels = batch
        return nn.functional.cross_entropy(self.model(x), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.02, momentum=0.9)

    def on_before_backward(self, loss: Tensor) -> None:
        self.losses.append(float(loss.detach()))


class Taught(Compressed, Classifier): ...


class Told(Compressed, Classifier):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": super().training_step(batch), "number": batch_idx}


def callback_of(*passes: Any) -> CompressCallback:
    return CompressCallback(passes or PASSES, teacher=lively(Net(6), 9), batches=lambda: [(images(),)])


def fit(
    module: LightningModule, directory: Path, *callbacks: Any, ckpt_path: Any = None, data: Any = DATA, **settings: Any
) -> None:
    options = {"max_steps": 4} | settings
    trainer = Trainer(
        default_root_dir=directory,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*callbacks, ModelCheckpoint(directory, save_top_k=-1, save_on_train_epoch_end=True)],
        **options,
    )
    trainer.fit(module, DataLoader(data, 8), ckpt_path=ckpt_path)


@pytest.mark.parametrize("module", [Taught, Told])
def test_the_loss_has_the_teacher_s_share(module: type[Classifier], tmp_path: Path) -> None:
    """Of the first step, computed by hand: cross entropy plus twice the divergence."""
    x, labels = DATA[:8]
    student = lively(Net(4)).train()
    own, theirs = student(x), run(lively(Net(6), 9), x)
    divergence = nn.functional.kl_div(own.log_softmax(1), theirs.softmax(1), reduction="batchmean")
    expected = nn.functional.cross_entropy(own, labels) + 2 * divergence
    trained = module()
    fit(trained, tmp_path, callback_of(Distill(logits=LogitsLoss(weight=2.0))), max_steps=1)
    assert trained.losses == [pytest.approx(float(expected), rel=1e-5)]


def test_a_model_comes_out_as_the_passes_promise_it(tmp_path: Path) -> None:
    module, callback = Taught(), callback_of()
    fit(module, tmp_path, callback, accumulate_grad_batches=2, max_epochs=6, max_steps=-1)
    assert callback.compressor is not None
    assert int(callback.compressor.steps) == callback.compressor.total_steps == 6
    model = callback.finalize()
    assert model is module.model
    assert type(model) is Net
    assert stored(model.head) is not None
    assert quantized_activations(model)
    assert not [name for name in module.state_dict() if "learned" in name or "compressor" in name]


def test_a_training_that_resumes_ends_as_one_that_never_stopped(tmp_path: Path) -> None:
    whole, resumed = callback_of(), callback_of()
    module = Taught()
    fit(module, tmp_path, whole, max_steps=6, data=TWICE)
    again = Taught(seed=5)
    checkpoint = tmp_path / "epoch=1-step=4.ckpt"
    fit(again, tmp_path / "again", resumed, ckpt_path=checkpoint, max_steps=6, data=TWICE)
    assert again.losses == module.losses[4:]
    expected, found = whole.finalize().state_dict(), resumed.finalize().state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


class Forgetful(Taught):
    """Its optimizer knows the model's parameters, and not the projections."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.model.parameters(), 0.02)


def test_what_cannot_be_is_told(tmp_path: Path) -> None:
    with pytest.raises(CompressError, match=r"write class Taught\(Compressed, Classifier\)"):
        fit(Classifier(), tmp_path, callback_of())
    with pytest.raises(CompressError, match="the LightningModule has no 'net': say which"):
        fit(Taught(), tmp_path, CompressCallback([TrainQuantized()], part="net"))
    with pytest.raises(CompressError, match=r"does not know compressor\.phases\.0\.projections\.act\.weight"):
        fit(Forgetful(), tmp_path, callback_of())
    with pytest.raises(TypeError, match="put Compressed before a class that has one"):
        type("Nothing", (Compressed, LightningModule), {})


def test_grids_alone_want_no_other_class(tmp_path: Path) -> None:
    module, callback = Classifier(), callback_of(TrainQuantized(num_bits=4))
    fit(module, tmp_path, callback)
    assert stored(callback.finalize().conv1) is not None
