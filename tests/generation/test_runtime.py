"""Images without torch: the steps are diffusers', guidance is two evaluations, seeds decide, and bad parts are told."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from compress.errors import ArtefactError, DataError
from compress.exporter.generators import export_generator
from compress.models.generators.sampling import Sampling
from compress.runtime.images import Generator, open_generator
from compress.runtime.images.scheduler import FlowMatchEuler
from tests.generating import LABELS, inputs, tiny


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("generator") / "artefact"
    export_generator(tiny(), inputs(), directory, target="x86-vnni", labels=LABELS)
    return directory


@pytest.fixture
def copied(artefact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(artefact, tmp_path / "copy"))


def change(directory: Path, name: str, **values: Any) -> None:
    file = directory / name
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.mark.parametrize(
    ("steps", "told"), [([0, 9], "rising ones from 0 are wanted, below 8"), ("all", "a list of steps is wanted")]
)
def test_damaged_steps_are_told(copied: Path, steps: Any, told: str) -> None:
    assert "evaluated_steps" not in json.loads((copied / "model_index.json").read_text())
    change(copied, "model_index.json", evaluated_steps=steps)
    with pytest.raises(ArtefactError, match=told):
        open_generator(copied)


@given(steps=some.integers(1, 60), shift=some.floats(0.2, 8))
def test_sigmas_fall_from_one_to_zero(steps: int, shift: float) -> None:
    sigmas = Sampling(steps, shift=shift).sigmas()
    assert sigmas[0] == 1
    assert sigmas[-1] == 0
    assert (np.diff(sigmas) < 0).all()


@pytest.mark.parametrize(("steps", "shift"), [(1, 1.0), (8, 1.0), (8, 3.0), (50, 0.5)])
def test_each_step_is_that_of_diffusers(steps: int, shift: float) -> None:
    pytest.importorskip("diffusers")
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of diffusers' own imports
        from diffusers import FlowMatchEulerDiscreteScheduler
    own = FlowMatchEuler(shift)
    theirs = FlowMatchEulerDiscreteScheduler.from_config(own.to_config())
    plan = Sampling(steps, shift=shift)
    theirs.set_timesteps(sigmas=plan.unshifted())
    sigmas = plan.sigmas()
    np.testing.assert_allclose(sigmas, theirs.sigmas.numpy(), rtol=1e-6)
    np.testing.assert_allclose(own.timesteps(sigmas), theirs.timesteps.numpy(), rtol=1e-6)
    draw = np.random.default_rng(steps)
    mine = draw.standard_normal((2, 1, 8, 8), np.float32)
    sample = torch.from_numpy(mine.copy())
    for step, timestep in enumerate(theirs.timesteps):
        velocity = draw.standard_normal(mine.shape, np.float32)
        mine = own.step(velocity, mine, sigmas[step], sigmas[step + 1])
        sample = theirs.step(torch.from_numpy(velocity), timestep, sample).prev_sample
        np.testing.assert_allclose(mine, sample.numpy(), rtol=1e-5, atol=1e-6)


def test_an_image_is_a_function_of_its_seed_and_class(artefact: Path) -> None:
    generator = open_generator(artefact, 1)
    together = generator([1, 2, 3], [5, 6, 7])
    np.testing.assert_array_equal(together, generator([1, 2, 3], [5, 6, 7]))
    np.testing.assert_allclose(generator([2], [6]), together[1:2], atol=1e-4)  # sums of other lengths
    assert np.abs(generator([1], [6]) - together[1:2]).max() > 1e-3
    assert together.shape == (3, 1, 8, 8)


def test_guidance_is_what_torch_makes_of_two_evaluations(artefact: Path) -> None:
    import torch

    generator, model = open_generator(artefact, 1), tiny()
    sample = generator.noise([1, 2])
    found = generator.velocity(sample, 400.0, np.array([3, 4]), 2.5)
    x, timestep = torch.from_numpy(sample), torch.tensor([400.0, 400.0])
    with torch.no_grad():
        none, own = (model(x, timestep, torch.tensor(classes)) for classes in ([10, 10], [3, 4]))
    np.testing.assert_allclose(found, (none + 2.5 * (own - none)).numpy(), atol=1e-4)
    assert generator.sampling == Sampling(8, 2.0)
    assert generator.sampling.num_evaluations == 16


def test_a_file_of_one_image_makes_several(tmp_path: Path) -> None:
    static = dataclasses.replace(load_target("x86-vnni"), static_shapes=True)
    export_generator(tiny(None), inputs(), tmp_path / "static", target=static, labels=LABELS)
    generator = open_generator(tmp_path / "static", 1)
    assert generator.denoiser.batch_size == 1
    assert generator([1, 2, 3], [5, 6, 7]).shape == (3, 1, 8, 8)


def load_target(name: str) -> Any:
    from compress import targets

    return targets.load(name)


@pytest.mark.parametrize("timestep", [np.nan, -1.0, 1000.5, np.inf])
def test_a_timestep_that_is_none_is_refused(artefact: Path, timestep: float) -> None:
    denoiser = open_generator(artefact, 1).denoiser
    with pytest.raises(DataError, match=r"a timestep is .*: it lies between 0 \(image\) and 1000 \(noise\)"):
        denoiser(np.zeros((1, 1, 8, 8), np.float32), np.full(1, timestep, np.float32), np.zeros(1, np.int64))


def test_an_image_of_another_size_is_refused(artefact: Path) -> None:
    denoiser = open_generator(artefact, 1).denoiser
    with pytest.raises(DataError, match=r"makes images of 1 × 8 × 8 \(channels, height, width\): got 1 of 3 × 32 × 32"):
        denoiser(np.zeros((1, 3, 32, 32), np.float32), np.zeros(1, np.float32), np.zeros(1, np.int64))


def test_a_velocity_that_is_no_number_is_told(artefact: Path) -> None:
    denoiser = open_generator(artefact, 1).denoiser
    with pytest.raises(ArtefactError, match="gives a velocity that is no finite number at timestep 10"):
        denoiser(np.full((1, 1, 8, 8), np.nan, np.float32), np.full(1, 10, np.float32), np.zeros(1, np.int64))


def test_an_unknown_class_is_refused(artefact: Path) -> None:
    generator = open_generator(artefact, 1)
    assert generator.class_of("3") == 3
    with pytest.raises(DataError, match="unknown class 'cat'"):
        generator.class_of("cat")
    with pytest.raises(DataError, match="there is no class 10: the classes are 0 … 9"):
        generator([10], [0])


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"_class_name": "DDIMScheduler"}, "the scheduler is DDIMScheduler: images are made with FlowMatchEuler"),
        ({"use_dynamic_shifting": True}, "use_dynamic_shifting is True: only False is known here"),
        ({"num_train_timesteps": 500}, "num_train_timesteps is 500: the models here know timesteps up to 1000"),
        ({"shift": 0}, "shift is 0: a positive number is wanted"),
    ],
)
def test_a_scheduler_that_does_not_fit_is_refused(copied: Path, values: dict[str, Any], told: str) -> None:
    change(copied, "scheduler/scheduler_config.json", **values)
    with pytest.raises(ArtefactError, match=told):
        open_generator(copied)


@pytest.mark.parametrize("part", ["model_index.json", "scheduler/scheduler_config.json", "transformer/model.onnx"])
def test_a_missing_part_is_told(copied: Path, part: str) -> None:
    (copied / part).unlink()
    with pytest.raises(ArtefactError, match=f"holds no {part}: name the directory of a generator"):
        open_generator(copied)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"num_inference_steps": 0}, "num_inference_steps is 0"),
        ({"guidance_scale": "two"}, "guidance_scale is two: a number is wanted, or null"),
        ({"id2label": {"1": "one"}}, "id2label does not name classes 0, 1"),
    ],
)
def test_a_damaged_index_is_told(copied: Path, values: dict[str, Any], told: str) -> None:
    change(copied, "model_index.json", **values)
    with pytest.raises(ArtefactError, match=told):
        open_generator(copied)


def test_it_runs_without_torch_and_writes_the_same_picture(artefact: Path, tmp_path: Path) -> None:
    arguments = ["generate", str(artefact), "--class", "3", "--seed", "0", "--num", "2", "--threads", "1", "--quiet"]
    program = "import sys\nfor name in ('torch', 'diffusers', 'sklearn'): sys.modules[name] = None\n"
    program += "import runpy\nsys.argv = ['compress', *sys.argv[1:]]\nrunpy.run_module('compress', run_name='__main__')"
    pictures = []
    for name in ("one.png", "two.png"):
        command = [sys.executable, "-c", program, *arguments, "-o", str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        pictures.append((tmp_path / name).read_bytes())
    assert pictures[0] == pictures[1]


def test_the_parts_are_those_of_diffusers(artefact: Path) -> None:
    index = json.loads((artefact / "model_index.json").read_text())
    assert index["scheduler"] == ["diffusers", "FlowMatchEulerDiscreteScheduler"]
    assert {path.relative_to(artefact).as_posix() for path in artefact.rglob("*") if path.is_file()} == {
        "README.md",
        "compress.json",
        "model_index.json",
        "scheduler/scheduler_config.json",
        "transformer/config.json",
        "transformer/model.onnx",
    }
    assert isinstance(open_generator(artefact), Generator)
