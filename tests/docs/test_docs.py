"""Nothing that the documentation shows is untested: commands are parsed by the command line itself, those that take
moments are run, Python is executed, recipes are read.

The ids say what happens to a command: `run` or `parsed`.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

if sys.version_info >= (3, 11):
    import tomllib

from compress.cli import app
from compress.recipe import parse
from compress.shipped import find_recipe, looks_like_a_path, shipped_recipes
from compress.targets import load
from tests.docs.blocks import ROOT, Block, blocks, commands

BLOCKS, COMMANDS = blocks(), list(commands())
CLI = typer.main.get_command(app)
TAKES_RECIPES = ("run", "sweep", "frontier", "export", "check")
# In capitals, or written as usage: stands for something of the reader's own.
PLACEHOLDER = re.compile(r"[…\[\]|]|\b(PATH|DIR|FILE|NAME|RECIPE|ARTEFACT|ROW)\b")
FOREIGN = ("llama-cli",)  # other programs' commands, which this test knows nothing of
DIAGRAM = re.compile(r"^(compress|python|make|pip) ", re.MULTILINE)


def is_quick(words: Sequence[str]) -> bool:
    """Whether a command can be run here: it needs no run, no network, and moments."""
    if words[:1] != ["compress"]:
        return False
    if words[1] in ("ls", "show", "schema"):
        return True
    return words[1] in ("table", "verify") and words[2] == "RESULTS.md" and "--rerun" not in words


def split(command: Block) -> list[str]:
    """Its words, without its comment and without where its output goes."""
    words = shlex.split(command.text, comments=True)
    return words[: words.index(">")] if ">" in words else words


def is_mention(command: Block) -> bool:
    """Whether it is named within a sentence, without what its last option takes: 'compress table --html'."""
    return split(command)[-1].startswith("--")


def told(command: Block) -> str:
    is_run = PLACEHOLDER.search(command.text) is None and is_quick(split(command))
    return f"{'run' if is_run else 'parsed'}: {command}: {command.text[:60]}"


def test_every_block_says_what_it_is_and_is_looked_at() -> None:
    assert len(BLOCKS) >= 10
    for block in BLOCKS:
        assert block.language in ("", "sh", "text", "yaml", "python"), f"{block}: nothing tests {block.language}"
        if not block.language:  # a drawing
            assert not DIAGRAM.search(block.text), f"{block}: commands in it: write ```sh or ```text"
        if block.language in ("sh", "text"):
            assert any(str(command) == str(block) for command in COMMANDS), f"{block}: no command found in it"


@pytest.mark.parametrize("command", COMMANDS, ids=told)
def test_a_command_is_one_that_exists(command: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if command.language == "inline" and (PLACEHOLDER.search(command.text) or is_mention(command)):
        check_usage(command.text)
        return
    words = split(command)
    if words[0] == "compress":
        check_compress(words[1:])
    else:
        check_other(words)
    if told(command).startswith("run"):
        for name in ("RESULTS.md", "results"):
            place = ROOT / name
            (shutil.copytree if place.is_dir() else shutil.copy)(place, tmp_path / name)
        monkeypatch.chdir(tmp_path)
        result = CliRunner().invoke(app, words[1:], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert result.stdout


def check_compress(words: Sequence[str]) -> None:
    """The command line parses the words; recipes, values of --set and targets among them are known."""
    if words[0].startswith("--"):
        assert words[0] in ("--help", "--version")
        return
    command = CLI.commands[words[0]]  # type: ignore[attr-defined]  # it is a group
    parameters = command.make_context(words[0], list(words[1:])).params
    for target in parameters.get("targets") or ():
        assert target.endswith(".yaml") or load(target)
    asked = (
        parameters.get("recipes")
        or parameters.get("names")
        or [parameters[key] for key in ("recipe",) if key in parameters]
    )
    for recipe in asked if words[0] in TAKES_RECIPES else ():
        if looks_like_a_path(recipe) or PLACEHOLDER.search(recipe):
            continue
        parse(find_recipe(recipe), parameters.get("overrides") or (), check_files=False)
    if words[0] == "show":
        return
    for path in re.findall(r"runs/([\w.-]+)/", " ".join(words)):
        assert path in shipped_recipes(), f"{path} is no recipe that ships"


def check_usage(text: str) -> None:
    """A line of usage: the command, and each option that it names, are there."""
    name, options = text.split()[1], re.findall(r"(?<![\w-])--?[a-z][\w-]*", text)
    known = CLI.commands  # type: ignore[attr-defined]  # it is a group
    assert name in known, f"no command {name}"
    there = {option for each in known[name].params for option in (*each.opts, *each.secondary_opts)}
    assert set(options) <= there


def check_other(words: Sequence[str]) -> None:
    """make's target, python's module or file with its options, pip's extra: are there."""
    program, *rest = words
    if program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{re.escape(rest[0])}:", makefile, re.MULTILINE)
    elif program == "python" and rest[0] == "-m":
        assert importlib.util.find_spec(rest[1]) is not None
    elif program == "python":
        source = (ROOT / rest[0]).read_text(encoding="utf-8")
        for option in (word for word in rest if word.startswith("--")):
            assert f'"{option}"' in source, f"{rest[0]} has no {option}"
    else:
        assert program in FOREIGN, f"nothing tests {program}"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")
def test_every_extra_that_is_named_is_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = {extra for found in re.findall(r"compress-toolkit\[([\w,]+)\]", text) for extra in found.split(",")}
    assert named
    assert named <= set(extras)


def test_every_link_to_a_file_leads_somewhere() -> None:
    for page in {block.page for block in [*BLOCKS, *COMMANDS]}:
        for link in re.findall(r"\]\(([^)#\s]+)\)?", (ROOT / page).read_text(encoding="utf-8")):
            assert "://" in link or ((ROOT / page).parent / link).exists(), f"{page}: {link}"


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "yaml"], ids=str)
def test_a_recipe_is_read(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "shown.yaml"
    file.write_text(block.text)
    assert parse(file, check_files=False).passes


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "python"], ids=str)
def test_python_is_executed(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = surroundings()
    exec(compile(block.text, str(block), "exec"), names)
    assert (names["artefact"].directory / "model.onnx").is_file()


def surroundings() -> dict[str, Any]:
    """What a block of Python takes for given: a model and its teacher, data, passes, all of them tiny."""
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy

    import compress
    from compress.passes import TrainQuantized
    from compress.training.settings import LogitsLoss

    torch.manual_seed(0)

    def network() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))

    batches = [(torch.randn(8, 3, 16, 16), torch.randint(4, (8,))) for _ in range(2)]
    return {
        "compress": compress,
        "torch": torch,
        "model": network(),
        "teacher": network(),
        "passes": [TrainQuantized(num_bits=4, activation_bits=8, logits=LogitsLoss(temperature=2.0))],
        "calibration": lambda: [(batches[0][0],)],
        "loader": batches,
        "task_loss": lambda model, batch: cross_entropy(model(batch[0]), batch[1]),
        "example": batches[0][0][:1],
    }


def test_a_wrong_option_is_seen() -> None:
    with pytest.raises(Exception, match="No such option: --forse"):
        check_compress(["run", "efficientnet-lite0-w4", "--forse"])
    with pytest.raises(AssertionError):
        check_usage("compress run RECIPE… [--forse]")
