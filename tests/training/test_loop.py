"""The training loop: it goes on where it was killed, cuts batches without a trace, and says what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compress.applying import apply
from compress.errors import ModelError
from compress.passes import DistillQuantized, Finetune, QuantizeWeights, TrainQuantized
from compress.passes.base import silent
from compress.training import loop
from compress.training.loop import Surroundings, train
from compress.training.optimizing import choose_trainable, make_optimizer, rate_at
from compress.training.settings import LogitsLoss, Loop, Teaching
from compress.training.teaching import Teach
from tests.nets import Labelled, conv_net, images, transformer
from tests.training.killing import Killed, assert_goes_on, killed_after


def trained(
    settings: Loop, directory: Path | None = None, progress: Any = silent, model: nn.Module | None = None
) -> tuple[dict[str, Tensor], tuple[float, ...]]:
    """The state after training under a teacher, and the losses."""
    model = conv_net() if model is None else model
    teach = Teach(model, transformer(9), Teaching(logits=LogitsLoss(temperature=2.0)))
    history = train(model, [teach], Labelled(), settings, Surroundings(3, progress, directory=directory))
    return model.state_dict(), history.losses


SETTINGS = Loop(epochs=None, max_steps=8, batch_size=8, learning_rate=0.01, augment=("flip",))


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_goes_on(lambda directory, progress: trained(SETTINGS, directory, progress), tmp_path, monkeypatch, 5)


def test_a_training_of_other_settings_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    with pytest.raises(Killed):
        trained(SETTINGS, tmp_path, killed_after(5))
    other = Loop(epochs=None, max_steps=8, batch_size=8, learning_rate=0.02)
    assert trained(other, tmp_path)[1] == trained(other)[1]


def test_training_lowers_the_loss() -> None:
    settings = Loop(epochs=None, max_steps=60, batch_size=32, learning_rate=0.02)
    losses = trained(settings)[1]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_a_batch_in_parts_takes_the_same_step() -> None:
    """Without batch normalisation, whose statistics are of the parts, the mean over parts is the mean over all."""
    whole, _ = trained(Loop(epochs=None, max_steps=3, batch_size=8), model=transformer())
    parts, _ = trained(Loop(epochs=None, max_steps=3, batch_size=8, gradient_accumulation=4), model=transformer())
    assert all(torch.allclose(whole[name], parts[name], atol=1e-6) for name in whole)


def test_only_what_is_trainable_changes() -> None:
    before = {name: value.clone() for name, value in transformer().state_dict().items()}
    after, _ = trained(Loop(epochs=None, max_steps=2, batch_size=8, trainable=("head",)), model=transformer())
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"head.weight", "head.bias"}


def test_a_loss_that_is_not_finite_ends_the_training() -> None:
    with pytest.raises(ModelError) as caught:
        trained(Loop(epochs=None, max_steps=50, batch_size=8, learning_rate=1e6))
    assert "lower learning_rate, or give clip_norm" in str(caught.value)


def test_the_rate_rises_then_falls() -> None:
    settings = Loop(schedule="linear", warmup=0.2)
    assert [rate_at(settings, step, 10) for step in range(10)] == pytest.approx(
        [0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    )
    cosine = [rate_at(Loop(), step, 4) for step in range(4)]
    assert cosine == pytest.approx([1.0, 0.5 + 0.5 * 0.5**0.5, 0.5, 0.5 - 0.5 * 0.5**0.5])


def test_scales_have_a_rate_of_their_own_and_like_biases_no_decay() -> None:
    model = apply(transformer(), [QuantizeWeights(num_bits=4, ignore=("head",))], lambda: [(images(),)])
    settings = DistillQuantized(learning_rate=0.02, scale_rate=0.003, weight_decay=0.1)
    phase = settings.grids(model, settings.layers(model))
    choose_trainable(model, settings, [phase])
    groups = make_optimizer(model, settings).param_groups
    sizes = {(group["initial_lr"], group["weight_decay"]): len(group["params"]) for group in groups}
    # ten layers have weights, nine of them scales; eight biases, and two of each of five normalisations, have one axis
    assert sizes == {(0.02, 0.1): 10, (0.02, 0.0): 8 + 10, (0.003, 0.0): 9}


def test_scales_of_trained_grids_take_a_tenth_of_the_rate_unless_it_is_given() -> None:
    assert TrainQuantized(learning_rate=0.02).rate_of_scales == pytest.approx(0.002)
    assert TrainQuantized(learning_rate=0.02, scale_rate=0.01).rate_of_scales == 0.01
    assert Finetune(learning_rate=0.02).rate_of_scales == 0.02


def test_what_lies_behind_codes_is_not_trained() -> None:
    model = apply(transformer(), [QuantizeWeights(num_bits=4)], lambda: [(images(),)])
    choose_trainable(model, Loop())
    assert {p.dim() for p in model.parameters() if p.requires_grad} == {1}


def test_settings_that_do_not_fit_are_told() -> None:
    assert Loop(epochs=None).loop_problems() == ["epochs is null: give max_steps then"]
    (problem,) = Loop(batch_size=10, gradient_accumulation=4).loop_problems()
    assert problem.startswith("gradient_accumulation is 4, which does not divide batch_size 10")
    assert Loop(epochs=2.0, batch_size=8).num_steps(100) == 25
    assert Loop(epochs=2.0, batch_size=8).num_steps(100, processes=2) == 12
    assert Loop(epochs=2.0, max_steps=5, batch_size=8).num_steps(100) == 5


SCRIPT = """
import json, sys, torch
from accelerate import PartialState
from compress.passes.base import silent
from compress.training.loop import Surroundings, train
from compress.training.settings import Loop, LogitsLoss, Teaching
from compress.training.teaching import Teach
from tests.nets import Labelled, transformer

PartialState(cpu=True)
model = transformer()
teach = Teach(model, transformer(9), Teaching(logits=LogitsLoss(temperature=2.0)))
settings = Loop(epochs=None, max_steps=6, batch_size=int(sys.argv[1]), learning_rate=0.05)
losses = train(model, [teach], Labelled(), settings, Surroundings(0, silent)).losses
if PartialState().is_main_process:
    print(json.dumps([losses, model.head.weight.tolist()]))
PartialState().destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_doubled_batch(tmp_path: Path) -> None:
    """To 1e-5: the sums of a batch are added up in another order."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}

    def losses(processes: int, batch_size: int) -> Any:
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        command = [*launch, str(script), str(batch_size)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    one, two = losses(1, 16), losses(2, 8)
    assert two[0] == pytest.approx(one[0], abs=1e-5)
    assert torch.allclose(torch.tensor(two[1]), torch.tensor(one[1]), atol=1e-5)
